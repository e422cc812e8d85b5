"""Stage 6: evaluate all scores of an experiment, gather its seeds into tables, compare all experiments beside it."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write exp/<tag>/results.json and RESULTS.md over all seeds, and exp/RESULTS.md over all tags.")
    parser.add_argument("--data", type=Path, help="what stage 1 wrote (default: gather what was evaluated before)")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--score", help="evaluate only these scores, separated by commas (default: all)")
    parser.add_argument("--published", type=Path, help="others' figures to show beside these: conf/published.yaml")
    parser.add_argument(
        "--clips",
        type=_clips,
        default=20,
        help="of each kind and machine, with pictures and sounds on the page; or all",
    )
    parser.add_argument(
        "--single-file", type=cli.boolean, default=False, help="true: pictures and sounds within report/index.html"
    )
    parser.add_argument(
        "--compare", nargs="+", default=[], help="experiments beside exp/<tag> to compare it with: TAG or TAG:SCORE"
    )
    parser.add_argument(
        "--originals",
        type=cli.boolean,
        default=False,
        help="true: the page plays recordings where they lie, whole, instead of what is cut and compressed",
    )
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: evaluate again")
    return parser


def _clips(text: str) -> int | None:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor all")
    return None if text == "all" else int(text)


def main(argv: list[str] | None = None) -> None:
    """Evaluate what is not evaluated yet, write the tables and print the short ones."""
    args = get_parser().parse_args(argv)
    from asdkit.page.write import make_page
    from asdkit.report.comparison import beside_published, write_comparison
    from asdkit.report.paired import compare, comparison_text
    from asdkit.report.published import load_published
    from asdkit.report.results import over_seeds
    from asdkit.report.tables import ordered, overview, pages, title
    from asdkit.utils.files import locked, write_json, write_text

    if args.data is not None:
        from asdkit.report.seeds import evaluate_seeds

        with locked(args.exp / ".report.lock"):  # folders that no stage wrote are completed here
            evaluate_seeds(args.exp, args.data, args.score.split(",") if args.score else None, args.force)
    systems = load_published(args.published) if args.published else []
    results, folder = over_seeds(args.exp), args.exp.resolve().parent
    if args.compare:
        if args.data is None:
            raise ValueError("--compare needs --data: the labels of the test clips")
        results["compared"] = compare(args.exp, results, args.compare, args.data)
    write_json(args.exp / "results.json", results)
    published = {name: beside_published(found, systems) for name, found in results["scores"].items()}
    beside = [comparison_text(results["compared"])] if args.compare else []
    write_text(args.exp / "RESULTS.md", "\n".join([pages(results, published), *beside]))
    write_comparison(folder, systems)
    make_page(args.exp, results, systems, args.data, args.clips, args.single_file, args.originals)
    for found in ordered(results["scores"]).values():
        print(f"{title(found)}, {found['protocol']}, seeds {', '.join(map(str, found['seeds']))}:")
        print(overview(found), end="")
    for text in beside:
        print(f"\n{text}", end="")


if __name__ == "__main__":
    cli.run(main)
