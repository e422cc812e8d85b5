"""Small BEATs networks for tests.

golden/beats_tiny.pt is a file in the published layout (random numbers, 3 layers of 48 channels), golden/beats_x2.npz a
2-s recording (`wav`, 16 bit) and the official network's tensors for it; more of them lie below ASDKIT_TEST_DATA.
"""

from pathlib import Path

import numpy as np
import torch

from asdkit.config import BeatsArch
from asdkit.encoders.beats import PUBLISHED, Beats
from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.layers.beats_layers import BeatsConfig

GOLDEN = Path(__file__).parent / "golden"
TINY = BeatsArch(
    encoder_layers=2, encoder_embed_dim=48, encoder_ffn_embed_dim=64, encoder_attention_heads=4, embed_dim=32
)


def relative(got, expected) -> float:
    """Largest absolute difference over the largest expected value."""
    got, expected = torch.as_tensor(got).detach(), torch.as_tensor(expected).detach()
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


def tiny(**cfg) -> Beats:
    torch.manual_seed(0)
    return Beats(BeatsConfig(**{**PUBLISHED, **TINY.model_dump(), **cfg}))


def golden_encoder() -> Beats:
    return load_beats(GOLDEN / "beats_tiny.pt").eval()


def golden_tensors() -> dict[str, np.ndarray]:
    """What beats_x2.npz holds, `wav` [1, T] in [-1, 1]."""
    golden = dict(np.load(GOLDEN / "beats_x2.npz"))
    golden["wav"] = golden["wav"][None].astype(np.float32) / 2**15
    return golden
