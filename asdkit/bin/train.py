"""Stage 3: fine-tune the encoder with one seed."""

import argparse
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdkit.utils import cli
from asdkit.utils.done import Done

if TYPE_CHECKING:
    from asdkit.config import Config
    from asdkit.data.chain import Prepared
    from asdkit.train.loop import Trainer


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Fine-tune the encoder: exp/<tag>/seed<K>/checkpoint, train.tsv, tensorboard.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="what stage 2 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and augmentation")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--profile", type=cli.boolean, default=False, help="true: write where the time goes")
    parser.add_argument("--force", type=cli.boolean, default=False, help="train again from the start")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train, or resume, or do nothing when it is done."""
    args = get_parser().parse_args(argv)
    from asdkit.config import check_checkpoint, open_config
    from asdkit.config.identity import reread_training, training_identity
    from asdkit.data import chain
    from asdkit.data.levels import level_inputs
    from asdkit.data.lists import training_inputs
    from asdkit.data.noise import noise_inputs

    config = open_config(args.exp / "config.yaml")
    check_checkpoint(config, f"{args.exp}/config.yaml")
    folder = args.exp / f"seed{args.seed}"
    prepared = chain.Prepared(args.data)
    made_from = training_inputs(config, prepared, args.exp)
    if config.train.steps:
        chain.check_labels(config, prepared, args.exp)
        made_from |= level_inputs(config, args.exp) | noise_inputs(config, args.data)
    inputs = training_identity(config) | made_from | {"seed": args.seed}
    done = Done(
        folder / "checkpoint" / ".done",
        inputs,
        args.force,
        reread=lambda made: prepared.today(reread_training(made)),
        again="--stage 3 --force true",
    )
    if done.is_done():
        logging.info("%s: already trained", folder)
        if config.train.steps and not (folder / "checkpoint" / chain.TRAINED).exists():
            chain.write_trained(folder, config, prepared)  # an older version trained it
        _average(config, folder)
        return
    if not args.force:
        chain.check_seeds(made_from, prepared, folder)
    if args.force:
        (folder / "checkpoint" / "last.pt").unlink(missing_ok=True)
    _train(args, config, folder, done, prepared)


def _train(args: argparse.Namespace, config: "Config", folder: Path, done: Done, prepared: "Prepared") -> None:
    from asdkit.data.batches import Framing, in_rounds, training_dataset
    from asdkit.data.chain import SIZE, write_trained
    from asdkit.data.frames import training_frames
    from asdkit.data.lists import read_classes, read_labels
    from asdkit.models.size import size_of
    from asdkit.train.choice import choose_by_held_out, keep_best
    from asdkit.train.distributed import join_world, leave_world
    from asdkit.train.finetune import fine_tuning
    from asdkit.train.pseudo_labels import classes_of_clusters, label_in_rounds
    from asdkit.utils.files import write_json
    from asdkit.utils.provenance import environment

    classes = read_classes(args.exp)
    if config.train.steps and len(classes) < 2 and config.encoder.family == "classifier":
        raise ValueError(
            f"{args.exp}/classes.txt holds one class, {classes[0]!r}: there is nothing to tell apart. "
            "Add machines, sections or attributes, or train nothing (train.steps: 0), as the default of egs/custom does"
        )
    _check_recordings(args, config, prepared)
    world = join_world(args.device)
    clusters = classes_of_clusters(config, classes, read_labels(args.exp)) if config.train.steps else None
    trainer = fine_tuning(
        config, clusters.names if clusters else classes, args.seed, folder, done.inputs, world, done.reread
    )
    # before blocks are recorded as CUDA graphs, which play for the system's own weights alone
    size = size_of(trainer.system) if world.rank == 0 else {}
    trainer.resume()
    framing = Framing(trainer.system.sample_rate, trainer.system.window, trainer.system.hop)
    where = (args.data, args.dump, args.exp, args.seed)
    again = ()
    if trainer.system.vector_frames:
        dataset = training_frames(config, framing, trainer.system, world.device, *where)
        again = dataset.once()
    else:
        dataset = training_dataset(config, framing, *where, world.share)
    rounds = label_in_rounds(trainer, config, dataset, clusters, folder) if clusters else []
    held = choose_by_held_out(trainer, config, folder, *where[:3])
    steps = range(trainer.step + 1, config.train.steps + 1)
    if steps and config.train.graphs:
        trainer.prepare(dataset[steps[0]])
    batches = in_rounds(dataset, config.data.workers, world.device, steps, rounds)
    with _profiled(args, trainer, batches, config.data.workers) as batches:
        told = cli.progress(batches, f"train seed {args.seed}", config.train.steps, "step", trainer.step)
        trainer.run(told, environment(), again)
    if world.rank == 0:
        try:
            _check_recordings(args, config, prepared)  # are they still what was to be heard?
        except ValueError:
            (folder / "checkpoint" / "last.pt").unlink(missing_ok=True)  # nothing may go on from there
            raise
        if config.train.steps:
            write_trained(folder, config, prepared, held)
        if held:
            keep_best(folder, config.train.steps)
        _average(config, folder)
        write_json(folder / "checkpoint" / SIZE, size if config.train.steps else size | {"trained": 0})
        checkpoints = folder / "checkpoint"
        done.finish([checkpoints / "final.pt", *checkpoints.glob("step*.pt")])
    leave_world(world)


def _check_recordings(args: argparse.Namespace, config: "Config", prepared: "Prepared") -> None:
    """Raise ValueError for a recording to train on that is not the one that stage 1 found."""
    from asdkit.corpus.description import load_dataset
    from asdkit.data.chain import dump_folder, training_sets
    from asdkit.data.lists import check_recordings

    if config.train.steps and dump_folder(config) is None:
        for name in training_sets(config, args.data):
            check_recordings(prepared.rows(name), load_dataset(args.data), name)


@contextmanager
def _profiled(
    args: argparse.Namespace, trainer: "Trainer", batches: Iterable[Any], workers: int
) -> Iterator[Iterable[Any]]:
    """The batches to train on, within which time is taken where --profile asks for it."""
    if not args.profile:
        yield batches
        return
    from asdkit.models.profile import Profile, watch_training

    profile = Profile(trainer.world.device)
    watch_training(profile, trainer)
    yield profile.watch_reading(batches, workers)
    if trainer.world.rank == 0:
        profile.write(args.exp / f"seed{args.seed}" / "profile_train.tsv")


def _average(config: "Config", folder: Path) -> None:
    if config.embed.checkpoint == "average":
        from asdkit.train.average import write_average

        write_average(folder, config.train.save_steps)


if __name__ == "__main__":
    cli.run(main)
