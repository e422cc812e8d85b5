"""Stage 2: dump features, where data.feats_type is fbank, or treated recordings, where data.reference says so."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import Done

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from asdkit.config import Config
    from asdkit.data.chain import Flat, Prepared
    from asdkit.signals.audio import AudioReader


def get_parser() -> argparse.ArgumentParser:
    """Command line of extract_feats."""
    parser = cli.parser(
        "Write dump/<folder>/<set>/split<num-jobs>/feats.<job>.ark: the front end's features, or recordings without "
        "the second microphone; with --merge true the index feats.scp."
    )
    parser.add_argument("--data", default="data", help="what stage 1 wrote")
    parser.add_argument("--dump", default="dump", help="folder of lists and features")
    parser.add_argument("--exp", required=True, help="folder of the experiment, exp/<tag>")
    parser.add_argument("--num-jobs", type=int, default=1, help="number of shards")
    parser.add_argument("--job", type=int, default=1, help="shard to write, from 1")
    parser.add_argument("--merge", type=cli.boolean, default=False, help="true: join the shards instead")
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: make them again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write one shard of every set, or join the shards."""
    args = get_parser().parse_args(argv)
    from asdkit.config import open_config
    from asdkit.corpus.description import load_dataset, present_sets

    config = open_config(Path(args.exp) / "config.yaml")
    from asdkit.data import chain

    dumped = chain.dump_folder(config)
    if dumped is None:
        logging.info("data.feats_type is raw and data.reference none: nothing to dump")
        return
    from asdkit.data import feats, reference
    from asdkit.data.levels import level_inputs
    from asdkit.data.lists import recorded_clips

    prepared, reader = chain.Prepared(args.data), load_dataset(args.data).reader(config.data.reference)
    levels = level_inputs(config, args.exp) if config.data.feats_type == "fbank" else {}
    undone = {}
    for name in present_sets(args.data):
        folder, inputs = Path(args.dump, dumped, name), chain.dump_inputs(config, prepared, name) | levels
        done = _marker(folder / ".done", args, inputs, prepared)
        if done.is_done():
            logging.info("%s: already done", folder)
        elif args.merge:
            feats.merge(folder, [clip.utt for clip in recorded_clips(args.data, name)], args.num_jobs, inputs)
            reference.merge_levels(reader, folder, args.num_jobs)
            done.finish([folder / "feats.scp"])
        else:
            undone[name] = _marker(
                feats.split_folder(folder, args.num_jobs) / f".done.{args.job}", args, inputs, prepared
            )
    _write_shards(args, config, prepared, reader, {name: done for name, done in undone.items() if not done.is_done()})


def _marker(path: Path, args: argparse.Namespace, inputs: "Flat", prepared: "Prepared") -> Done:
    return Done(path, inputs, args.force, "other --data and --dump folders", prepared.today)


def _write_shards(
    args: argparse.Namespace, config: "Config", prepared: "Prepared", reader: "AudioReader", undone: dict[str, Done]
) -> None:
    from asdkit.corpus.description import load_dataset
    from asdkit.data import feats, reference
    from asdkit.data.levels import at_level
    from asdkit.data.lists import check_recordings, recorded_clips, shard

    clips = {name: recorded_clips(args.data, name) for name in undone}
    sizes = {name: [clip.samples for clip in clips[name]] for name in undone}
    own = {name: shard(clips[name], sizes[name], args.num_jobs, args.job) for name in undone}
    rows = {name: shard(prepared.rows(name), sizes[name], args.num_jobs, args.job) for name in undone}
    for name in undone:  # before the first recording is read whole
        check_recordings(rows[name], load_dataset(args.data), name)
        reference.check_readable(reader, own[name])
    make = _frontend(config, reader) if undone and config.data.feats_type == "fbank" else feats.samples
    for name, done in undone.items():
        heard = clips[name] if make is feats.samples else at_level(clips[name], config, args.exp)
        feats.dump_shard(make, reader, heard, done.path.parents[1], args.num_jobs, args.job)
        reference.write_levels(reader, own[name], done.path.parent, args.job)
        check_recordings(rows[name], load_dataset(args.data), name)  # are they still what was to be heard?
        done.finish([done.path.with_name(f"feats.{args.job}.ark")])


def _frontend(config: "Config", reader: "AudioReader") -> "Callable[[Tensor], Tensor]":
    from asdkit.encoders import build_encoder

    encoder = build_encoder(config.encoder)
    reader.check_rate(encoder.sample_rate)
    return encoder.frontend


if __name__ == "__main__":
    cli.run(main)
