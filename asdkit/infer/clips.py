"""Run a trained model over clips: batches of equal length, shards, archives (stage 4)."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.cuda import Event
from torch.utils.data import Dataset

from asdkit.config import Config, EmbedConfig
from asdkit.data.batches import Framing, loader, tile
from asdkit.data.levels import read_clip
from asdkit.data.lists import Clip
from asdkit.infer.room import check_room, is_long, memory_here
from asdkit.models.system import System
from asdkit.signals.audio import AudioReader
from asdkit.utils.ark import CHUNKS, matrix_shape, read_frames, split_location
from asdkit.utils.device import to_device
from asdkit.utils.memory import memory_told

Together = Tensor | list[Tensor]  # of one length, or of several
Read = tuple[list[str], Together | None, Together | None]  # ids, recordings [B, T], features [B, F, M]
PIECES = 256  # chunks of long clips that go through the network together
CUT = "embed chunks of the clips, --set embed.segment=chunk (other scores than those of whole clips), or cut them"


def mixes(system: System, config: EmbedConfig) -> bool:
    """Whether whole clips of several lengths go through the network together."""
    return system.packs and config.segment == "clip" and not config.chunks


def batches_of(clips: list[Clip], size: int, mixed: bool = False) -> list[list[Clip]]:
    """Group clips of equal length, at most `size` together; `mixed`: those whose lengths too few share for one group,
    with others of nearly their length.

    The groups depend on the whole set alone, so that the number of shards does not change any embedding.
    """
    batches: list[list[Clip]] = []
    counts = Counter(clip.samples for clip in clips)
    rare = {samples for samples, count in counts.items() if mixed and count < size}
    for clip in sorted(clips, key=lambda clip: (clip.samples, clip.utt)):
        last = batches[-1][0].samples if batches else None
        if (last == clip.samples or {last, clip.samples} <= rare) and len(batches[-1]) < size:
            batches[-1].append(clip)
        else:
            batches.append([clip])
    return batches


def shard_of(batches: list[list[Clip]], num_jobs: int, job: int, shortest: int = 0) -> list[list[Clip]]:
    """The batches of shard `job` (from 1) of `num_jobs`, in their order: even in seconds of sound, not in number.

    The longest batch that is left goes to the shard that has least so far (Graham 1969), so that none has more than
    another by more than a batch. shortest: samples that shorter clips are repeated to.
    """
    costs = [sum(max(clip.samples, shortest) for clip in batch) for batch in batches]
    filled, whose = [(0, shard) for shard in range(1, num_jobs + 1)], {}
    for number in sorted(range(len(batches)), key=lambda number: (-costs[number], number)):
        held, whose[number] = filled[0]
        heapq.heapreplace(filled, (held + costs[number], whose[number]))
    return [batch for number, batch in enumerate(batches) if whose[number] == job]


class ClipBatches(Dataset):
    """Reads batch after batch: (ids, recordings [B, T], None) or (ids, None, dumped features [B, F, M]); of several
    lengths lists of [T] or [F, M].

    Clips shorter than `chunk` samples are repeated to that length, as in training.
    """

    def __init__(self, batches: list[list[Clip]], reader: AudioReader, chunk: int, framing: Framing) -> None:
        self.batches, self.reader, self.chunk = batches, reader, chunk
        self.frames = framing.frames(chunk)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Read:
        batch = self.batches[index]
        utts = [clip.utt for clip in batch]
        with memory_told(_named(batch), _instead(batch)):
            if batch[0].feats:
                return utts, None, _together([self._feats(clip.feats) for clip in batch if clip.feats])
            wavs = [read_clip(self.reader, clip) for clip in batch]
            return utts, _together([tile(wav, max(self.chunk, len(wav))) for wav in wavs]), None

    def _feats(self, location: str) -> np.ndarray:
        ark, offset = split_location(location)
        feats = read_frames(ark, offset, 0, matrix_shape(ark, offset)[0])
        return tile(feats, max(self.frames, len(feats))).copy()


def _together(arrays: list[np.ndarray]) -> Together:
    if len({len(array) for array in arrays}) > 1:
        return [torch.from_numpy(array) for array in arrays]
    return torch.from_numpy(np.stack(arrays))


def _named(batch: list[Clip]) -> str:
    others = f" and others of its length: embed.batch_size {len(batch)}" if len(batch) > 1 else ""
    return f"{batch[0].path}, {batch[0].samples} samples{others}"


def _instead(batch: list[Clip]) -> str:
    return f"set a smaller one, or {CUT}" if len(batch) > 1 else CUT


def segments(feats: Tensor, chunk: int, hop: int) -> Tensor:
    """Cut features [B, F, ...] into windows of `chunk` frames every `hop` frames: [B, S, chunk, ...].

    The last window ends where the clip ends, so that every frame is used.
    """
    last = feats.shape[1] - chunk
    starts = torch.arange(0, last + hop, hop, device=feats.device).clamp(max=last)
    return feats[:, starts[:, None] + torch.arange(chunk, device=feats.device)]


@torch.inference_mode()
def represent(
    system: System, feats: Tensor, config: EmbedConfig, chunk: int, hop: int, machines: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The system's arrays of clips of one length, from their features [B, F, ...]: name -> [B, D] or [B, bands, D].

    `config.segment` 'clip': the whole clip goes through the network; 'chunk': the mean over windows of `chunk` frames.
    machines [B]: each clip's. With `config.chunks` also the arrays [D] of the windows themselves: <name>.chunks ->
    [B, S, D].
    """
    with torch.autocast(feats.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        found = system.represent(feats, machines) if config.segment == "clip" else {}
        pieces: dict[str, Tensor] = {}
        if config.segment == "chunk" or config.chunks:
            cut = segments(feats, chunk, hop)  # [B, S, chunk, ...]
            whose = [machine for machine in machines for _ in range(cut.shape[1])]
            parts = cut.flatten(0, 1).split(PIECES)
            groups = [system.represent(part, whose[PIECES * i :][:PIECES]) for i, part in enumerate(parts)]
            flat = {name: torch.cat([group[name] for group in groups]) for name in groups[0]}
            pieces = {name: array.unflatten(0, cut.shape[:2]) for name, array in flat.items()}  # [B, S, D]
    if config.segment == "chunk":
        found = {name: array.mean(1) for name, array in pieces.items()}
    kept = {name: array for name, array in pieces.items() if config.chunks and array.ndim == 3}
    return found | {f"{name}{CHUNKS}": array for name, array in kept.items()}


def arrays(
    system: System,
    config: Config,
    batches: list[list[Clip]],
    reader: AudioReader,
    device: torch.device,
    watched: Callable[[Iterable[Read]], Iterable[Read]] = iter,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield (id, {name: float32 [D], [bands, D] or [S, D]}) for every clip of `batches`, as `represent` names them.

    watched: passes on what is read, and may see how long that takes.
    Raises ValueError naming a recording that is broken, or of which an array is not finite.
    """
    framing = Framing(system.sample_rate, system.window, system.hop)
    reader.check_rate(framing.rate)
    dataset = ClipBatches(batches, reader, round(config.data.chunk_seconds * framing.rate), framing)
    hop = max(1, round(config.embed.hop_seconds * framing.rate / framing.hop))  # at least one frame
    everything = [clip for batch in batches for clip in batch]
    if is_long(everything, framing.rate):
        check_room(system, everything, config.embed, memory_here(device.type))
    before: tuple[list[str], dict[str, Tensor], Event | None] | None = None
    read = watched(loader(dataset, config.data.workers, device))
    for batch, (utts, wavs, feats) in zip(batches, read, strict=True):
        with memory_told(_named(batch), _instead(batch)):
            with torch.inference_mode():
                given = wavs if feats is None else feats
                if isinstance(given, list):
                    found = _represent_each(system, given, feats is None, config.embed, device)
                else:
                    given = to_device(given, device)
                    feats = system.frontend(given) if feats is None else given
                    machines = [clip.machine for clip in batch]
                    found = represent(system, feats, config.embed, dataset.frames, hop, machines)
            # to memory that a GPU writes itself: it goes on with the next batch while this one is unpacked
            found = {name: array.float().to("cpu", non_blocking=True) for name, array in found.items()}
        ready = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        if before:
            yield from _unpacked(*before)
        before = utts, found, ready
    if before:
        yield from _unpacked(*before)


def _represent_each(
    system: System, given: list[Tensor], recorded: bool, config: EmbedConfig, device: torch.device
) -> dict[str, Tensor]:
    """The arrays of clips of several lengths: recordings [T], or features [F, M]."""
    given = [to_device(one, device) for one in given]
    feats = [system.frontend(one[None])[0] for one in given] if recorded else given
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        found = system.represent_each(feats)
    return {name: torch.cat([one[name] for one in found]) for name in found[0]}


def _unpacked(
    utts: list[str], found: dict[str, Tensor], ready: Event | None
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """A batch's arrays, one clip after the other, as soon as the GPU has written them."""
    if ready:
        ready.synchronize()
    # a copy: memory that the GPU writes itself is not to be held by every clip that is kept
    tables = {name: array.numpy().copy() for name, array in found.items()}
    if unusable := [name for name, table in tables.items() if not np.isfinite(table).all()]:
        raise ValueError(f"{unusable[0]} of {' '.join(utts)}: not finite: look at the training curve and these clips")
    for row, utt in enumerate(utts):
        yield utt, {name: table[row] for name, table in tables.items()}
