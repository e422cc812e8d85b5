"""Before stage 4 on one of several years: an experiment of that year, with the network that all were trained on."""

import argparse
import shlex
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Make an experiment on one year's data with a network that several years were trained on.")
    parser.add_argument("--trained", type=Path, required=True, help="exp/<tag>, trained on several years")
    parser.add_argument("--joined", type=Path, required=True, help="what join_years wrote, which it was trained on")
    parser.add_argument("--year", required=True, help="the year's name in join_years")
    parser.add_argument("--data", type=Path, required=True, help="what stage 1 wrote of the year")
    parser.add_argument("--exp", type=Path, required=True, help="the experiment to make, exp/<tag>")
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: scores of other settings may go")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write what is not there yet."""
    args = get_parser().parse_args(argv)
    from asdkit.data.shared import share

    words = shlex.join(["--trained", str(args.trained), "--year", args.year, "--exp", str(args.exp)])
    command = f"python3 -m asdkit.bin.share_network {words}"
    share(args.trained, args.joined, args.exp, args.year, args.data, command, args.force)


if __name__ == "__main__":
    cli.run(main)
