"""Random numbers of a step depend on (seed, step, rank) alone, so a resumed run needs no generator state."""

import numpy as np
import torch


def seed_everything(*key: int) -> torch.Generator:
    """Seed torch's global generators from `key` and return a CPU generator seeded from it as well."""
    first, second = np.random.SeedSequence(key).generate_state(2, dtype=np.uint64)
    torch.manual_seed(int(first >> 1))
    return torch.Generator().manual_seed(int(second >> 1))
