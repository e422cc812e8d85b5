import pytest
import torch

from asdkit.config import LogmelEncoder
from asdkit.encoders import build_encoder


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(LogmelEncoder())


def test_tokens_are_log_mel_frames(kaldi, encoder):
    wav = torch.rand(2, 16000, generator=torch.Generator().manual_seed(0)) - 0.5
    feats = encoder.frontend(wav)
    tokens = encoder(feats)
    assert tokens.shape == (2, 98, encoder.dim)
    expected = kaldi.fbank(wav[1:] * 2**15, num_mel_bins=128, sample_frequency=16000)
    torch.testing.assert_close(tokens[1], expected, rtol=1e-4, atol=1e-4)
    assert (encoder.sample_rate, encoder.window, encoder.hop, encoder.dim) == (16000, 400, 160, 128)


def test_has_nothing_to_train_or_adapt(encoder):
    assert encoder.blocks() == []
    assert encoder.layers(torch.zeros(1, 5, 128)) == []
    assert not list(encoder.parameters())
    assert not encoder.state_dict()


def test_short_clip(encoder):
    with pytest.raises(ValueError, match="at least 400"):
        encoder.frontend(torch.zeros(1, 100))


@pytest.mark.parametrize(
    ("rate", "bands", "low", "high"), [(4000, 40, 0.0, None), (25600, 96, 50.0, 10000.0), (96000, 256, 20.0, None)]
)
def test_mel_bands_at_any_rate_are_kaldis(kaldi, rate, bands, low, high):
    wav = torch.rand(1, rate // 4, generator=torch.Generator().manual_seed(0)) - 0.5
    encoder = build_encoder(LogmelEncoder(sample_rate=rate, bands=bands, low=low, high=high))
    expected = kaldi.fbank(
        wav * 2**15, num_mel_bins=bands, sample_frequency=rate, low_freq=low, high_freq=high or rate / 2
    )
    torch.testing.assert_close(encoder(encoder.frontend(wav))[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 25600, 96000])
def test_linear_bands_end_at_half_the_rate(rate):
    """A tone between two bands' middles is heard by these alone, each by how near it is; silence is the floor."""
    encoder = build_encoder(LogmelEncoder(sample_rate=rate, bands=19, scale="linear", low=0))
    step = rate / 2 / 20
    assert (encoder.window, encoder.hop, encoder.dim) == (rate // 40, rate // 100, 19)
    for band in (0, 7, 17):
        tone = 0.3 * torch.sin(2 * torch.pi * (band + 1.5) * step / rate * torch.arange(rate // 2, dtype=torch.float64))
        energies = encoder.frontend(tone[None]).exp().mean((0, 1))
        assert energies[band : band + 2].sum() > 0.98 * energies.sum()
        assert energies[band] == pytest.approx(energies[band + 1].item(), rel=0.2)
    filters = encoder.fbank.filters
    middle = filters.argmax(0) * rate / (2 * (len(filters) - 1))
    torch.testing.assert_close(middle, step * torch.arange(1, 20), atol=0.6 * rate / (2 * (len(filters) - 1)), rtol=0)


def test_what_is_refused():
    with pytest.raises(ValueError, match="'low' 20 and 'high' 9000: low < high <= 8000 Hz, half the"):
        LogmelEncoder(high=9000)
    with pytest.raises(ValueError, match="31.25 Hz apart, .* from 0 to 8000 Hz there can be 511 linear bands at most"):
        LogmelEncoder(bands=512, low=0, scale="linear")
    for rate in (8000, 22050, 96000):
        with pytest.raises(ValueError, match="there can be") as found:
            LogmelEncoder(bands=10**6, sample_rate=rate, scale="linear")
        most = int(str(found.value).split("there can be ")[1].split()[0])
        encoder = build_encoder(LogmelEncoder(bands=most, sample_rate=rate, scale="linear"))
        assert (encoder.fbank.filters.sum(0) > 0).all()


def test_features_of_other_settings_are_other_folders():
    assert LogmelEncoder().frontend == "logmel"
    assert LogmelEncoder(scale="linear", sample_rate=96000).frontend == "logmel_sample_rate_96000_scale_linear"
