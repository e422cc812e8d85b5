"""List the recordings of a folder for pre-training."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Find and check every wav and flac file of a folder; no names or labels are needed.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder, searched with its subfolders")
    parser.add_argument("--config", type=Path, required=True, help="conf/<name>.yaml: sound.channel, sound.resample")
    parser.add_argument("--set", action="append", default=[], help="change a value: --set sound.channel=0, repeatable")
    parser.add_argument("--out", type=Path, required=True, help="list to write: wav and samples, tab-separated")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Find, check, write."""
    args = get_parser().parse_args(argv)
    from asdkit.pretrain.config import load_pretrain_config
    from asdkit.pretrain.corpus import list_audio, write_list
    from asdkit.signals.audio import RATE

    rows = list_audio(args.corpus, load_pretrain_config(args.config, args.set).sound)
    write_list(args.out, rows)
    hours = sum(int(row["samples"]) for row in rows) / RATE / 3600
    logging.info("%s: %d recordings, %.2f h", args.out, len(rows), hours)


if __name__ == "__main__":
    cli.run(main)
