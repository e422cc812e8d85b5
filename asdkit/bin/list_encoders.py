"""Tells of every encoder: sizes, costs, front end, licence of the weights, files that it reads."""

import argparse
from typing import Any

from asdkit.utils import cli

SIZES = ("encoder", "size", "parameters (M)", "G multiply-accumulates for 10 s")
FACTS = ("encoder", "sample rate", "front end", "licence of the weights", "reads", "compared with")


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Print two tables of all encoders: published sizes with parameters and multiply-accumulates (front end not "
        "counted) of a clip of 10 s, and what there is to know of each. Weights are neither needed nor made."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print the tables."""
    args = get_parser().parse_args(argv)
    from asdkit.encoders.catalogue import CATALOGUE

    if unknown := [name for name in args.names if name not in CATALOGUE]:
        raise ValueError(f"there is no encoder {unknown[0]!r}. There are: {', '.join(CATALOGUE)}")
    print(tables(args.names or list(CATALOGUE)), end="")


def tables(names: list[str]) -> str:
    """The two tables of the encoders of these names, Markdown."""
    from asdkit.encoders.catalogue import CATALOGUE
    from asdkit.report.tables import table

    entries = [CATALOGUE[name] for name in names]
    sizes = [[one.name, size, *_counted(one.name, arch)] for one in entries for size, arch in one.sizes.items()]
    facts = [
        [one.name, f"{one.rate} kHz" if one.rate else "any", one.frontend, _licences(one.name), one.formats, one.proven]
        for one in entries
    ]
    return table(list(SIZES), sizes) + "\n" + _text_table(list(FACTS), facts)


def _counted(name: str, arch: dict[str, Any]) -> list[str]:
    """Parameters and cost of a size; what is missing where a library is not there."""
    from asdkit.config import Config
    from asdkit.encoders.checkpoints import shapes_alone
    from asdkit.models.families import build_system
    from asdkit.models.size import size_of
    from asdkit.utils.typed_yaml import validate

    sized = {"arch": arch} if arch else {}
    model = {} if name == "autoencoder" else {"model": {"pooling": "mean", "embedding_dim": None}}
    config = validate(Config, {"encoder": {"name": name, **sized}, **model}, "catalogue")
    try:
        with shapes_alone():
            system = build_system(config, ["machine"])
    except ValueError as error:
        if "transformers" not in str(error):
            raise
        return ["needs transformers", "tools/setup_env.sh hf"]
    found = size_of(system.to("meta"))
    return [f"{found['parameters'] / 1e6:.2f}", f"{found['macs'] / 1e9:.2f}"]


def _licences(name: str) -> str:
    from asdkit.fetch.published import PUBLISHED

    return ", ".join(dict.fromkeys(one.licence for one in PUBLISHED.values() if one.encoder == name)) or "-"


def _text_table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned Markdown table of text."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "".join(f"| {' | '.join(map(str.ljust, line, widths))} |\n" for line in lines)


if __name__ == "__main__":
    cli.run(main)
