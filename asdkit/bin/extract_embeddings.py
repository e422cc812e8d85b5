"""Stage 4: one embedding per clip of every set, in shards, then merged."""

import argparse
import logging
import shutil
from pathlib import Path
from typing import Any

from asdkit.utils import cli
from asdkit.utils.done import Done, compare
from asdkit.utils.files import read_json, sha256_file


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write exp/<tag>/seed<K>/embed/<set>/embedding.{ark,scp}: first each shard, then --merge true.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="what stage 2 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to use")
    parser.add_argument("--num-jobs", type=int, default=1, help="number of shards")
    parser.add_argument("--job", type=int, default=1, help="the shard to write, from 1")
    parser.add_argument("--merge", type=cli.boolean, default=False, help="join the shards instead")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--force", type=cli.boolean, default=False, help="extract again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write one shard of every set, or merge the shards of every set."""
    args = get_parser().parse_args(argv)
    from asdkit.config import open_config
    from asdkit.config.identity import TRAINING, reread_embedding, reread_training, training_identity
    from asdkit.corpus.description import present_sets

    if not 1 <= args.job <= args.num_jobs:
        raise ValueError(f"--job {args.job} lies outside 1..{args.num_jobs} (--num-jobs)")
    config = open_config(args.exp / "config.yaml")
    seed_dir = args.exp / f"seed{args.seed}"
    checkpoint = seed_dir / "checkpoint" / f"{config.embed.checkpoint}.pt"
    trained = checkpoint.with_name(".done")
    if not trained.exists():
        raise ValueError(f"{seed_dir}: training is not finished: run stage 3 first")
    made = reread_training(read_json(trained))
    settings = {key: value for key, value in made.items() if key.partition(".")[0] in TRAINING}
    compare(trained, settings, training_identity(config), again="--stage 3 --force true")
    open_sets = []
    for name in present_sets(args.data):
        folder = seed_dir / "embed" / name
        done = Done(folder / ".done", _inputs(args, config, checkpoint, name), reread=reread_embedding)
        if args.force and not args.merge or not done.is_done():
            open_sets.append((name, folder, done.inputs))
    if not open_sets:
        logging.info("%s: all embeddings are there", seed_dir)
    elif args.merge:
        for name, folder, inputs in open_sets:
            _merge(args, name, folder, inputs)
    else:
        _extract(args, config, checkpoint, open_sets)


def _inputs(args: argparse.Namespace, config: Any, checkpoint: Path, name: str) -> dict[str, Any]:
    from asdkit.config.identity import embedding_identity
    from asdkit.corpus.description import load_dataset
    from asdkit.corpus.manifest import digest, lengths_digest, read_measured

    dataset, rows = load_dataset(args.data), read_measured(args.data, name)
    return {
        **embedding_identity(config),
        **{f"dataset.{key}": getattr(dataset, key) for key in ("sample_rate", "channel", "resample")},
        "manifest": digest(rows),
        "utt2num_samples": lengths_digest(rows),
        "checkpoint": sha256_file(checkpoint),
    }


def _extract(args: argparse.Namespace, config: Any, checkpoint: Path, sets: list[tuple[str, Path, dict]]) -> None:
    import torch

    from asdkit.adapt.lora import merge_lora
    from asdkit.corpus.description import load_dataset
    from asdkit.data.lists import input_clips
    from asdkit.infer import clips
    from asdkit.models.checkpoint import load_model, read_checkpoint
    from asdkit.models.embedder import Embedder
    from asdkit.train.distributed import join_world
    from asdkit.utils.ark import write_ark

    model = None
    for name, folder, inputs in sets:
        split = folder / f"split{args.num_jobs}"
        for old in (".done", "embedding.scp"):  # stage 5 must not take old embeddings for new ones
            (folder / old).unlink(missing_ok=True)
        done = Done(split / f".done.{args.job}", inputs, args.force)
        if done.is_done():
            logging.info("%s: shard %d is there", folder, args.job)
            continue
        if model is None:
            device = join_world(args.device).device
            model = Embedder(config)
            load_model(model, read_checkpoint(checkpoint), checkpoint)
            model = merge_lora(model).to(device).eval()
            clips.fold(model, torch.bfloat16 if config.embed.precision == "bfloat16" else torch.float32)
        everything = input_clips(config, args.data, args.dump, name)
        batches = clips.batches_of(everything, config.embed.batch_size)[args.job - 1 :: args.num_jobs]
        reader = load_dataset(args.data).reader()
        pairs = clips.embeddings(config, model, batches, reader, device)
        table = dict(cli.progress(pairs, f"embed {name}", sum(map(len, batches))))
        write_ark(split / f"embedding.{args.job}.ark", table)
        done.finish()


def _merge(args: argparse.Namespace, name: str, folder: Path, inputs: dict[str, Any]) -> None:
    from asdkit.corpus.manifest import read_measured
    from asdkit.utils.ark import read_ark, write_ark

    split = folder / f"split{args.num_jobs}"
    table: dict[str, Any] = {}
    for job in range(1, args.num_jobs + 1):
        marker = split / f".done.{job}"
        compare(marker, read_json(marker), inputs)
        table |= read_ark(split / f"embedding.{job}.ark")
    missing = sorted({row["utt"] for row in read_measured(args.data, name)} ^ table.keys())
    if missing:
        raise ValueError(
            f"{split}: {len(missing)} clip(s) too few or too many, the first {missing[0]!r}; use --force true"
        )
    write_ark(folder / "embedding.ark", table)
    Done(folder / ".done", inputs).finish()
    for old in folder.glob("split*"):
        shutil.rmtree(old)
    logging.info("%s: %d embeddings", folder, len(table))


if __name__ == "__main__":
    cli.run(main)
