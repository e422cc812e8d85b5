"""Whether the longest clips fit into memory, told before anything is made of the others."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from asdkit.config import EmbedConfig
from asdkit.data.lists import Clip
from asdkit.utils.memory import gigabytes, total_memory

SURE = 30.0  # seconds: shorter clips need no more than a GB or two of any encoder here


class Needy(Protocol):
    """An encoder, or a system around one."""

    sample_rate: int

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """Bytes for so many clips of so many samples."""


def is_long(clips: Sequence[Clip], rate: int) -> bool:
    """Whether there is a clip that may be too long for some encoder."""
    return any(clip.samples > SURE * rate for clip in clips)


def check_room(needy: Needy, clips: Sequence[Clip], config: EmbedConfig, there: dict[str, int]) -> None:
    """Raise ValueError, naming the clip, when embedding whole clips needs more memory than there is.

    there: bytes of each device that may do it (cpu, cuda); one of them has to do. `embed.memory_gb` stands for them.
    """
    if config.segment == "chunk":
        return
    if config.memory_gb is not None:
        there = {device: round(config.memory_gb * 1e9) for device in there}
    counts = Counter(clip.samples for clip in clips)
    found = []
    for device, room in there.items():
        needs = {
            samples: needy.memory(samples, min(count, config.batch_size), device, config.precision)
            for samples, count in counts.items()
        }
        samples = max(needs, key=needs.__getitem__, default=0)
        if not needs or needs[samples] <= room:
            return
        found.append((needs[samples] - room, device, samples, needs[samples]))
    _, device, samples, need = min(found)
    clip = next(clip for clip in clips if clip.samples == samples)
    alone = needy.memory(samples, 1, device, config.precision)
    if device != "cpu" and counts[samples] > 1 and config.batch_size > 1 and alone <= there[device]:
        together = min(counts[samples], config.batch_size)
        advice = f"{together} of this length go through at once: --set embed.batch_size=1"
    else:
        advice = (
            "Embed chunks of the clips, --set embed.segment=chunk (other scores than those of whole clips), or cut the "
            "recordings"
        )
    raise ValueError(
        f"{clip.path}: {samples / needy.sample_rate:.0f} s long: as a whole it needs about {gigabytes(need)} "
        f"{'of a GPU' if device != 'cpu' else 'of memory'}, there are {gigabytes(there[device])}: attention grows with "
        f"the square of the length. {advice}. If stage 4 is to run where there is more: --set embed.memory_gb=N"
    )


def memory_here(device: str) -> dict[str, int]:
    """Bytes of the memory that a network on `device` uses; `any`: of each device that is here."""
    import torch

    there = {} if device == "cuda" else {"cpu": total_memory()}
    if device != "cpu" and torch.cuda.is_available():
        there["cuda"] = torch.cuda.get_device_properties(torch.device("cuda")).total_memory
    return there
