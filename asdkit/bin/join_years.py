"""After stage 1 of several years: their training clips as one corpus, each sound once, no test clip among them."""

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import Done

if TYPE_CHECKING:
    from asdkit.corpus.years import Joined


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Write <out>/<set>/manifest.tsv of the training clips of several years, and <out>/copies.tsv.")
    parser.add_argument("--data", type=Path, required=True, help="holds a folder for each year, as stage 1 wrote it")
    parser.add_argument("--years", nargs="+", required=True, metavar="YEAR", help="to train on: folders below --data")
    parser.add_argument("--scored", nargs="+", default=[], metavar="YEAR", help="more years whose test clips stay out")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--overlap",
        choices=("refuse", "drop"),
        default="refuse",
        help="training clips that are test clips, of any year: refuse, or drop them from training",
    )
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: make it again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Join, unless it is done; other clips than before are an error."""
    args = get_parser().parse_args(argv)
    from asdkit.corpus.manifest import digest
    from asdkit.corpus.years import join, years_present

    trained, scored = (years_present(args.data, years) for years in (args.years, args.scored))
    joined = join(args.data, trained, scored, args.overlap == "drop")
    inputs = {"years": " ".join(trained), **{name: digest(rows) for name, rows in joined.sets.items()}}
    done = Done(
        args.out / ".done", inputs, args.force, "other --data and --expdir folders", again="--stage 1 --force true"
    )
    again = done.is_done()
    _write(args.out, joined)
    if again:
        logging.info("%s: already done", args.out)
    else:
        done.finish()
        print(_summary(joined), end="")


def _write(out: Path, joined: "Joined") -> None:
    """Places of recordings may be others than before; dataset.yaml is written last, as stage 1 does."""
    from asdkit.corpus.clips import SUPPLEMENTAL_COLUMNS
    from asdkit.corpus.description import dump_dataset
    from asdkit.corpus.manifest import write_manifest
    from asdkit.corpus.names import SETS
    from asdkit.corpus.years import COPIES, COPIES_COLUMNS
    from asdkit.utils.files import write_table, write_text

    (out / "dataset.yaml").unlink(missing_ok=True)
    for name in SETS:
        if name in joined.sets:
            write_manifest(out / name / "manifest.tsv", joined.sets[name])
        else:
            (out / name / "manifest.tsv").unlink(missing_ok=True)
    write_table(out / COPIES, COPIES_COLUMNS, joined.copies)
    if joined.supplemental:
        write_table(out / "supplemental.tsv", SUPPLEMENTAL_COLUMNS, joined.supplemental)
    else:
        (out / "supplemental.tsv").unlink(missing_ok=True)
    write_text(out / "dataset.yaml", dump_dataset(joined.dataset))


def _summary(joined: "Joined") -> str:
    """A line for each year: training clips that are kept, left out as copies, left out as test clips."""
    from asdkit.corpus.years import HEARD, LEFT_OUT
    from asdkit.report.tables import table

    kept = Counter(row["year"] for rows in joined.sets.values() for row in rows)
    fates = Counter((row["year"], row["fate"]) for row in joined.copies)
    rows = [
        [year, str(kept[year]), str(fates[year, LEFT_OUT]), str(fates[year, HEARD])]
        for year in joined.dataset.years or ()
    ]
    return table(["year", "to train on", "copies left out", "test clips left out"], rows)


if __name__ == "__main__":
    cli.run(main)
