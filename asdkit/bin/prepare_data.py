"""Stage 1: find a corpus's clips, check them, write manifests and references."""

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import Done, flatten

if TYPE_CHECKING:
    from asdkit.corpus.description import Dataset
    from asdkit.corpus.last import Last
    from asdkit.corpus.prepare import Tables


def get_parser() -> argparse.ArgumentParser:
    """Command line of stage 1."""
    parser = cli.parser("Write data/<set>/manifest.tsv and ref.tsv from a corpus.")
    parser.add_argument("--dataset", required=True, help="dataset description, conf/dataset.yaml")
    parser.add_argument("--corpus", required=True, help="folder of the corpus, or a CSV file that lists recordings")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder to write")
    parser.add_argument("--machines", help="only these machines, separated by commas")
    parser.add_argument("--sections", help="only these sections (machine ids), separated by commas")
    parser.add_argument("--channel", type=_channel, help="number or name of the channel, instead of the description's")
    parser.add_argument("--resample", type=cli.boolean, help="true: resample other rates, instead of the description's")
    parser.add_argument(
        "--revealed-attributes", help="folder of hidden attributes that the organisers told after the challenge"
    )
    parser.add_argument(
        "--check-content",
        type=cli.boolean,
        default=True,
        help="false: do not read the recordings whole, which finds silent ones, copies, damage and sounds that changed",
    )
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: make it again")
    return parser


def _channel(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def main(argv: list[str] | None = None) -> None:
    """Find, check, write; a failure leaves what an earlier run wrote."""
    args = get_parser().parse_args(argv)
    from asdkit.corpus import description, find, manifest, prepare, revealed, truth
    from asdkit.corpus.last import ELSEWHERE, Last
    from asdkit.signals import rates
    from asdkit.utils.files import read_json

    what = description.load_description(args.dataset, channel=args.channel, resample=args.resample)
    machines, sections = (text.split(",") if text else None for text in (args.machines, args.sections))
    found = find.find(what, args.corpus, machines, sections)
    for name, sensor in (what.channels or {}).items():
        rates_told = f"{sensor.rate} Hz" + f", resampled to {what.sample_rate} Hz" * (sensor.rate != what.sample_rate)
        logging.info("channel %s: %s in %s, %s", name, sensor.kind, sensor.unit or "full scale 1", rates_told)
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
    done, last = Done(args.data / ".done", inputs, args.force, ELSEWHERE), Last.read(args.data, args.force)
    if last.whole:
        last.check_settings(inputs)
    prepare.check_counts(found, what, all_sections=sections is None)
    if dataset.revealed_attributes:
        found = revealed.reveal(found, dataset)
    tables = prepare.tables(found, truth_path, what.name_style)
    if last.whole:
        last.check_clips(tables, recordings=False)
    perhaps_other = _look_at_recordings(args, dataset, tables, last)
    if dataset.resample and not last.whole:
        clips = [(clip.machine, clip.split, clip.name.condition, str(found.root / clip.path)) for clip in found.clips]
        for line in rates.remarks(clips, dataset.sample_rate, dataset.signal):
            logging.info("%s", line)
    news = last.news(dataset, tables) if last.whole else []
    if news or not last.whole:
        prepare.write(args.data, dataset, tables, found.supplemental, last.without(perhaps_other))
        if perhaps_other and not args.check_content:
            last.keep_time()
    if not last.whole or read_json(done.path) != inputs:
        done.finish()
    if last.whole:
        logging.info("%s", "; ".join([f"{args.data}: already done", *news]))
    else:
        print(manifest.summary(prepare.counted(found, tables)))


def _look_at_recordings(
    args: argparse.Namespace, dataset: "Dataset", tables: "dict[str, Tables]", last: "Last"
) -> list[str]:
    """Measure them; returns the ids of those that may have another sound than the last run of stage 1 found."""
    from asdkit.corpus import content

    if not args.check_content:
        logging.info(
            "--check-content false: recordings are not read: silent ones, copies, damage inside, and another sound of "
            "the same name and size are not found"
        )
    known = content.Known(last.rows(), last.dataset, last.looked)
    sets = {name: table.manifest for name, table in tables.items()}
    rows = [row for table in sets.values() for row in table]
    read = content.measure_clips(rows, dataset, known, args.check_content, args.force)
    if last.whole:
        last.check_clips(tables, recordings=True)
    written = content.written_since(rows, dataset, known)
    perhaps_other = last.check_written(dataset, written, args.check_content)
    if last.whole and read:
        os.utime(args.data / "dataset.yaml")  # what was read is known from now on
    if args.check_content:
        unit = dataset.signal and dataset.signal.unit
        content.check_dead(sets, dataset.channel, not last.whole, unit)
        known_conditions = {row["utt"]: row["condition"] for table in tables.values() for row in table.ref}
        content.warn_of_copies(sets, known_conditions, unit)
    return perhaps_other


if __name__ == "__main__":
    cli.run(main)
