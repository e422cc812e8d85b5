"""Clips embedded inside a training, by the network as it is then."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from asdkit.config import Config
from asdkit.data.lists import Clip
from asdkit.infer.clips import arrays, batches_of
from asdkit.models.system import System
from asdkit.signals.audio import AudioReader
from asdkit.train.distributed import World
from asdkit.utils.device import set_precision


def embed_inside(
    system: System, config: Config, clips: Sequence[Clip], reader: AudioReader, world: World
) -> dict[str, np.ndarray]:
    """The arrays that the network makes of `clips` now, float32 [N, D] or [N, bands, D] by name, in their order.

    "embedding" is always among them, others are those of `embed.arrays`; they are stage 4's up to rounding (LoRA is not
    merged here). To be called between steps (`asdkit.train.loop.Between`) and by every process: each embeds its share
    and all return the whole, the same numbers however many there are. The network reads in evaluation mode and without
    gradients, as `embed` says, and is left as it was, like torch's random numbers.

    clips, reader: those of a `ChunkDataset` (`dataset.clips`, `dataset.reader`) know of levels, of a second microphone
    and of dumped features; ids must differ. Raises ValueError naming a recording that is broken, or of which an array
    is not finite.
    """
    embed = config.embed.model_copy(update={"chunks": False})
    config = config.model_copy(update={"embed": embed})
    batches = batches_of(list(clips), embed.batch_size)
    own = batches[world.rank :: world.size]
    with _undisturbed(system, embed.precision, world.device):
        # who has no share embeds another's, for names and shapes
        found = dict(arrays(system, config, own or batches[:1], reader, world.device))
    place = {clip.utt: number for number, clip in enumerate(clips)}
    rows = [place[clip.utt] for batch in own for clip in batch]
    tables = {}
    for name, first in next(iter(found.values()), {}).items():
        table = np.zeros((len(clips), *first.shape), np.float32)  # [N, D] or [N, bands, D]
        if rows:
            table[rows] = [found[clip.utt][name] for batch in own for clip in batch]
        tables[name] = _whole(table, world)
    return tables


def _whole(table: np.ndarray, world: World) -> np.ndarray:
    """The sum of all processes' tables: each has rows that are zero in the others'."""
    if world.size == 1:
        return table
    total = torch.from_numpy(table).to(world.device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()


@contextmanager
def _undisturbed(system: System, precision: str, device: torch.device) -> Iterator[None]:
    """Within it the network is in evaluation mode and computes in `precision`; after it all is as it was."""
    modes = {module: module.training for module in system.modules()}
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        system.eval()
        set_precision(precision, device)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(matmul)
            torch.backends.cudnn.allow_tf32 = cudnn
            for module, mode in modes.items():
                module.training = mode
