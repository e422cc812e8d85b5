"""Scores of weights that a training kept on its way: embedded and scored without keeping embeddings, then evaluated."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdkit.utils import cli

if TYPE_CHECKING:
    from asdkit.infer.experiment import Experiment

CHOSEN = """\
The step with the highest Pseudo AUC on training clips that were held out (data.held_out), which embed.checkpoint: best
takes: no label was read for it. The best by labels is known after the fact only; regret is what it has more.
"""


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Write exp/<tag>/seed<K>/steps/step<N>/<score>/<set>.tsv for one step; with --gather true exp/<tag>/steps.json "
        "and STEPS.md, official scores of all steps and seeds."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="what stage 2 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to use")
    parser.add_argument("--step", type=int, help="whose weights; one of train.save_steps, or train.steps")
    parser.add_argument("--list", type=cli.boolean, default=False, help="true: print the steps, separated by commas")
    parser.add_argument("--gather", type=cli.boolean, default=False, help="true: evaluate what was scored")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--force", type=cli.boolean, default=False, help="score again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """List the steps, score one of them, or gather all."""
    args = get_parser().parse_args(argv)
    if args.list:
        from asdkit.config import open_config
        from asdkit.infer.kept import kept_steps

        print(",".join(map(str, kept_steps(open_config(args.exp / "config.yaml")))))
    elif args.gather:
        _gather(args)
    elif args.step is None:
        raise ValueError("give --step N, --list true or --gather true")
    else:
        _score(args)


def _score(args: argparse.Namespace) -> None:
    from asdkit.detectors.folder import write_scores
    from asdkit.infer.kept import arrays_of, experiment_at, scores_of
    from asdkit.report.steps import STEPS
    from asdkit.utils.done import Done

    experiment = experiment_at(args.exp, args.seed, args.data, args.step, args.device)
    experiment.check_trained()
    experiment.unheard()
    out = args.exp / f"seed{args.seed}" / STEPS / f"step{args.step}"
    done = Done(out / ".done", _inputs(experiment), args.force)
    if done.is_done():
        logging.info("%s: already done", out)
        return
    made = arrays_of(experiment, args.dump)
    for name in experiment.config.score:
        try:
            scored = scores_of(experiment, made, name)
        except ValueError as error:
            raise ValueError(f"score.{name}: {error}") from None
        for found, scores in scored.scores.items():
            write_scores(out / name / f"{found}.tsv", scores)
    done.finish()


def _inputs(experiment: "Experiment") -> dict[str, Any]:
    from asdkit.config.identity import embedding_identity, score_identity
    from asdkit.data.levels import level_inputs
    from asdkit.utils.files import sha256_file

    config, prepared = experiment.config, experiment.prepared
    assert prepared
    inputs = {**embedding_identity(config), **prepared.reading(config), **level_inputs(config, experiment.exp)}
    inputs |= {f"{name}.{key}": value for name in prepared.sets() for key, value in prepared.made_of(name).items()}
    for name, settings in config.score.items():
        inputs |= {f"{name}.{key}": value for key, value in score_identity(settings).items()}
    return inputs | {"checkpoint": sha256_file(experiment.checkpoint)}


def _gather(args: argparse.Namespace) -> None:
    from asdkit.report.steps import STEPS, choices_table, evaluate_steps, steps_table
    from asdkit.utils.files import write_json, write_text

    rows = evaluate_steps(args.exp, args.data)
    write_json(args.exp / f"{STEPS}.json", rows)
    text = f"# {args.exp.name}: score over steps\n\nOfficial scores in percent, mean ± sample deviation over seeds.\n\n"
    told = steps_table(rows)
    if chosen := choices_table(rows):
        told += f"\n{CHOSEN}\n{chosen}"
    write_text(args.exp / "STEPS.md", text + told)
    print(told, end="")


if __name__ == "__main__":
    cli.run(main)
