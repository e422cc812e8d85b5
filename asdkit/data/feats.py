"""Dumping an encoder's input features, in shards."""

from pathlib import Path
from typing import Any

import torch

from asdkit.config import Config
from asdkit.data.lists import list_clips, shard
from asdkit.encoders import build_encoder
from asdkit.signals.audio import AudioReader
from asdkit.utils.ark import matrix_shape, open_ark, split_location
from asdkit.utils.cli import progress
from asdkit.utils.done import compare
from asdkit.utils.files import read_json, read_scp, write_text


@torch.inference_mode()
def dump_shard(
    config: Config, reader: AudioReader, dump_dir: str | Path, set_name: str, num_jobs: int, job: int
) -> None:
    """Write split<N>/feats.J.{ark,scp}: the encoder's front end on each clip of shard J of N, float32 [frames, mels].

    Raises ValueError naming the recording that cannot be read or is shorter than one frame.
    """
    with torch.device("meta"):  # the front end has no weights: none are made or read
        encoder = build_encoder(type(config.encoder)())
    reader.check_rate(encoder.sample_rate)
    clips = shard(list_clips(dump_dir, set_name), num_jobs, job)
    with open_ark(_split(dump_dir, set_name, num_jobs) / f"feats.{job}.ark") as ark:
        for utt, path, _ in progress(clips, f"features of {set_name}"):
            wav = torch.from_numpy(reader.read(path))
            try:
                ark.write(utt, encoder.frontend(wav[None])[0].numpy())
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None


def merge(dump_dir: str | Path, set_name: str, num_jobs: int, inputs: dict[str, Any]) -> None:
    """Join the shards' indices to feats.scp and utt2num_frames, sorted by utt.

    Raises ValueError when a shard is not done, was made from other `inputs`, or clips are missing.
    """
    folder = _split(dump_dir, set_name, num_jobs)
    table: dict[str, str] = {}
    for job in range(1, num_jobs + 1):
        marker = folder / f".done.{job}"
        compare(marker, read_json(marker), inputs)
        table |= read_scp(folder / f"feats.{job}.scp") if (folder / f"feats.{job}.scp").stat().st_size else {}
    clips = [utt for utt, _, _ in list_clips(dump_dir, set_name)]
    if clips != sorted(table):
        raise ValueError(f"{folder}: features of {len(table)} clips, wav.scp has {len(clips)}: dump them again")
    frames = {utt: matrix_shape(*split_location(table[utt]))[0] for utt in clips}
    out = Path(dump_dir) / "fbank" / set_name
    write_text(out / "utt2num_frames", "".join(f"{utt} {count}\n" for utt, count in frames.items()))
    write_text(out / "feats.scp", "".join(f"{utt} {table[utt]}\n" for utt in clips))


def _split(dump_dir: str | Path, set_name: str, num_jobs: int) -> Path:
    return Path(dump_dir) / "fbank" / set_name / f"split{num_jobs}"
