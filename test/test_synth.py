import pytest
import torch

from asdkit.pretrain import synth
from asdkit.pretrain.config import SoundConfig
from asdkit.pretrain.corpus import training_sounds

SAMPLES = 8000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_seed_decides_every_sample():
    torch.manual_seed(1)
    first = synth.generate(6, SAMPLES, generator())
    torch.manual_seed(2)  # the global generator has no part in it
    assert torch.equal(first, synth.generate(6, SAMPLES, generator()))
    assert not torch.equal(first, synth.generate(6, SAMPLES, generator(1)))


@pytest.mark.parametrize("samples", [3200, 8000, 16001])
def test_clips_are_finite_of_unit_power_and_unlike(samples):
    clips = torch.cat([synth.generate(32, samples, generator(seed)) for seed in range(3)])
    assert clips.shape == (96, samples) and clips.isfinite().all()
    torch.testing.assert_close(clips.square().mean(1), torch.ones(96), rtol=1e-3, atol=0)
    cosines = torch.nn.functional.normalize(clips, dim=1) @ torch.nn.functional.normalize(clips, dim=1).T
    assert (cosines - torch.eye(96)).abs().max() < 0.99


def test_training_sounds_do_not_clip_and_keep_to_the_levels():
    config = SoundConfig(crop_seconds=0.5, generated=1.0, level_db=[-40.0, -6.0])
    sounds, _ = training_sounds(64, config, None, generator())
    assert sounds.shape == (64, SAMPLES) and sounds.isfinite().all()
    assert sounds.abs().max() <= 0.99 + 1e-6
    level = 20 * sounds.square().mean(1).sqrt().log10()
    assert level.min() >= -60 and level.max() <= -5.9  # a clip of sharp peaks may lie lower than asked
    assert ((level > -40) & (level < -6)).float().mean() > 0.7


def test_waves_have_the_pitch_they_are_made_with(monkeypatch):
    monkeypatch.setattr(synth, "_pitch_curves", lambda count, samples, dice: torch.zeros(count, samples // 80 + 2))
    dice = synth.Dice(generator())
    pitch = synth.Dice(generator()).log_uniform(synth.LOWEST, 3000, 8, 1)
    sounds = synth.waves(8, 16000, dice)
    spectrum = torch.fft.rfft(sounds * torch.hann_window(16000)).abs()  # 1 Hz a bin
    for row, hertz in zip(spectrum, pitch[:, 0], strict=True):
        multiple = torch.arange(len(row)) / hertz
        near = (multiple - multiple.round()).abs() * hertz < 4
        assert row[near].square().sum() > 0.98 * row.square().sum()


def test_impulses_are_sparse_and_never_missing():
    sounds = synth.impulses(200, 3200, synth.Dice(generator()))
    assert (sounds != 0).any(1).all() and (sounds != 0).float().mean() < 0.02


def test_an_envelope_is_positive_and_moves_slowly():
    curves = synth.envelopes(100, SAMPLES, synth.Dice(generator()))
    assert curves.shape == (100, SAMPLES) and (curves > 0).all()
    spread = curves.std(1) / curves.mean(1)
    assert (spread < 1e-3).any() and (spread > 0.5).any()  # constant ones and strongly modulated ones
