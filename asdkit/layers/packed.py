"""Clips of several lengths whose tokens lie one behind the other, as if they were one clip's.

What takes each token by itself then works on all of them at once; what looks at a whole clip asks for `clips`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from asdkit.layers.spectrum import exporting

_lengths: ContextVar[tuple[int, ...]] = ContextVar("lengths", default=())


@contextmanager
def packed(lengths: Sequence[int]) -> Iterator[None]:
    """In it, N tokens are those of clips with so many each."""
    before = _lengths.set(tuple(lengths))
    try:
        yield
    finally:
        _lengths.reset(before)


def clips(x: Tensor, dim: int = 1) -> tuple[Tensor, ...]:
    """Tokens [B, N, D], N at `dim`, as they are; within `packed` those of each clip, [1, N_i, D]."""
    lengths = () if exporting() else _lengths.get()
    return x.split(lengths, dim) if lengths else (x,)
