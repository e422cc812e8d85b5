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
