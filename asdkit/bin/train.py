"""Stage 3: fine-tune the encoder with one seed."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli
from asdkit.utils.done import Done


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Fine-tune the encoder: exp/<tag>/seed<K>/checkpoint, train.tsv, tensorboard.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="what stage 2 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and augmentation")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--force", type=cli.boolean, default=False, help="train again from the start")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train, or resume, or do nothing when it is done."""
    args = get_parser().parse_args(argv)
    from asdkit.config import check_checkpoint, open_config
    from asdkit.config.identity import reread_training, training_identity
    from asdkit.data.levels import level_inputs
    from asdkit.data.lists import training_inputs

    config = open_config(args.exp / "config.yaml")
    check_checkpoint(config, f"{args.exp}/config.yaml")
    folder = args.exp / f"seed{args.seed}"
    inputs = training_identity(config) | training_inputs(config, args.data, args.exp)
    inputs |= (level_inputs(config, args.exp) if config.train.steps else {}) | {"seed": args.seed}
    done = Done(folder / "checkpoint" / ".done", inputs, args.force, reread=reread_training)
    if done.is_done():
        logging.info("%s: already trained", folder)
        return
    if args.force:
        (folder / "checkpoint" / "last.pt").unlink(missing_ok=True)
    _train(args, config, folder, done)


def _train(args: argparse.Namespace, config, folder: Path, done: Done) -> None:
    from asdkit.data.batches import Framing, loader, training_dataset
    from asdkit.data.lists import read_classes
    from asdkit.train.distributed import join_world, leave_world
    from asdkit.train.finetune import fine_tuning
    from asdkit.utils.provenance import environment

    classes = read_classes(args.exp)
    if config.train.steps and len(classes) < 2:
        raise ValueError(
            f"{args.exp}/classes.txt holds one class, {classes[0]!r}: there is nothing to tell apart. "
            "Add machines, sections or attributes, or train nothing: --config conf/frozen.yaml or conf/logmel.yaml"
        )
    world = join_world(args.device)
    trainer = fine_tuning(config, classes, args.seed, folder, done.inputs, world)
    trainer.resume()
    framing = Framing(trainer.system.sample_rate, trainer.system.window, trainer.system.hop)
    dataset = training_dataset(config, framing, args.data, args.dump, args.exp, args.seed, world.share)
    steps = range(trainer.step + 1, config.train.steps + 1)
    if steps and config.train.graphs:
        trainer.prepare(dataset[steps[0]])
    batches = loader(dataset, config.data.workers, world.device, steps)
    trainer.run(cli.progress(batches, "train", len(steps)), environment())
    if world.rank == 0:
        done.finish()
    leave_world(world)


if __name__ == "__main__":
    cli.run(main)
