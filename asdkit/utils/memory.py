"""How the C library gives memory to the programs."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names are M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def reuse_freed_memory() -> bool:
    """Let freed tensors up to 1 GiB be used again, not handed back to the system; returns whether the C library can.

    By default every tensor of more than 32 MiB is mapped, and its pages are cleared, anew: 6 times as many page faults
    in a training step of BEATs base, and a tenth of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_MMAP_THRESHOLD, 2**30) == 1 and mallopt(_TRIM_THRESHOLD, 2**31 - 1) == 1
