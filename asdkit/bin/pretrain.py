"""Pre-train an encoder on recordings and generated sounds; no labels needed."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli
from asdkit.utils.done import Done
from asdkit.utils.files import write_text


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Pre-train an encoder: DIR/checkpoint/{last,final}.pt, DIR/train.tsv.")
    parser.add_argument("--config", type=Path, required=True, help="conf/<name>.yaml")
    parser.add_argument("--set", action="append", default=[], help="change a value: --set train.lr=3e-4, repeatable")
    parser.add_argument("--list", type=Path, help="what list_audio wrote; none: generated sounds alone")
    parser.add_argument("--exp", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, codes, sounds and masks")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: train again from the start")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train, or resume, or do nothing when it is done."""
    args = get_parser().parse_args(argv)
    from asdkit.pretrain.config import load_pretrain_config, pretrain_identity, reread_pretrain
    from asdkit.pretrain.corpus import Recordings, list_digest
    from asdkit.pretrain.loop import pretraining
    from asdkit.signals.resample import FILTER
    from asdkit.train.distributed import join_world, leave_world
    from asdkit.utils.provenance import environment
    from asdkit.utils.typed_yaml import dump_yaml

    config = load_pretrain_config(args.config, args.set)
    if args.list is None and config.sound.generated < 1:
        raise ValueError("no --list: give one, or --set sound.generated=1 to train on generated sounds alone")
    inputs = pretrain_identity(config) | {"seed": args.seed}
    inputs["recordings"] = list_digest(args.list) if args.list else None
    if args.list and config.sound.resample:
        inputs["filter"] = FILTER
    # What an older version trained on recordings that it resampled stays trained; it is not gone on with.
    filtered = {"filter": inputs.get("filter")}
    path = args.exp / "checkpoint" / ".done"
    done = Done(path, inputs, args.force, reread=lambda marker: filtered | reread_pretrain(marker))
    if done.is_done():
        logging.info("%s: already trained", args.exp)
        return
    if args.force:
        for old in ("last.pt", "final.pt"):  # the next stage must not take the old network for the new one
            (args.exp / "checkpoint" / old).unlink(missing_ok=True)
    world = join_world(args.device)
    corpus = Recordings(args.list, config.sound) if args.list else None
    trainer, sounds = pretraining(config, corpus, args.seed, args.exp, inputs, world)
    if world.rank == 0:
        write_text(args.exp / "config.yaml", dump_yaml(config))
    steps = range(trainer.step + 1, config.train.steps + 1)
    trainer.run(sounds.batches(cli.progress(steps, "pre-train", unit="step", done=trainer.step)), environment())
    if world.rank == 0:
        done.finish()
    leave_world(world)


if __name__ == "__main__":
    cli.run(main)
