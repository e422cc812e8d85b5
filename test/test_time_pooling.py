"""Poolings over time against stored numbers, in double precision."""

import numpy as np
import pytest
import torch

from asdkit.models import time_pooling as pool


@pytest.fixture(scope="module")
def golden(test_data):
    inputs = np.load(test_data / "golden/detectors/inputs.npz")
    return (
        torch.from_numpy(inputs["tokens"]),
        torch.from_numpy(inputs["token_mask"]),
        dict(np.load(test_data / "golden/detectors/pooling.npz")),
    )


def close(got, expected):
    assert got.shape == expected.shape
    return np.abs(got.numpy() - expected).max() <= 1e-12


def test_bands(golden):
    x, _, stored = golden
    assert close(pool.mean(x), stored["band_mean"])
    assert close(pool.maximum(x), stored["band_max"])
    for p in (1, 3, 6, 10):
        assert close(pool.gem(x, p), stored[f"band_gem{p}"])
    for r in (0.9, 0.4):
        assert close(pool.gwrp(x, r), stored[f"band_gwrp{r}"])
    for gamma in (0, 4, 8, 19):
        assert close(pool.rdp(x, gamma), stored[f"band_rdp{gamma}"])
        assert close(pool.deviation_weights(x, gamma)[..., 0], stored[f"band_rdp{gamma}_weight"])
    for gamma in (9, 16):
        assert close(pool.hybrid(x, gamma, 3), stored[f"band_hybrid_g{gamma}_p3"])


def test_one_weight_for_a_whole_frame(golden):
    x, _, stored = golden
    for gamma in (4, 16):
        assert close(pool.rdp(x, gamma, per_band=False).flatten(1), stored[f"clip_rdp{gamma}"])
        weight = pool.deviation_weights(x, gamma, per_band=False)
        assert close(weight.flatten(1), stored[f"clip_rdp{gamma}_weight"])
    assert close(pool.hybrid(x, 16, 3, per_band=False).flatten(1), stored["clip_hybrid_g16_p3"])


def test_frames_that_are_not_valid_never_count(golden):
    x, mask, stored = golden
    assert close(pool.rdp(x, 4, mask=mask), stored["band_rdp4_masked"])
    assert close(pool.deviation_weights(x, 4, mask=mask)[..., 0], stored["band_rdp4_masked_weight"])
    noisy = torch.where(mask[:, :, None, None], x, 1e6)
    for whole in (
        lambda x, mask=None: pool.mean(x, mask),
        lambda x, mask=None: pool.maximum(x, mask),
        lambda x, mask=None: pool.gem(x, 3, mask),
        lambda x, mask=None: pool.gwrp(x, 0.7, mask),
        lambda x, mask=None: pool.hybrid(x, 4, 3, mask=mask),
    ):
        got = whole(noisy, mask)
        for clip, valid, pooled in zip(x, mask, got, strict=True):
            torch.testing.assert_close(pooled, whole(clip[None, valid])[0], rtol=1e-12, atol=1e-12)


def test_ends_of_the_parameters():
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pool.gwrp(x, 1.0), pool.mean(x))
    torch.testing.assert_close(pool.gwrp(x, 0.0), pool.maximum(x))
    torch.testing.assert_close(pool.rdp(x, 0), pool.mean(x))
    torch.testing.assert_close(pool.gem(x.abs(), 1), pool.mean(x.abs()))
    still = x[:, :1].expand(-1, 7, -1, -1)
    torch.testing.assert_close(pool.rdp(still, 19), x[:, 0])
    torch.testing.assert_close(pool.rdp(x[:, :1], 19), x[:, 0])


def test_high_powers_neither_overflow_nor_vanish():
    x = torch.tensor([1e-6, 3e-6]).reshape(1, 2, 1, 1)
    for scale in (1.0, 1e12, 1e30):
        expected = ((1 + 3.0**25) / 2) ** (1 / 25) * 1e-6 * scale
        torch.testing.assert_close(pool.gem(x * scale, 25).item(), expected, rtol=1e-5, atol=0)
    assert pool.gem(-x, 3).item() == 0


def test_deviation_over_valid_frames():
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, False, True, True, False]])
    assert close(pool.deviation(x), x.std(1, correction=0).numpy())
    masked = pool.deviation(torch.where(mask[:, :, None, None], x, 1e6), mask)
    expected = torch.stack([x[0].std(0, correction=0), x[1, mask[1]].std(0, correction=0)])
    assert close(masked, expected.numpy())
    assert (pool.deviation(x[:, :1]) == 0).all()
