"""TDMS files of LabVIEW: channels read in parts, by the scales that the file holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asdkit.signals.arrays import Held, choose, laid


@contextmanager
def open_tdms(path: str | Path, variable: str | None) -> Iterator[Held]:
    """A channel of a TDMS file, named `group/channel`, scaled by its NI_Scale properties.

    Without them its numbers are those that were stored: integers then tell no unit. Raises ValueError for a file that
    was cut, or not closed.
    """
    from nptdms import TdmsFile

    with TdmsFile.open(path) as file:
        if file.file_status.incomplete_final_segment:
            raise ValueError(f"{path}: truncated: its last segment holds less than it says")
        found = {f"{group.name}/{one.name}": one for group in file.groups() for one in group.channels() if len(one) > 1}
        found = {name: one for name, one in found.items() if one.data_type and one.dtype.kind in "iuf"}
        channel = found[choose(path, found, variable)]
        scaled = any(name.startswith("NI_Scale[") for name in channel.properties)
        told = channel.properties.get("unit_string") or None
        unit = (told or "") if scaled else told if channel.dtype.kind == "f" else None
        step = channel.properties.get("wf_increment")
        rate = 1 / step if step else None
        yield laid(
            path,
            (len(channel),),
            channel.dtype,
            lambda part: channel.read_data(part[0].start, part[0].stop - part[0].start),
            rate,
            unit,
        )
