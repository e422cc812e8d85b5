"""Stage 4: the network's arrays of each clip of every set, in shards, then merged."""

import argparse
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdkit.utils import cli
from asdkit.utils.done import Done, compare
from asdkit.utils.files import needs_space, read_json, sha256_file

if TYPE_CHECKING:
    from asdkit.data.lists import Clip
    from asdkit.infer.experiment import Experiment
    from asdkit.models.profile import Profile


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write exp/<tag>/seed<K>/embed/<set>/<array>.{ark,scp}: first each shard, then --merge true.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="what stage 2 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to use")
    parser.add_argument("--num-jobs", type=int, default=1, help="number of shards")
    parser.add_argument("--job", type=int, default=1, help="the shard to write, from 1")
    parser.add_argument(
        "--choose",
        type=cli.boolean,
        default=False,
        help="choose embed.precision instead, before all shards",
    )
    parser.add_argument("--merge", type=cli.boolean, default=False, help="join the shards instead")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--profile", type=cli.boolean, default=False, help="true: write where the time of a shard goes")
    parser.add_argument("--force", type=cli.boolean, default=False, help="extract again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write one shard of every set, or merge the shards of every set."""
    args = get_parser().parse_args(argv)
    from asdkit.corpus.description import present_sets
    from asdkit.data.chosen import check_choice
    from asdkit.infer.experiment import Experiment

    if not 1 <= args.job <= args.num_jobs:
        raise ValueError(f"--job {args.job} lies outside 1..{args.num_jobs} (--num-jobs)")
    experiment = Experiment.open(args.exp, args.seed, args.data, args.device)
    experiment.check_trained()
    experiment.unheard()
    if args.choose:
        from asdkit.infer.precision import choose_precision

        choose_precision(experiment, args.dump, args.force)
        return
    check_choice(experiment.config, experiment.seed_dir, sha256_file(experiment.checkpoint))
    open_sets = []
    for name in present_sets(args.data):
        folder = args.exp / f"seed{args.seed}" / "embed" / name
        done = _marker(folder / ".done", experiment, _inputs(experiment, name))
        if args.force and not args.merge or not done.is_done():
            open_sets.append((name, folder, done.inputs))
    if not open_sets:
        logging.info("%s: all embeddings are there", experiment.seed_dir)
    if args.merge:
        for name, folder, inputs in open_sets:
            _merge(args, name, folder, inputs)
        return
    profile = _profile(experiment) if args.profile and open_sets else None
    # Before anything is taken away: what cannot be embedded now stays as it was.
    clips = [_clips(args, experiment, name) for name, _, _ in open_sets]
    for (name, folder, inputs), own in zip(open_sets, clips, strict=True):
        _extract(args, experiment, name, folder, inputs, own, profile)
    if profile:
        profile.write(experiment.seed_dir / f"profile_embed_{args.job}.tsv")


def _profile(experiment: "Experiment") -> "Profile":
    from asdkit.models.profile import Profile, watch_embedding

    system, profile = experiment.system, Profile(experiment.device)
    watch_embedding(profile, system)
    return profile


def _marker(path: Path, experiment: "Experiment", inputs: dict[str, Any], force: bool = False) -> Done:
    from asdkit.config.identity import reread_embedding

    def reread(made: dict[str, Any]) -> dict[str, Any]:
        return experiment.prepared.today(reread_embedding(made))

    return Done(path, inputs, force, reread=reread, again="--stage 4 --force true")


def _inputs(experiment: "Experiment", name: str) -> dict[str, Any]:
    from asdkit.config.identity import embedding_identity
    from asdkit.data.levels import level_inputs

    return {
        **embedding_identity(experiment.config),
        **experiment.prepared.reading(experiment.config),
        **experiment.prepared.made_of(name),
        "checkpoint": sha256_file(experiment.checkpoint),
        **level_inputs(experiment.config, experiment.exp),
    }


def _clips(args: argparse.Namespace, experiment: "Experiment", name: str) -> list["Clip"]:
    from asdkit.corpus.description import load_dataset
    from asdkit.data.chain import dump_folder
    from asdkit.data.levels import at_level
    from asdkit.data.lists import check_recordings, input_clips

    if dump_folder(experiment.config) is None:
        check_recordings(experiment.prepared.rows(name)[args.job - 1 :: args.num_jobs], load_dataset(args.data), name)
    return at_level(input_clips(experiment.config, args.data, args.dump, name), experiment.config, args.exp)


def _extract(
    args: argparse.Namespace,
    experiment: "Experiment",
    name: str,
    folder: Path,
    inputs: dict[str, Any],
    everything: list["Clip"],
    profile: "Profile | None",
) -> None:
    from asdkit.corpus.description import load_dataset
    from asdkit.utils.ark import write_ark

    for old in (folder / ".done", *folder.glob("*.scp")):  # stage 5 must not take old arrays for new ones
        old.unlink(missing_ok=True)
    split = folder / f"split{args.num_jobs}"
    done = _marker(split / f".done.{args.job}", experiment, inputs, args.force)
    if done.is_done():
        logging.info("%s: shard %d is there", folder, args.job)
        return
    from asdkit.infer import clips

    batches = clips.batches_of(
        everything, experiment.config.embed.batch_size, clips.mixes(experiment.system, experiment.config.embed)
    )
    shortest = round(experiment.config.data.chunk_seconds * experiment.system.sample_rate)
    batches = clips.shard_of(batches, args.num_jobs, args.job, shortest)
    reader = load_dataset(args.data).reader()
    watched = partial(profile.watch_reading, workers=experiment.config.data.workers) if profile else iter
    found = clips.arrays(experiment.system, experiment.config, batches, reader, experiment.device, watched)
    tables: dict[str, dict[str, Any]] = {}
    share = everything if args.job == 1 else [clip for batch in batches for clip in batch]
    for utt, arrays in cli.progress(found, f"embed {name}", sum(map(len, batches))):
        if not tables:  # the first tells of all; job 1 begins before the others and asks for them too
            size = sum(values.nbytes for values in arrays.values()) * len(share)
            needs_space(folder, 2 * size, "arrays, in shards and merged")
        for array, values in arrays.items():
            tables.setdefault(array, {})[utt] = values
    for old in [*split.glob(f"*.{args.job}.ark"), *split.glob(f"*.{args.job}.scp")]:  # of a killed run
        old.unlink()
    write = profile.watched(write_ark, "writing") if profile else write_ark
    for array, table in tables.items():
        write(split / f"{array}.{args.job}.ark", table)
    _check_heard(args, experiment, name, {clip.utt for batch in batches for clip in batch})
    done.finish()


def _check_heard(args: argparse.Namespace, experiment: "Experiment", name: str, utts: set[str]) -> None:
    """Raise ValueError for a recording that is no more the one that stage 1 found, and so perhaps not the one heard."""
    from asdkit.corpus.description import load_dataset
    from asdkit.data.chain import dump_folder
    from asdkit.data.lists import check_recordings

    if dump_folder(experiment.config) is None:
        rows = [row for row in experiment.prepared.rows(name) if row["utt"] in utts]
        check_recordings(rows, load_dataset(args.data), name)


def _merge(args: argparse.Namespace, name: str, folder: Path, inputs: dict[str, Any]) -> None:
    from asdkit.corpus.manifest import read_manifest, write_manifest
    from asdkit.utils.ark import read_ark, write_ark

    split = folder / f"split{args.num_jobs}"
    names: set[str] = set()
    for job in range(1, args.num_jobs + 1):
        marker = split / f".done.{job}"
        compare(marker, read_json(marker), inputs)
        names |= {path.name.removesuffix(f".{job}.ark") for path in split.glob(f"*.{job}.ark")}
    rows = read_manifest(args.data / name / "manifest.tsv")
    for array in sorted(names):
        table: dict[str, Any] = {}
        for job in range(1, args.num_jobs + 1):
            shard = split / f"{array}.{job}.ark"
            table |= read_ark(shard) if shard.exists() else {}  # more shards than batches
        missing = sorted({row["utt"] for row in rows} ^ table.keys())
        if missing:
            raise ValueError(
                f"{split}: {len(missing)} clip(s) too few or too many, the first {missing[0]!r}; use --force true"
            )
        write_ark(folder / f"{array}.ark", table)
        logging.info("%s: %s of %d clips", folder, array, len(table))
    for old in folder.glob("*.ark"):  # of an earlier configuration
        if old.stem not in names:
            old.unlink()
    write_manifest(folder / "manifest.tsv", rows)  # whose arrays these are, for those who lack the data
    Done(folder / ".done", inputs).finish([folder / f"{array}.ark" for array in names])
    for old in folder.glob("split*"):
        shutil.rmtree(old)


if __name__ == "__main__":
    cli.run(main)
