"""Linear probe: how well a linear classifier tells classes apart in frozen features."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asdkit.encoders.base import Encoder
from asdkit.models.pooling import MeanPooling, MeanStdPooling
from asdkit.signals.audio import SUFFIXES, AudioReader
from asdkit.utils.cli import progress

POOLINGS = {"mean": MeanPooling, "mean_std": MeanStdPooling}


@dataclass(frozen=True)
class Clips:
    """Labelled clips with their folds."""

    paths: list[Path]
    folds: np.ndarray  # [N]
    labels: np.ndarray  # [N]


def find_clips(folder: str | Path) -> Clips:
    """Clips named as in ESC-10 and ESC-50, <fold>-<id>-<take>-<class>.wav or .flac.

    Raises ValueError when the folder has none, has other names, or all clips are of one fold.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: holds no {' or '.join(SUFFIXES)} file")
    names = [path.stem.split("-") for path in paths]
    for path, name in zip(paths, names, strict=True):
        if len(name) != 4 or not (name[0].isdigit() and name[3].isdigit()):
            raise ValueError(f"{path}: a clip of the probe is named <fold>-<id>-<take>-<class>, as 1-100032-A-0.flac")
    folds, labels = (np.array([int(name[part]) for name in names]) for part in (0, 3))
    if len(set(folds)) < 2:
        raise ValueError(f"{folder}: all clips are of fold {folds[0]}; two or more folds are needed")
    return Clips(paths, folds, labels)


@torch.inference_mode()
def pooled_features(
    encoder: Encoder, paths: list[Path], channel: int | None = None, batch_size: int = 16
) -> dict[str, np.ndarray]:
    """Mean, and mean with standard deviation, over each clip's tokens: {"mean": [N, D], "mean_std": [N, 2 D]}.

    channel: the one to read of clips that have several. Clips of one length go through the encoder together. Raises
    ValueError naming a recording that cannot be read.
    """
    encoder.eval()
    reader = AudioReader(encoder.sample_rate, channel, resample=True)
    sounds = [torch.from_numpy(reader.read(path)) for path in progress(paths, "read")]
    order = sorted(range(len(paths)), key=lambda index: len(sounds[index]))
    batches = []
    while order:
        batches.append([index for index in order[:batch_size] if len(sounds[index]) == len(sounds[order[0]])])
        order = order[len(batches[-1]) :]
    features: dict[str, list] = {name: [None] * len(paths) for name in POOLINGS}
    for same in progress(batches, "embed", unit="batch"):
        tokens = encoder(encoder.frontend(torch.stack([sounds[index] for index in same])))  # [B, N, D]
        for name, pooling in POOLINGS.items():
            for index, vector in zip(same, pooling(encoder.dim)(tokens).numpy(), strict=True):
                features[name][index] = vector
    return {name: np.stack(vectors) for name, vectors in features.items()}


def linear_probe(features: np.ndarray, clips: Clips) -> np.ndarray:
    """Accuracy on each fold, in %, of a logistic regression trained on the others: features [N, D] -> [folds].

    Features are standardised on the training folds; the penalty is scikit-learn's default (C = 1), not tuned.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    accuracies = []
    for fold in sorted(set(clips.folds)):
        held_out = clips.folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(features[~held_out], clips.labels[~held_out])
        accuracies.append(100 * model.score(features[held_out], clips.labels[held_out]))
    return np.array(accuracies)


def probe(encoder: Encoder, clips: Clips, name: str, channel: int | None = None) -> dict[str, list[float]]:
    """Accuracies of each fold, in %, for both poolings of `encoder`'s tokens."""
    features = pooled_features(encoder, clips.paths, channel)
    result = {pooling: linear_probe(x, clips).tolist() for pooling, x in features.items()}
    for pooling, accuracies in result.items():
        logging.info("%s, %s: %.1f +- %.1f", name, pooling, np.mean(accuracies), np.std(accuracies))
    return result
