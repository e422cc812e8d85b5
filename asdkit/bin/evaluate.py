"""Stage 6: metrics of folders of scores. Beside report the only program that opens ref.tsv."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Compare scores with the truth by the protocol of the data set; write results.json into each folder of scores. "
        "Folders that no stage wrote get thresholds, tables and files to submit, too."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, help="exp/<tag>: all folders of scores of one seed")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to evaluate")
    parser.add_argument("--score", help="names of scores, separated by commas (default: all that are there)")
    parser.add_argument("--scores", type=Path, help="instead of --exp: any folder with a <set>.tsv for each test set")
    parser.add_argument("--force", type=cli.boolean, default=False, help="evaluate again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Evaluate every test set of one seed, or of one folder."""
    args = get_parser().parse_args(argv)
    if (args.exp is None) == (args.scores is None):
        raise ValueError("give --exp FOLDER, an experiment, or --scores FOLDER, any folder of scores; not both")
    if args.exp is not None:
        from asdkit.report.seeds import evaluate_seed

        evaluate_seed(args.exp, args.seed, args.data, args.score.split(",") if args.score else None, args.force)
        return
    from asdkit.config import Config
    from asdkit.report.evaluation import config_digest, evaluate_folder
    from asdkit.report.tables import cell, table
    from asdkit.utils.files import read_json

    folder = args.scores.resolve()
    if (folder / ".done").exists():
        raise ValueError(
            f"{folder}: made by stage 5: evaluate it with its experiment, --exp exp/<tag> --score {folder.name}"
        )
    about = {"tag": folder.name, "seed": 0, "score": folder.name, "config": "-"}
    about["config_sha256"] = config_digest(Config(), folder)
    evaluate_folder(folder, args.data, about, force=True)
    logging.info("%s: written", folder / "results.json")
    sets = read_json(folder / "results.json")["sets"]
    official = {name: found["official"] for name, found in sets.items()}
    rows = [[name, cell(None if value is None else {"mean": value, "std": None})] for name, value in official.items()]
    print(table(["set", "official score"], rows), end="")


if __name__ == "__main__":
    cli.run(main)
