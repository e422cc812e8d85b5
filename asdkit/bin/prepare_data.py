"""Stage 1: find a corpus's clips, check them, write manifests and references."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli
from asdkit.utils.done import Done, flatten


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 1."""
    parser = cli.parser("Write data/<set>/manifest.tsv and ref.tsv from a corpus.")
    parser.add_argument("--dataset", required=True, help="dataset description, conf/dataset.yaml")
    parser.add_argument("--corpus", required=True, help="folder of the corpus, or a CSV file that lists recordings")
    parser.add_argument("--data", default="data", help="folder to write")
    parser.add_argument("--machines", help="only these machines, separated by commas")
    parser.add_argument("--sections", help="only these sections (machine ids), separated by commas")
    parser.add_argument("--channel", type=int, help="channel of recordings with several, instead of the description's")
    parser.add_argument("--resample", type=cli.boolean, help="true: resample other rates, instead of the description's")
    parser.add_argument(
        "--revealed-attributes", help="folder of hidden attributes that the organisers told after the challenge"
    )
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: make it again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Find, check, write; a failure leaves what an earlier run wrote."""
    args = get_parser().parse_args(argv)
    from asdkit.corpus import description, find, manifest, prepare, revealed, truth
    from asdkit.signals import rates

    what = description.load_description(args.dataset, channel=args.channel, resample=args.resample)
    machines, sections = (text.split(",") if text else None for text in (args.machines, args.sections))
    found = find.find(what, args.corpus, machines, sections)
    for note in found.notes:
        logging.info("%s", note)
    if found.doubt and (args.force or not Path(args.data, ".done").exists()):
        raise ValueError(found.doubt)
    if found.doubt:  # this folder was made by a version that did not ask
        logging.info("WARNING: %s", found.doubt)
    truth_path = Path(args.corpus).absolute() / what.ground_truth if what.ground_truth else None
    dataset = prepare.resolve(what, found, args.revealed_attributes)
    inputs = {**flatten(dataset.model_dump(mode="json")), "clips": found.digest(), "truth": truth.digest(truth_path)}
    if dataset.revealed_attributes:
        inputs["revealed"] = revealed.digest_revealed(dataset.revealed_attributes)
    done = Done(
        Path(args.data) / ".done",
        inputs,
        args.force,
        "the options of that run, other --data, --dump and --expdir folders",
    )
    if done.is_done():
        renewed = prepare.renew(args.data, dataset)
        logging.info("%s: already done%s", args.data, "; the recordings' lengths were added" if renewed else "")
        return
    prepare.check_counts(found, what, all_sections=sections is None)
    if dataset.revealed_attributes:
        found = revealed.reveal(found, dataset)
    tables = prepare.tables(found, truth_path, what.name_style)
    for table in tables.values():
        prepare.add_lengths(table.manifest, dataset)
    if dataset.resample:
        clips = [(clip.machine, clip.split, clip.name.condition, str(found.root / clip.path)) for clip in found.clips]
        for line in rates.remarks(clips, dataset.sample_rate):
            logging.info("%s", line)
    prepare.write(args.data, dataset, tables, found.supplemental)
    done.finish()
    print(manifest.summary(prepare.counted(found, tables)))


if __name__ == "__main__":
    cli.run(main)
