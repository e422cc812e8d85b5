"""Check a folder of challenge files against the clips that it has to hold."""

import argparse
from itertools import islice
from pathlib import Path

from asdkit.corpus.names import SETS, sets_of
from asdkit.utils import cli

SHOWN = 20
TEST_SETS = sets_of("test", list(SETS))


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Check the files of a challenge submission: names, rows, values; say what is wrong.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument(
        "--submission", type=Path, required=True, help="folder, exp/<tag>/seed<K>/score/<name>/submission/<set>"
    )
    parser.add_argument(
        "--set",
        choices=TEST_SETS,
        default=None,
        help="the clips it is for (default: the folder's name, else eval_test)",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print that the submission is complete; otherwise raise ValueError with a line per fault."""
    args = get_parser().parse_args(argv)
    from asdkit.corpus.description import load_dataset
    from asdkit.corpus.manifest import read_manifest
    from asdkit.report.submission import STYLES, contents, faults

    style = load_dataset(args.data).name_style
    if style not in STYLES:
        raise ValueError(f"{args.data}: recordings with names of the style {style!r} have no official submission")
    name = args.set or (args.submission.resolve().name if args.submission.resolve().name in TEST_SETS else "eval_test")
    rows = read_manifest(args.data / name / "manifest.tsv")
    found = list(islice(faults(args.submission, rows, style), SHOWN + 1))
    if found:
        more = ["..."] if len(found) > SHOWN else []
        raise ValueError("\n".join([f"{args.submission} cannot be submitted:", *found[:SHOWN], *more]))
    kinds = " and as many of ".join(STYLES[style].kinds)
    print(f"{args.submission}: complete, {len(rows)} clips of {name} in {len(contents(rows, style))} files of {kinds}")


if __name__ == "__main__":
    cli.run(main)
