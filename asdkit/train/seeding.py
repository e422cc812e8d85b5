"""Random numbers of a step depend on (seed, step) alone, so a resumed run needs no generator state."""

import numpy as np
import torch


def seed_everything(*key: int) -> torch.Generator:
    """Seed torch's global generators from `key` and return `generator_of` it."""
    torch.manual_seed(_numbers(key)[0])
    return generator_of(*key)


def generator_of(*key: int) -> torch.Generator:
    """A CPU generator seeded from `key`; torch's global generators stay as they are."""
    return torch.Generator().manual_seed(_numbers(key)[1])


def _numbers(key: tuple[int, ...]) -> tuple[int, int]:
    first, second = np.random.SeedSequence(key).generate_state(2, dtype=np.uint64)
    return int(first) >> 1, int(second) >> 1  # numpy 1 shifts no uint64 by an int
