"""Which experiments of a study are to be run here, and its table of published figures and ours, or its figure."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli

if TYPE_CHECKING:
    from asdkit.report.study import Study


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Write exp/<name>.md: a study's published numbers beside those of its experiments; a picture as .pdf "
        "and .png, too."
    )
    parser.add_argument("--study", type=Path, required=True, help="what the study is made of: conf/study/NAME.yaml")
    parser.add_argument("--exp", type=Path, default=Path("exp"), help="folder of the experiments")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote; for figures")
    parser.add_argument("--set", action="append", default=[], help="changes a value of every experiment, repeatable")
    parser.add_argument("--seeds", default="0", help="seeds that an experiment needs, as in '0 1 2'")
    parser.add_argument(
        "--list",
        type=cli.boolean,
        default=False,
        help="true: instead, print what has to be run, a line for each experiment: tag, configuration, changes, "
        "separated by tabs; what is finished or cannot be run is told on stderr",
    )
    parser.add_argument(
        "--steps",
        type=cli.boolean,
        default=False,
        help="true: instead, print the experiments of which the study needs scores over steps, a line each",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """List the experiments, or write the table and print it."""
    args = get_parser().parse_args(argv)
    from asdkit.report.study import is_finished, load_study, study_table, why_not
    from asdkit.utils.files import write_text

    study = load_study(args.study)
    if args.steps:
        print("".join(f"{row.tag}\n" for row in study.rows if study.figure == "steps"), end="")
        return
    if not args.list:
        text = _figure(args, study) if study.figure else study_table(study, args.exp)
        write_text(args.exp / f"{args.study.stem}.md", text)
        print(text, end="")
        return
    seeds = [int(seed) for seed in args.seeds.split()]
    listed = set()
    for row in study.rows:
        if row.missing:
            print(f"{row.model}: left out: {row.missing}", file=sys.stderr)
            continue
        if row.tag in listed:  # another score of the same experiment
            continue
        listed.add(row.tag)
        reason = why_not(row, args.set)
        if is_finished(row, args.exp, seeds, args.set):
            print(f"{row.model}: {args.exp / row.tag} is there", file=sys.stderr)
        elif reason:
            print(f"{row.model}: left out: {reason}", file=sys.stderr)
        else:
            print("\t".join([row.tag, row.config, *row.set]))


def _figure(args: argparse.Namespace, study: "Study") -> str:
    from asdkit.page.study_figures import draw
    from asdkit.page.style import paper, write_figure

    with paper():
        figure, numbers = draw(study, args.exp, args.data)
        write_figure(figure, args.exp / args.study.stem)
    note = f"{study.note.rstrip()}\n\n" if study.note else ""
    return f"# {study.title}\n\n{note}![{study.title}]({args.study.stem}.png)\n\n{numbers}"


if __name__ == "__main__":
    cli.run(main)
