"""Stage 2: write wav.scp and lengths of every set, and the labels of the training clips."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import Done

if TYPE_CHECKING:
    from asdkit.config import Config
    from asdkit.corpus.description import Dataset


def get_parser() -> argparse.ArgumentParser:
    """Command line of make_lists."""
    parser = cli.parser("Write dump/raw/<set>/wav.scp and utt2num_samples, exp/<tag>/labels.tsv and classes.txt.")
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

    dataset = load_dataset(args.data)
    config = load_config(Path(args.exp) / "config.yaml")
    for name in present_sets(args.data):
        write_recordings(dataset, name, args)
    write_labels(config, args)


def write_recordings(dataset: "Dataset", name: str, args: argparse.Namespace) -> None:
    """Write wav.scp and utt2num_samples of one set."""
    from asdkit.corpus import manifest
    from asdkit.data import lists
    from asdkit.signals.audio import frame_counts
    from asdkit.utils.files import write_text

    folder = Path(args.dump) / "raw" / name
    reader = dataset.reader()
    inputs = {"manifest": manifest.digest(args.data, name), "root": dataset.root, **vars(reader)}
    done = Done(folder / ".done", inputs, args.force, "other --data and --dump folders")
    paths = lists.recordings(dataset, args.data, name)
    if done.is_done():
        logging.info("%s: already done", folder)
        return
    counts = frame_counts(reader, list(paths.values()))
    write_text(folder / "wav.scp", "".join(f"{utt} {path}\n" for utt, path in paths.items()))
    lengths = zip(paths, counts, strict=True)
    write_text(folder / "utt2num_samples", "".join(f"{utt} {count}\n" for utt, count in lengths))
    done.finish()


def write_labels(config: "Config", args: argparse.Namespace) -> None:
    """Write labels.tsv and classes.txt of the training clips."""
    from asdkit.corpus import manifest
    from asdkit.data import lists
    from asdkit.utils.files import write_table, write_text

    exp = Path(args.exp)
    sets = lists.training_sets(config, args.data)
    inputs = {"label": config.data.label, **{name: manifest.digest(args.data, name) for name in sets}}
    done = Done(exp / ".done.labels", inputs, args.force)
    if done.is_done():
        logging.info("%s: already done", exp / "labels.tsv")
        return
    rows = [row for name in sets for row in manifest.read_manifest(Path(args.data) / name / "manifest.tsv")]
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
