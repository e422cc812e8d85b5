"""How the C library gives memory to the programs, how much there is, and what is said when there is too little."""

import ctypes
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names are M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def reuse_freed_memory() -> bool:
    """Let freed tensors up to 1 GiB be used again, not handed back to the system; returns whether the C library can.

    By default every tensor of more than 32 MiB is mapped, and its pages are cleared, anew: 6 times as many page faults
    in a training step of BEATs base, and a tenth of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_MMAP_THRESHOLD, 2**30) == 1 and mallopt(_TRIM_THRESHOLD, 2**31 - 1) == 1


def total_memory(root: str | Path = "/") -> int:
    """Bytes of main memory that this process may use: the machine's, or a smaller limit of its control groups.

    root: where /proc and /sys are.
    """
    groups, limits = Path(root, "proc/self/cgroup"), [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in groups.read_text().splitlines() if groups.exists() else ():
        number, kinds, inside = line.split(":", 2)
        if number == "0":
            top, name = Path(root, "sys/fs/cgroup"), "memory.max"
        elif "memory" in kinds.split(","):
            top, name = Path(root, "sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = top / inside.lstrip("/")
        for folder in (group, *group.parents[: len(group.relative_to(top).parts)]):
            text = (folder / name).read_text().strip() if (folder / name).is_file() else ""
            limits += [int(text)] if text.isdigit() else []
    return min(limits)


@contextmanager
def memory_told(what: str, instead: str) -> Iterator[None]:
    """Make ValueError of memory, main or a GPU's, that does not suffice: `what` does not fit; do `instead`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        if not (full or "DefaultCPUAllocator" in text or "not enough memory" in text):
            raise
        asked = re.search(r"allocate ([\d.]+) (bytes|[KMGT]i?B)\b", text)
        where = "the GPU's memory" if "CUDA" in text else "memory"
        left = re.search(r"capacity of ([\d.]+ \wiB) of which ([\d.]+ \wiB) is free", text)
        free = f", {left[2]} of {left[1]} were free" if left else ""
        size = f" ({_readable(*asked.groups())} more were asked for{free})" if asked else ""
        raise ValueError(f"{what} does not fit into {where}: {instead}{size}") from None


def most_used(device: "torch.device") -> str:
    """How much memory this process has needed at once so far: of a GPU, or main memory with the program in it."""
    if device.type == "cuda":
        import torch

        return f"{gigabytes(torch.cuda.max_memory_reserved(device))} of the GPU's memory"
    return f"{gigabytes(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)} of memory"


def gigabytes(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / 1e9:,.1f} GB"


def _readable(number: str, unit: str) -> str:
    return gigabytes(float(number)) if unit == "bytes" else f"{number} {unit}"
