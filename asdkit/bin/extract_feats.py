"""Stage 2: dump features, where data.feats_type is fbank."""

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
    from asdkit.signals.audio import AudioReader


def get_parser() -> argparse.ArgumentParser:
    """Command line of extract_feats."""
    parser = cli.parser(
        "Write dump/<front end>/<set>/split<num-jobs>/feats.<job>.ark; with --merge true the index feats.scp."
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
    if config.data.feats_type == "raw":
        logging.info("data.feats_type is raw: no features to dump")
        return
    from asdkit.data import chain, feats
    from asdkit.data.levels import at_level, level_inputs
    from asdkit.data.lists import check_recordings, recorded_clips, shard

    dataset, prepared = load_dataset(args.data), chain.Prepared(args.data)
    reader = dataset.reader()
    elsewhere = "other --data and --dump folders"
    frontend = None
    for name in present_sets(args.data):
        folder = Path(args.dump) / chain.feats_folder(config) / name
        inputs = chain.feature_inputs(prepared, name) | level_inputs(config, args.exp)
        merged = Done(folder / ".done", inputs, args.force, elsewhere, prepared.today)
        if merged.is_done():
            logging.info("%s: already done", folder)
        elif args.merge:
            feats.merge(folder, [clip.utt for clip in recorded_clips(args.data, name)], args.num_jobs, inputs)
            merged.finish()
        else:
            marker = feats.split_folder(folder, args.num_jobs) / f".done.{args.job}"
            done = Done(marker, inputs, args.force, elsewhere, prepared.today)
            if not done.is_done():
                check_recordings(shard(prepared.rows(name), args.num_jobs, args.job), dataset, name)
                frontend = frontend or _frontend(config, reader)
                clips = at_level(recorded_clips(args.data, name), config, args.exp)
                feats.dump_shard(frontend, reader, clips, folder, args.num_jobs, args.job)
                done.finish()


def _frontend(config: "Config", reader: "AudioReader") -> "Callable[[Tensor], Tensor]":
    from asdkit.encoders import build_encoder

    encoder = build_encoder(config.encoder)
    reader.check_rate(encoder.sample_rate)
    return encoder.frontend


if __name__ == "__main__":
    cli.run(main)
