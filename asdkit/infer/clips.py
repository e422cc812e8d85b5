"""Run a trained model over clips: batches of equal length, shards, archives (stage 4)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from asdkit.config import Config
from asdkit.data.batches import Framing, tile
from asdkit.data.lists import Clip
from asdkit.models.embedder import Embedder, embed
from asdkit.signals.audio import AudioReader
from asdkit.utils.ark import matrix_shape, read_frames, split_location


def batches_of(clips: list[Clip], size: int) -> list[list[Clip]]:
    """Group clips of equal length, at most `size` together.

    The groups depend on the whole set alone, so that the number of shards does not change any embedding.
    """
    batches: list[list[Clip]] = []
    for clip in sorted(clips, key=lambda clip: (clip.samples, clip.utt)):
        if batches and batches[-1][0].samples == clip.samples and len(batches[-1]) < size:
            batches[-1].append(clip)
        else:
            batches.append([clip])
    return batches


class ClipBatches(Dataset):
    """Reads batch after batch: (ids, recordings [B, T], None) or (ids, None, dumped features [B, F, M]).

    Clips shorter than `chunk` samples are repeated to that length, as in training.
    """

    def __init__(self, batches: list[list[Clip]], reader: AudioReader, chunk: int, framing: Framing) -> None:
        self.batches, self.reader, self.chunk = batches, reader, chunk
        self.frames = framing.frames(chunk)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[list[str], Tensor | None, Tensor | None]:
        batch = self.batches[index]
        utts = [clip.utt for clip in batch]
        if batch[0].feats:
            return utts, None, torch.from_numpy(np.stack([self._feats(clip.feats) for clip in batch if clip.feats]))
        wavs = [self.reader.read(clip.path, length=clip.samples) for clip in batch]
        return utts, torch.from_numpy(np.stack([tile(wav, max(self.chunk, len(wav))) for wav in wavs])), None

    def _feats(self, location: str) -> np.ndarray:
        ark, offset = split_location(location)
        feats = read_frames(ark, offset, 0, matrix_shape(ark, offset)[0])
        return tile(feats, max(self.frames, len(feats))).copy()


def fold(model: nn.Module, dtype: torch.dtype) -> None:
    """Make once, for inference, what every batch would make anew with the same values, in place.

    That is: the weights of linear layers in autocast's `dtype` (float32: as they are), and what modules with a method
    `fold_for_inference(dtype)` make themselves.
    """
    for module in model.modules():
        if hasattr(module, "fold_for_inference"):
            module.fold_for_inference(dtype)
        elif isinstance(module, nn.Linear):
            module.to(dtype)


def embeddings(
    config: Config, model: Embedder, batches: list[list[Clip]], reader: AudioReader, device: torch.device
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (id, embedding float32 [dim]) for every clip of `batches`; raises ValueError naming a broken recording."""
    encoder = model.encoder
    chunk = round(config.data.chunk_seconds * encoder.sample_rate)
    framing = Framing(encoder.sample_rate, encoder.window, encoder.hop)
    dataset = ClipBatches(batches, reader, chunk, framing)
    frames = dataset.frames
    hop = max(1, round(config.embed.hop_seconds * encoder.sample_rate / encoder.hop))  # at least one frame
    for utts, wavs, feats in DataLoader(dataset, batch_size=None, num_workers=config.data.workers):
        with torch.inference_mode():
            feats = encoder.frontend(wavs.to(device)) if feats is None else feats.to(device)
        vectors = embed(model, feats, config.embed, frames, hop).cpu().numpy()
        if not np.isfinite(vectors).all():
            raise ValueError(
                f"embeddings of {' '.join(utts)} are not finite: look at the training curve and these clips"
            )
        yield from zip(utts, vectors, strict=True)
