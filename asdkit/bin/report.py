"""Stage 6: gather all seeds of an experiment into tables, and compare all experiments beside it."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write exp/<tag>/results.json and RESULTS.md over all seeds, and exp/RESULTS.md over all tags.")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--force", type=cli.boolean, default=False, help="no effect: tables are always written anew")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the tables and print the short one."""
    args = get_parser().parse_args(argv)
    from asdkit.report.results import over_seeds
    from asdkit.report.tables import comparison, overview, page
    from asdkit.utils.files import read_json, write_json, write_text

    results = over_seeds(args.exp)
    write_json(args.exp / "results.json", results)
    write_text(args.exp / "RESULTS.md", page(results))
    tags = sorted(args.exp.resolve().parent.glob("*/results.json"))
    write_text(args.exp.resolve().parent / "RESULTS.md", comparison([read_json(path) for path in tags]))
    print(f"{results['tag']}, {results['protocol']}, seeds {', '.join(map(str, results['seeds']))}:")
    print(overview(results), end="")


if __name__ == "__main__":
    cli.run(main)
