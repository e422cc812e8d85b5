import torch

from asdkit.config import SpecAugmentConfig
from asdkit.train.specaugment import spec_augment, time_warp


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_masks_stay_within_their_sizes_and_are_set_to_the_clip_mean():
    config = SpecAugmentConfig(time_masks=1, time_width=5, freq_masks=1, freq_width=3, warp=0)
    feats = torch.randn(64, 50, 20)
    masked = spec_augment(feats, config, generator())
    changed = masked != feats
    times, bands = changed.all(2), changed.all(1)  # [B, F], [B, M]
    assert times.sum(1).max() == 5 and times.sum(1).min() == 0
    assert bands.sum(1).max() == 3 and bands.sum(1).min() == 0
    assert torch.equal(changed, times[:, :, None] | bands[:, None, :])
    means = feats.mean((1, 2), keepdim=True).expand_as(feats)
    torch.testing.assert_close(masked[changed], means[changed])


def test_same_generator_state_gives_the_same_masks():
    feats = torch.randn(4, 50, 20)
    first, second = (spec_augment(feats, SpecAugmentConfig(), generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, spec_augment(feats, SpecAugmentConfig(), generator(4)))


def test_all_off_changes_nothing():
    feats = torch.randn(2, 30, 8)
    assert torch.equal(spec_augment(feats, SpecAugmentConfig(time_masks=0, freq_masks=0, warp=0), generator()), feats)


def test_time_warp_keeps_the_ends_and_a_straight_line_monotonic():
    ramp = torch.arange(60.0).view(1, 60, 1).repeat(8, 1, 1)
    warped = time_warp(ramp, 5, generator())
    torch.testing.assert_close(warped[:, 0], ramp[:, 0])
    torch.testing.assert_close(warped[:, -1], ramp[:, -1])
    assert (warped.diff(dim=1) > 0).all()
    shift = (warped - ramp).abs().amax((1, 2))
    assert (shift > 0.05).any() and (shift <= 5).all()


def test_short_inputs_do_not_break():
    assert spec_augment(torch.randn(2, 3, 4), SpecAugmentConfig(), generator()).shape == (2, 3, 4)
