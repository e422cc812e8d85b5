"""Stage 2: the resolved configuration, the labels of the training clips, and the recordings as Kaldi lists them."""

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import Done

if TYPE_CHECKING:
    from asdkit.config import Config


def get_parser() -> argparse.ArgumentParser:
    """Command line of make_lists."""
    parser = cli.parser("Write exp/<tag>/{config.yaml,env.txt,labels.tsv,classes.txt} and dump/raw/<set>/wav.scp.")
    parser.add_argument("--config", required=True, help="experiment, conf/x.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="replace a value")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="folder of lists and features")
    parser.add_argument("--exp", type=Path, required=True, help="folder of the experiment, exp/<tag>")
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: make them again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write what is not done yet; a different configuration is an error."""
    args = get_parser().parse_args(argv)
    from asdkit.config import check_checkpoint, load_config
    from asdkit.config.folder import settle
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.data import levels, lists
    from asdkit.utils.typed_yaml import given

    config = load_config(args.config, args.set, not (args.exp / "config.yaml").exists() or args.force)
    check_checkpoint(config, given(args.set, "encoder.checkpoint") or args.config)
    config = settle(config, args.exp, force=args.force)
    dataset = load_dataset(args.data)
    if dataset.years and (config.data.feats_type != "raw" or config.data.reference != "none"):
        raise ValueError(
            f"{args.data} is of several years, whose recordings are read one by one: data.feats_type has to be raw and "
            "data.reference none"
        )
    dataset.reader(config.data.reference)  # before anything is written: is there a second microphone?
    for name in present_sets(args.data):
        lists.write_recordings(dataset, args.data, args.dump, name, args.force)
    _check_lengths(config, args.data)  # before anything says that the experiment is there
    _write_configuration(config, args)
    _write_labels(config, args)
    levels.write_levels(config, args.data, args.exp, args.force)


def _write_configuration(config: "Config", args: argparse.Namespace) -> None:
    from asdkit.config.folder import write
    from asdkit.data.lists import training_sets
    from asdkit.utils.files import read_text, write_text
    from asdkit.utils.provenance import environment

    sets = training_sets(config, args.data)
    if absent := [name for name in config.data.sets if name not in sets]:
        logging.info("training on %s; the corpus has no %s", ", ".join(sets), ", ".join(absent))
    options = [word for setting in args.set for word in ("--set", setting)]
    if write(config, args.exp, f"python3 -m asdkit.bin.make_lists {shlex.join(['--config', args.config, *options])}"):
        write_text(args.exp / "env.txt", "".join(f"{key}: {value}\n" for key, value in environment().items()))
    # How recordings are read, for those who open the experiment without its data.
    copy, text = args.exp / "dataset.yaml", read_text(args.data / "dataset.yaml")
    if not copy.exists() or read_text(copy) != text:
        write_text(copy, text)


def _check_lengths(config: "Config", data: Path) -> None:
    """Refuse what stage 4 could not do, before anything is trained. A network is only built for long recordings."""
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.data.lists import recorded_clips
    from asdkit.infer.room import check_room, is_long, memory_here

    clips = [clip for name in present_sets(data) for clip in recorded_clips(data, name)]
    if is_long(clips, load_dataset(data).sample_rate):
        from asdkit.encoders import build_encoder

        check_room(build_encoder(config.encoder), clips, config.embed, memory_here("any"))


def _write_labels(config: "Config", args: argparse.Namespace) -> None:
    from asdkit.data import chain, lists
    from asdkit.utils.files import write_table, write_text

    prepared = chain.Prepared(args.data)
    inputs = chain.label_inputs(config, prepared)
    done = Done(args.exp / ".done.labels", inputs, args.force, reread=lambda made: chain.reread_labels(made, prepared))
    if done.is_done():
        logging.info("%s: already done", args.exp / "labels.tsv")
        return
    rows = [row for name in chain.training_sets(config, args.data) for row in prepared.rows(name)]
    classes, labels = lists.assign_labels(lists.hide_attributes(rows, config.data.hide_attributes), config.data.label)
    lists.check_attributed(config, labels)
    table = [{"utt": utt, "label": str(n), "attributed": str(int(known))} for utt, (n, known) in labels.items()]
    write_table(args.exp / "labels.tsv", lists.LABEL_COLUMNS, table)
    write_text(args.exp / "classes.txt", "".join(f"{name}\n" for name in classes))
    done.finish([args.exp / "labels.tsv", args.exp / "classes.txt"])
    without = sum(not known for _, known in labels.values())
    logging.info("%d training clips, %d without attribute, %d classes", len(labels), without, len(classes))


if __name__ == "__main__":
    cli.run(main)
