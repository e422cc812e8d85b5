"""The filterbank against torchaudio's port of Kaldi and against stored numbers."""

import math

import numpy as np
import pytest
import torch

from asdkit.config import KnnConfig, LogmelEncoder
from asdkit.detectors.scoring import PerDomain
from asdkit.encoders import build_encoder
from asdkit.layers.fbank import LOG_FLOOR, Fbank
from asdkit.models.pooling import MeanStdPooling
from asdkit.pretrain.config import TokenizerConfig
from asdkit.pretrain.tokenizer import RandomTokenizer


def relative(got: torch.Tensor, expected) -> float:
    expected = torch.as_tensor(expected)
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 1601, 7919, 32001])
@pytest.mark.parametrize("mels", [80, 128])
def test_equals_torchaudio(kaldi, samples, mels):
    generator = torch.Generator().manual_seed(samples)
    wav = torch.randn(2, samples, generator=generator) * torch.tensor([[1000.0], [0.3]]) + 5.0
    got = Fbank(mels)(wav)
    for clip, feats in zip(wav, got, strict=True):
        expected = kaldi.fbank(clip[None], num_mel_bins=mels, sample_frequency=16000, window_type="povey")
        assert (feats - expected).abs().max() < 3e-3  # as for the stored numbers: both are float32


def test_golden_numbers(test_data):
    inputs = np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")
    golden = np.load(test_data / "golden/encoders/frontends/kaldi_fbank_beats.npz")
    fbank = Fbank()
    wav = torch.from_numpy(np.stack([inputs["x2"], inputs["batch2"][1]])) * 2**15
    # Natural-log units, so that the near-silent start of the quiet clip counts as much as the rest.
    for feats, key in zip(fbank(wav), ("x2_fbank", "batch2_1_fbank"), strict=True):
        assert np.abs(feats.numpy() - golden[key]).max() < 3e-3
    for samples in (400, 1600):
        feats = fbank(wav[:1, :samples])[0].numpy()
        assert np.abs(feats - golden[f"first_{samples}_fbank"]).max() < 3e-3
    assert relative(fbank.filters[:256].T, golden["mel_banks_128x256"]) < 2e-5
    assert relative(fbank.taper, golden["window_povey_400"]) < 1e-6


def test_silence_gives_the_floor():
    feats = Fbank()(torch.full((1, 800), 0.25))
    assert torch.equal(feats, torch.full((1, 3, 128), LOG_FLOOR).log())


def test_float32_under_autocast():
    wav = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    fbank = Fbank()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        feats = fbank(wav)
    assert feats.dtype == torch.float32
    assert torch.equal(feats, fbank(wav))


def test_clips_of_a_batch_do_not_touch():
    wav = torch.randn(3, 5000, generator=torch.Generator().manual_seed(1))
    fbank = Fbank()
    singles = torch.cat([fbank(clip[None]) for clip in wav])
    assert relative(fbank(wav), singles) < 1e-6


def test_nothing_is_stored():
    assert not Fbank().state_dict()


@pytest.mark.parametrize(
    ("wav", "message"),
    [(torch.zeros(1, 399), "399 samples, at least 400"), (torch.zeros(1000), r"expected \[clips, samples\]")],
)
def test_wrong_input(wav, message):
    with pytest.raises(ValueError, match=message):
        Fbank()(wav)


def test_recordings_that_go_in_parts_give_the_same(monkeypatch):
    wav = torch.randn(7, 4000, generator=torch.Generator().manual_seed(0)) * 1000
    whole = Fbank(128)(wav)
    monkeypatch.setattr("asdkit.layers.fbank.SAMPLES", 9000)
    assert torch.equal(Fbank(128)(wav), whole)


def test_feature_3_of_128_holds_no_bin_and_nothing_is_divided_by_its_deviation():
    """Kaldi's own program refuses more than 126 bands at 16 kHz for this reason; BEATs was trained with 128."""
    assert (Fbank(126).filters.sum(0) > 0).all()
    assert (Fbank(128).filters.sum(0) == 0).nonzero().flatten().tolist() == [3]
    wav = 0.1 * torch.randn(6, 16000, generator=torch.Generator().manual_seed(0))
    feats = build_encoder(LogmelEncoder()).frontend(wav)
    assert (feats[..., 3] == math.log(LOG_FLOOR)).all() and (feats[..., 2].std() > 0.1)
    for relative_level in (False, True):
        tokenizer = RandomTokenizer(TokenizerConfig(relative=relative_level, level=1.0), 16, 128)
        tokenizer.fit(feats)
        normalised = tokenizer.normalised(feats).unflatten(-1, (16, 16))  # frames and bands of each patch
        assert normalised[:, ::8, :, 3].abs().max() < (0.1 if not relative_level else 5) and tokenizer.spread.min() > 0
    pooled = MeanStdPooling(128)(feats)
    assert pooled[:, 128 + 3].abs().max() < 1e-4 and pooled.isfinite().all()
    table = pooled.numpy()
    assert np.isfinite(PerDomain(KnnConfig()).fit(table[:4], ["all"] * 4).anomaly_score(table[4:])).all()
