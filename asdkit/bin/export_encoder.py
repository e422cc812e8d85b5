"""Write the encoder of a pre-training as a BEATs file in the published format."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write a pre-trained encoder in the published BEATs format, and its SHA-256 beside it.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="DIR/checkpoint/final.pt (or last.pt)")
    parser.add_argument("--out", type=Path, required=True, help="file to write; <file>.sha256 is written as well")
    parser.add_argument("--half", type=cli.boolean, default=True, help="true: 16-bit floats, half the size")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Take the encoder out, write it, read it back."""
    args = get_parser().parse_args(argv)
    from asdkit.pretrain.export import export

    digest = export(args.checkpoint, args.out, args.half)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, SHA-256 {digest}")


if __name__ == "__main__":
    cli.run(main)
