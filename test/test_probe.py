import numpy as np
import pytest
import soundfile

from asdkit.encoders.logmel import Logmel
from asdkit.pretrain.probe import find_clips, linear_probe, pooled_features


def test_a_linear_probe_finds_what_is_linear(tmp_path):
    for fold in (1, 2):
        for take_ in "AB":
            for label in (3, 7):
                soundfile.write(tmp_path / f"{fold}-10{label}-{take_}-{label}.wav", np.zeros(800), 16000)
    clips = find_clips(tmp_path)
    assert sorted(set(clips.labels)) == [3, 7] and list(np.unique(clips.folds)) == [1, 2]
    told = np.c_[clips.labels == 7, np.zeros(8)].astype(float)
    assert linear_probe(told, clips).tolist() == [100, 100]
    assert linear_probe(np.ones((8, 2)), clips).mean() == 50
    with pytest.raises(ValueError, match=f"{tmp_path}/nowhere: no such folder"):
        find_clips(tmp_path / "nowhere")
    (tmp_path / "noise.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"noise\.wav.*fold"):
        find_clips(tmp_path)


def test_a_probe_reads_the_channel_that_it_is_told(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 16000))
    stereo, mono = tmp_path / "s", tmp_path / "m"
    stereo.mkdir(), mono.mkdir()
    soundfile.write(stereo / "1-1-A-1.wav", noise.T, 16000)
    soundfile.write(mono / "1-1-A-1.wav", noise[1], 16000)
    with pytest.raises(ValueError, match="2 channels: .* --probe-channel 0"):
        pooled_features(Logmel(), [stereo / "1-1-A-1.wav"])
    told, alone = (pooled_features(Logmel(), [f / "1-1-A-1.wav"], c) for f, c in ((stereo, 1), (mono, None)))
    assert np.array_equal(told["mean_std"], alone["mean_std"])
