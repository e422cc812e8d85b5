"""Stage 6: gather all seeds of an experiment into tables, and compare all experiments beside it."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write exp/<tag>/results.json and RESULTS.md over all seeds, and exp/RESULTS.md over all tags.")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--published", type=Path, help="others' figures to show beside these: conf/published.yaml")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the tables and print the short one."""
    args = get_parser().parse_args(argv)
    from asdkit.report.comparison import beside_published, comparison
    from asdkit.report.published import load_published
    from asdkit.report.results import over_seeds
    from asdkit.report.schema import TagResult, read_results
    from asdkit.report.tables import overview, page, title
    from asdkit.utils.files import write_json, write_text

    systems = load_published(args.published) if args.published else []
    results, folder = over_seeds(args.exp), args.exp.resolve().parent
    write_json(args.exp / "results.json", results)
    write_text(args.exp / "RESULTS.md", page(results, beside_published(results, systems)))
    tags, left_out = [], []
    for path in sorted(folder.glob("*/results.json")):
        try:
            tags.append({**read_results(path, TagResult), "tag": path.parent.name})
        except ValueError as error:
            left_out.append(str(error).replace(f"{folder}/", ""))
            logging.warning("left out of %s: %s", folder / "RESULTS.md", left_out[-1])
    write_text(folder / "RESULTS.md", comparison(tags, left_out, systems))
    print(f"{title(results)}, {results['protocol']}, seeds {', '.join(map(str, results['seeds']))}:")
    print(overview(results), end="")


if __name__ == "__main__":
    cli.run(main)
