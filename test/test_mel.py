"""Mel spectrograms in decibels: torchaudio's and librosa's numbers, clip by clip; frames of centred front ends."""

import numpy as np
import pytest
import torch

from asdkit.data.batches import Framing
from asdkit.layers.fbank import Fbank
from asdkit.layers.mel import MelSpectrogram, htk_filters, slaney_filters

FRONT_ENDS = {"atst": (1024, 60.0, 7800.0, 80.0), "ced": (512, 0.0, 8000.0, 120.0)}


def front_end(name: str = "atst") -> MelSpectrogram:
    n_fft, low, high, top_db = FRONT_ENDS[name]
    return MelSpectrogram(n_fft, 160, htk_filters(n_fft, 16000, 64, low, high), top_db)


def noise(clips: int, samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_golden_numbers(test_data, name):
    wav = torch.from_numpy(np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")["batch2"])
    golden = np.load(test_data / f"golden/encoders/frontends/{name}_mel.npz")
    mel = front_end(name)
    assert np.abs(mel.filters.numpy() - golden["mel_filterbank"]).max() < 1e-5
    assert np.abs(mel.taper.numpy() - golden["window"]).max() < 1e-6
    for limit in (2e-3, 5e-4):  # with filters from float64, then with torchaudio's own
        for got, key in zip(mel(wav), ("x2_db", "batch2_1_db_alone"), strict=True):
            assert np.abs(got.T.numpy() - golden[key]).max() < limit
        mel.filters = torch.from_numpy(golden["mel_filterbank"])


def test_golden_numbers_of_clap(test_data):
    golden = np.load(test_data / "golden/encoders/clap/x10_48k.npz")["logmel"][0, 0]  # [1001, 64]
    stored = torch.load(test_data / "golden/encoders/clap/clap_tiny_630k_layout.pt", weights_only=True)["state_dict"]
    filters = slaney_filters(1024, 48000, 64, 50, 14000)
    expected = stored["module.audio_branch.logmel_extractor.melW"]
    assert (filters - expected).abs().max() < 1e-6 * expected.max()
    wav = torch.from_numpy(np.load(test_data / "golden/encoders/inputs/inputs_48k.npz")["x10_48k"])
    wav = (wav.clamp(-1, 1) * 32767).short().float() / 32767
    error = np.abs(MelSpectrogram(1024, 480, filters)(wav[None])[0].numpy() - golden)
    heard = golden > golden.max(1, keepdims=True) - 60  # what lies deeper is rounding: theirs is a convolution
    assert error.max() < 0.03 and error[heard].max() < 1e-3 and heard.mean() > 0.9


@pytest.mark.parametrize("samples", [513, 640, 799, 16000, 16161])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_equals_torchaudio(kaldi, samples, name):
    from torchaudio.transforms import AmplitudeToDB
    from torchaudio.transforms import MelSpectrogram as Theirs

    n_fft, low, high, top_db = FRONT_ENDS[name]
    theirs = Theirs(16000, n_fft, n_fft, 160, low, high, n_mels=64)
    wav = noise(2, samples) * torch.tensor([[1.0], [1e-5]])
    got = front_end(name)(wav)
    assert got.shape == (2, 1 + samples // 160, 64)
    for clip, feats in zip(wav, got, strict=True):
        expected = AmplitudeToDB("power", top_db)(theirs(clip[None]))[0]
        assert (feats.T - expected).abs().max() < 2e-3


def test_alone_and_in_a_batch(monkeypatch):
    wav = noise(3, 4000) * torch.tensor([[1.0], [1e-6], [0.0]])
    mel = front_end()
    alone = torch.cat([mel(clip[None]) for clip in wav])
    assert torch.allclose(mel(wav), alone, atol=1e-4)
    monkeypatch.setattr("asdkit.layers.mel.SAMPLES", 9000)
    assert torch.allclose(mel(wav), alone, atol=1e-4)
    assert (alone[2] == -100).all()  # digital silence
    loudest = alone.amax((1, 2))
    assert (alone[0].min() >= loudest[0] - 80) and loudest[1] < loudest[0] - 80  # each has a floor of its own


def test_float32_under_autocast_and_nothing_is_stored():
    wav, mel = noise(1, 4000), front_end()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        feats = mel(wav)
    assert feats.dtype == torch.float32 and torch.equal(feats, mel(wav)) and not mel.state_dict()


def test_a_network_on_the_meta_device_has_its_values():
    with torch.device("meta"):
        built = front_end()
    assert torch.equal(built(noise(1, 900)), front_end()(noise(1, 900)))
    with torch.device("meta"):
        assert slaney_filters(64, 16000, 4, 0, 8000).device.type == "cpu"


@pytest.mark.parametrize(
    ("wav", "message"),
    [(torch.zeros(1, 512), "512 samples, at least 513"), (torch.zeros(1000), r"expected \[clips, samples\]")],
)
def test_wrong_input(wav, message):
    with pytest.raises(ValueError, match=message):
        front_end()(wav)


@pytest.mark.parametrize("samples", [513, 799, 800, 801, 4000, 16000, 31999])
def test_framing_counts_the_frames_of_centred_front_ends(samples):
    framing = Framing(16000, 0, 160)
    assert framing.frames(samples) == front_end()(noise(1, samples)).shape[1]
    # the last chunk that may be drawn ends inside the frames of its clip: chunks start on multiples of the hop
    for chunk in range(160, samples + 1, 333):
        start = (samples - chunk) // framing.hop
        assert start + framing.frames(chunk) <= framing.frames(samples)


def test_fbank_with_a_hann_window(kaldi):
    """AST's and ImageBind's features: there the clip's mean is subtracted as well."""
    wav = noise(2, 7919) * torch.tensor([[1.0], [1e-3]]) + 0.01
    for clip, feats in zip(wav, Fbank(128, "hann")(wav), strict=True):
        expected = kaldi.fbank(
            clip[None] - clip.mean(),
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )
        assert (feats - expected).abs().max() < 3e-3


def test_golden_fbank_with_a_hann_window(test_data):
    wav = torch.from_numpy(np.load(test_data / "golden/encoders/inputs/inputs_16k.npz")["batch2"])
    golden = np.load(test_data / "golden/encoders/frontends/kaldi_fbank_ast.npz")
    fbank = Fbank(128, "hann")
    for feats, key in zip(fbank(wav), ("x2_fbank", "batch2_1_fbank"), strict=True):
        assert np.abs(feats.numpy() - golden[key]).max() < 3e-3
    assert np.abs(fbank.taper.numpy() - golden["window_hann_400"]).max() < 1e-6
