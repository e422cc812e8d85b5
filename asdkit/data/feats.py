"""Dumping an encoder's input features, in shards."""

from pathlib import Path
from typing import Any

import torch

from asdkit.config import Config, EncoderConfig
from asdkit.corpus.description import load_dataset
from asdkit.data.lists import recorded_clips, shard
from asdkit.encoders import build_encoder
from asdkit.utils.ark import open_ark
from asdkit.utils.cli import progress
from asdkit.utils.done import compare
from asdkit.utils.files import read_json, read_scp, write_text


@torch.inference_mode()
def dump_shard(
    config: Config, data_dir: str | Path, dump_dir: str | Path, set_name: str, num_jobs: int, job: int
) -> None:
    """Write split<N>/feats.J.{ark,scp}: the encoder's front end on each clip of shard J of N, float32 [frames, mels].

    Raises ValueError naming the recording that has changed, cannot be read or is shorter than one frame.
    """
    with torch.device("meta"):  # the front end has no weights: none are made or read
        encoder = build_encoder(EncoderConfig(name=config.encoder.name))
    reader = load_dataset(data_dir).reader()
    reader.check_rate(encoder.sample_rate)
    clips = shard(recorded_clips(data_dir, set_name), num_jobs, job)
    with open_ark(_split(dump_dir, set_name, num_jobs) / f"feats.{job}.ark") as ark:
        for clip in progress(clips, f"features of {set_name}"):
            wav = torch.from_numpy(reader.read(clip.path, length=clip.samples))
            try:
                ark.write(clip.utt, encoder.frontend(wav[None])[0].numpy())
            except ValueError as error:
                raise ValueError(f"{clip.path}: {error}") from None


def join_shards(
    data_dir: str | Path, dump_dir: str | Path, set_name: str, num_jobs: int, inputs: dict[str, Any]
) -> None:
    """Join the shards' indices to feats.scp, sorted by utt.

    Raises ValueError when a shard is not done, was made from other `inputs`, or clips are missing.
    """
    folder = _split(dump_dir, set_name, num_jobs)
    table: dict[str, str] = {}
    for job in range(1, num_jobs + 1):
        marker = folder / f".done.{job}"
        compare(marker, read_json(marker), inputs)
        table |= read_scp(folder / f"feats.{job}.scp") if (folder / f"feats.{job}.scp").stat().st_size else {}
    utts = [clip.utt for clip in recorded_clips(data_dir, set_name)]
    if utts != sorted(table):
        raise ValueError(f"{folder}: features of {len(table)} clips, the set has {len(utts)}: dump them again")
    write_text(Path(dump_dir) / "fbank" / set_name / "feats.scp", "".join(f"{utt} {table[utt]}\n" for utt in utts))


def _split(dump_dir: str | Path, set_name: str, num_jobs: int) -> Path:
    return Path(dump_dir) / "fbank" / set_name / f"split{num_jobs}"
