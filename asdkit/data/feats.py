"""Dumping what a front end makes of recordings, or recordings without their second microphone, in shards."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.data.levels import read_clip
from asdkit.data.lists import Clip, shard
from asdkit.signals.audio import AudioReader
from asdkit.utils.ark import open_ark
from asdkit.utils.cli import progress
from asdkit.utils.done import compare
from asdkit.utils.files import needs_space, read_json, read_scp, write_text
from asdkit.utils.memory import memory_told


@torch.inference_mode()
def dump_shard(
    frontend: Callable[[Tensor], Tensor],
    reader: AudioReader,
    clips: Sequence[Clip],
    folder: str | Path,
    num_jobs: int,
    job: int,
) -> None:
    """Write split<N>/feats.J.{ark,scp} in `folder`: features of shard J of N, float32 [frames, bands] for each clip.

    frontend: samples [1, T] -> features [1, frames, bands]; `samples` keeps the samples themselves. clips: all of the
    set. Raises ValueError naming the
    recording that has changed, cannot be read or is too short for the front end.
    """
    own = shard(list(clips), [clip.samples for clip in clips], num_jobs, job)
    with open_ark(split_folder(folder, num_jobs) / f"feats.{job}.ark") as ark:
        for clip in progress(own, f"features of {Path(folder).name}"):
            wav = torch.from_numpy(read_clip(reader, clip))
            try:
                with memory_told(f"what the front end makes of {clip.samples} samples", "cut the recording"):
                    feats = frontend(wav[None])[0].numpy()
            except ValueError as error:
                raise ValueError(f"{clip.path}: {error}") from None
            if not ark.offsets:  # the first tells of all; job 1 begins before the others and asks for them too
                share = clips if job == 1 else own
                needs_space(
                    folder,
                    feats.nbytes / clip.samples * sum(c.samples for c in share),
                    "recordings" if frontend is samples else "features",
                )
            ark.write(clip.utt, feats)


def merge(folder: str | Path, utts: Sequence[str], num_jobs: int, inputs: dict[str, Any]) -> None:
    """Join the shards' indices to feats.scp, sorted by utt; shards of another number of jobs are removed.

    Raises ValueError when a shard is not done, was made from other `inputs`, or is not one of exactly `utts`.
    """
    split = split_folder(folder, num_jobs)
    table: dict[str, str] = {}
    for job in range(1, num_jobs + 1):
        marker = split / f".done.{job}"
        compare(marker, read_json(marker), inputs)
        table |= read_scp(split / f"feats.{job}.scp") if (split / f"feats.{job}.scp").stat().st_size else {}
    if sorted(utts) != sorted(table):
        raise ValueError(f"{split}: features of {len(table)} clips, the set has {len(utts)}: dump them again")
    write_text(Path(folder) / "feats.scp", "".join(f"{utt} {table[utt]}\n" for utt in sorted(table)))
    for other in Path(folder).glob("split*"):
        if other != split:
            shutil.rmtree(other)


def samples(wav: Tensor) -> Tensor:
    """What stands for a front end where samples are kept: [1, T] -> [1, T, 1]."""
    return wav[..., None]


def split_folder(folder: str | Path, num_jobs: int) -> Path:
    """Where the shards of a set lie while there are `num_jobs` of them."""
    return Path(folder) / f"split{num_jobs}"
