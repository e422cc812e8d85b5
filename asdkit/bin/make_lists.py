"""Stage 2: check the recordings of every set, write wav.scp of them, and the labels of the training clips."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import Done

if TYPE_CHECKING:
    from asdkit.config import Config


def get_parser() -> argparse.ArgumentParser:
    """Command line of make_lists."""
    parser = cli.parser("Write dump/raw/<set>/wav.scp, exp/<tag>/labels.tsv and classes.txt.")
    parser.add_argument("--data", default="data", help="what stage 1 wrote")
    parser.add_argument("--dump", default="dump", help="folder of lists and features")
    parser.add_argument("--exp", required=True, help="folder of the experiment, exp/<tag>")
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: make them again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write what is not done yet."""
    args = get_parser().parse_args(argv)
    from asdkit.config import load_config
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.data.lists import write_recordings

    dataset = load_dataset(args.data)
    config = load_config(Path(args.exp) / "config.yaml")
    for name in present_sets(args.data):
        write_recordings(dataset, args.data, args.dump, name, args.force)
    write_labels(config, args)


def write_labels(config: "Config", args: argparse.Namespace) -> None:
    """Write labels.tsv and classes.txt of the training clips."""
    from asdkit.corpus import manifest
    from asdkit.data import lists
    from asdkit.utils.files import write_table, write_text

    exp = Path(args.exp)
    sets = lists.training_sets(config, args.data)
    manifests = {name: manifest.read_manifest(Path(args.data) / name / "manifest.tsv") for name in sets}
    inputs = {"label": config.data.label, **{name: manifest.digest(rows) for name, rows in manifests.items()}}
    done = Done(exp / ".done.labels", inputs, args.force)
    if done.is_done():
        logging.info("%s: already done", exp / "labels.tsv")
        return
    rows = [row for rows in manifests.values() for row in rows]
    classes, labels = lists.assign_labels(rows, config.data.label)
    lists.check_attributed(config, labels)
    table = [{"utt": utt, "label": str(n), "attributed": str(int(known))} for utt, (n, known) in labels.items()]
    write_table(exp / "labels.tsv", lists.LABEL_COLUMNS, table)
    write_text(exp / "classes.txt", "".join(f"{name}\n" for name in classes))
    done.finish()
    without = sum(not known for _, known in labels.values())
    logging.info("%d training clips, %d without attribute, %d classes", len(labels), without, len(classes))


if __name__ == "__main__":
    cli.run(main)
