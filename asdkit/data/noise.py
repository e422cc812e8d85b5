"""Noise mixed into training chunks (`train.noise`): other machines, the corpus's own noise clips, or a folder."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from asdkit.config import Config, NoiseConfig
from asdkit.corpus.clips import SUPPLEMENTAL_COLUMNS
from asdkit.corpus.description import Dataset, load_dataset
from asdkit.data.levels import SILENT, read_clip
from asdkit.data.lists import Clip
from asdkit.signals.audio import AudioReader, sample_counts
from asdkit.utils.files import read_table, sha256_text

_NOISE = 4  # a random stream of its own beside those of `ChunkSampler` and `FrameDataset`


class NoiseMixer:
    """Adds noise to chunks: which, from where and how loud depends on (seed, step, place in the whole batch) alone.

    clips: the noise; a chunk gets none of its own machine. Raises ValueError where that leaves none for a machine.
    """

    def __init__(
        self, clips: Sequence[Clip], machines: set[str], reader: AudioReader, config: NoiseConfig, seed: int
    ) -> None:
        self.clips, self.reader, self.config, self.seed = list(clips), reader, config, seed
        whose = np.array([clip.machine for clip in clips])
        self.others = {machine: np.flatnonzero(whose != machine) for machine in machines}
        if alone := sorted(machine for machine, others in self.others.items() if not len(others)):
            raise ValueError(
                f"train.noise.source {config.source}: no other machine than {alone[0]!r} to take noise from: name a "
                "folder of noise, or set train.noise to null"
            )

    def mix(self, wav: np.ndarray, machine: str, step: int, place: int) -> np.ndarray:
        """A chunk [T] float32 of a machine -> with noise, or as it is; place: its number in the whole batch.

        Errors as for `read_clip`.
        """
        rng = np.random.default_rng((self.seed, _NOISE, step, place))
        if rng.random() >= self.config.probability:
            return wav
        clip = self.clips[rng.choice(self.others[machine])]
        snr = rng.uniform(self.config.snr_low, self.config.snr_high)
        length = min(len(wav), clip.samples)
        start = int(rng.integers(clip.samples - length + 1))
        noise = np.resize(read_clip(self.reader, clip, start, length), len(wav))
        own, other = (float(np.std(x, dtype=np.float64)) for x in (wav, noise))
        if own <= SILENT or other <= SILENT:
            return wav
        return wav + noise * np.float32(own / other * 10 ** (-snr / 20))


def noise_mixer(config: Config, clips: Sequence[Clip], data_dir: str | Path, seed: int) -> NoiseMixer | None:
    """What mixes noise into the chunks of training clips; None: nothing does.

    Raises ValueError for a source without recordings, and for one that cannot be read as the corpus is.
    """
    if config.train.noise is None:
        return None
    dataset = load_dataset(data_dir)
    reader = dataset.reader()
    noise = [replace(clip, rms=None) for clip in clips]
    if config.train.noise.source != "machines":
        paths = _recordings(config.train.noise.source, data_dir, dataset)
        lengths = sample_counts(reader, paths)
        noise = [Clip(path, path, length, "") for path, length in zip(paths, lengths, strict=True)]
    return NoiseMixer(noise, {clip.machine for clip in clips}, reader, config.train.noise, seed)


def noise_inputs(config: Config, data_dir: str | Path) -> dict[str, str]:
    """What noise adds to a done marker: names and bytes of the recordings of a folder or of the corpus.

    Errors as for `noise_mixer`.
    """
    if config.train.noise is None or config.train.noise.source == "machines":
        return {}
    paths = _recordings(config.train.noise.source, data_dir, load_dataset(data_dir))
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    told = (f"{os.path.relpath(path, root)}\t{os.path.getsize(path)}\n" for path in paths)
    return {"noise": sha256_text("".join(told))}


def _recordings(source: str, data_dir: str | Path, dataset: Dataset) -> list[str]:
    if source == "supplemental":
        listed = Path(data_dir) / "supplemental.tsv"
        if not listed.exists():
            raise ValueError(f"train.noise.source supplemental: stage 1 found no supplemental clips: no {listed}")
        rows = [row for row in read_table(listed, SUPPLEMENTAL_COLUMNS) if row["kind"] == "noise"]
        found, where = [os.path.join(dataset.root, row["wav"]) for row in rows], f"{listed}: no noise clips in it"
    else:
        paths = Path(source).rglob("*") if Path(source).is_dir() else []
        found = [str(path) for path in paths if path.suffix.lower() in dataset.suffixes and path.is_file()]
        where = f"train.noise.source {source}: no recordings there ({', '.join(dataset.suffixes)})"
    if not found:
        raise ValueError(f"{where}. Allowed: machines, supplemental, or a folder of recordings")
    return sorted(found)
