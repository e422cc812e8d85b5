"""Recordings without their second microphone, in stage 2: looked at before, told of after."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asdkit.data.feats import split_folder
from asdkit.data.lists import Clip
from asdkit.signals.audio import AudioReader, sample_counts
from asdkit.signals.reference import SILENT, Levels, TreatedReader
from asdkit.utils.files import read_table, write_table

LITTLE = {"complex": -40.0, "magnitude": -19.9}  # dB of the near one; magnitude leaves -20 of nothing
WARNING = "WARNING"
COLUMNS = ("utt", "machine", "near", "far", "left")

Measured = list[tuple[str, str, Levels]]  # id, machine, levels


def check_readable(reader: AudioReader, clips: Sequence[Clip]) -> None:
    """Raise ValueError naming a recording without second microphone, or one too short, before the first is treated."""
    if isinstance(reader, TreatedReader):
        sample_counts(reader, [clip.path for clip in clips])


def write_levels(reader: AudioReader, clips: Sequence[Clip], folder: Path, job: int) -> None:
    """Write levels.J.tsv into a shard's folder: what was left of the clips that `reader` has read."""
    if isinstance(reader, TreatedReader):
        found = [(clip, reader.levels[clip.path]) for clip in clips]
        rows = [
            {"utt": clip.utt, "machine": clip.machine, **{key: repr(value) for key, value in vars(levels).items()}}
            for clip, levels in found
        ]
        write_table(folder / f"levels.{job}.tsv", COLUMNS, rows)


def merge_levels(reader: AudioReader, folder: Path, num_jobs: int) -> None:
    """Join the shards' tables to levels.tsv (standard deviations), and log what is left of each machine."""
    if not isinstance(reader, TreatedReader):
        return
    paths = [split_folder(folder, num_jobs) / f"levels.{job}.tsv" for job in range(1, num_jobs + 1)]
    rows = [row for path in paths for row in read_table(path, COLUMNS)]
    write_table(folder / "levels.tsv", COLUMNS, sorted(rows, key=lambda row: row["utt"]))
    measured = [
        (row["utt"], row["machine"], Levels(float(row["near"]), float(row["far"]), float(row["left"]))) for row in rows
    ]
    for line in remarks(measured, folder.name, LITTLE[reader.how]):
        logging.info("%s", line)


def warn(reader: AudioReader, clips: Sequence[Clip], what: str) -> None:
    """Log where little is left of the clips that `reader` has read, or the second microphone is silent."""
    if isinstance(reader, TreatedReader):
        known = [(clip.path, clip.machine, reader.levels[clip.path]) for clip in clips if clip.path in reader.levels]
        for line in remarks(known, what, LITTLE[reader.how]):
            if line.startswith(WARNING):
                logging.warning("%s", line)


def remarks(measured: Measured, what: str, limit: float) -> list[str]:
    """A line for each machine, and warnings where less than `limit` dB is left, or the second microphone is silent.

    what: the set.
    """
    machines: dict[str, Measured] = defaultdict(list)
    for utt, machine, levels in measured:
        machines[machine].append((utt, machine, levels))
    lines = []
    for machine, clips in sorted(machines.items()):
        left = [levels.left_db for _, _, levels in clips]
        named = f"{what}, {machine}"
        lines.append(
            f"{named}: near microphone left {np.median(left):.1f} dB (median), {min(left):.1f} to {max(left):.1f} dB"
        )
        if (little := sum(value < limit for value in left)) > 0:
            least = int(np.argmin(left))
            lines.append(
                f"{WARNING}: {named}: less than {limit:g} dB of the near microphone is left in {little} of "
                f"{len(clips)} recordings, {left[least]:.1f} dB in {clips[least][0]}. Do both channels hold "
                "the same sound?"
            )
        if silent := [utt for utt, _, levels in clips if levels.far <= SILENT]:
            lines.append(
                f"{WARNING}: {named}: the second microphone is silent in {len(silent)} of {len(clips)} recordings, "
                f"which stay as they are, the first {silent[0]}"
            )
    return lines
