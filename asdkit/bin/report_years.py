"""After stage 6 of several years: their official scores side by side."""

import argparse
from pathlib import Path
from typing import Any

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write <exp>/YEARS.md: the scores of each year, by that year's protocol.")
    parser.add_argument("--exp", type=Path, required=True, help="the experiment that was trained, exp/<tag>")
    parser.add_argument("--years", nargs="+", required=True, metavar="YEAR=FOLDER", help="exp/<tag> of each year")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write and print the table."""
    args = get_parser().parse_args(argv)
    from asdkit.report.results import over_seeds
    from asdkit.report.tables import table
    from asdkit.utils.files import write_text

    rows = []
    for word in args.years:
        year, _, folder = word.partition("=")
        if not folder:
            raise ValueError(f"--years {word}: expected YEAR=FOLDER, its experiment exp/<tag>")
        rows += _rows(year, over_seeds(folder))
    text = table(["year", "score", "protocol", "seeds", "dev", "eval", "all"], rows)
    write_text(args.exp / "YEARS.md", f"# {args.exp.resolve().name}: official scores of each year, %\n\n{text}")
    print(text, end="")


def _rows(year: str, results: dict[str, Any]) -> list[list[str]]:
    from asdkit.report.tables import cell, marks, ordered

    rows = []
    for name, found in ordered(results["scores"]).items():
        official = [found["sets"].get(part, {}).get("official") for part in ("dev", "eval")]
        told = name + "".join(f" ({mark})" for mark in marks({**found, "unheard": []}))
        if unheard := found["unheard"]:
            told += f" ({len(unheard)} machines not trained on)"
        values = map(cell, (*official, found["all"]))
        rows.append([year, told, found["protocol"], " ".join(map(str, found["seeds"])), *values])
    return rows


if __name__ == "__main__":
    cli.run(main)
