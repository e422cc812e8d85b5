"""The pictures of an experiment's page as figures for a paper: PDF and PNG, as wide as a column."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write exp/<tag>/figures/*.pdf and *.png: what the page shows, for a paper.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>, after stage 6")
    parser.add_argument("--out", type=Path, help="folder of the figures (default: exp/<tag>/figures)")
    parser.add_argument("--score", help="which of the experiment's scores (default: the first)")
    parser.add_argument(
        "--compare", nargs="+", default=[], help="experiments beside exp/<tag> to compare it with: TAG or TAG:SCORE"
    )
    parser.add_argument("--width", choices=("single", "double"), default="single", help="3.5 or 7.16 inches")
    parser.add_argument(
        "--colour",
        choices=("condition", "domain", "attr", "section", "code"),
        default="condition",
        help="what embeddings are coloured by",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the figures; say where they are, and what is not there."""
    args = get_parser().parse_args(argv)
    from asdkit.page.figures import make_figures
    from asdkit.page.write import gather
    from asdkit.report.paired import compare
    from asdkit.report.results import over_seeds

    results = over_seeds(args.exp)
    if args.compare:
        results["compared"] = compare(args.exp, results, args.compare, args.data)
    out = args.out or args.exp / "figures"
    missing = make_figures(gather(args.exp, results, [], args.data), out, args.width, args.score, args.colour)
    for line in missing:
        print(f"left out: {line}")
    print(f"figures: {out}")


if __name__ == "__main__":
    cli.run(main)
