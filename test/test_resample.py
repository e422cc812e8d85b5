import json
import math

import numpy as np
import pytest
import soundfile
import torch
from corpora import lists, noise, prepare, write_corpus

from asdkit.bin import extract_embeddings, pretrain, score, train
from asdkit.infer.experiment import Experiment
from asdkit.pretrain.corpus import write_list
from asdkit.pretrain.loop import Sounds
from asdkit.signals import resample as module
from asdkit.signals.audio import AudioReader
from asdkit.signals.resample import FILTER, resample

LOGMEL = """
encoder: {name: logmel}
data: {feats_type: raw, chunk_seconds: 0.1, sets: [dev_train]}
model: {lora: null, group_adapter: null, embedding_dim: 4}
train: {steps: 2, batch_size: 4, warmup_steps: 0}
"""
PRETRAINING = """
arch: {encoder_layers: 1, encoder_embed_dim: 8, encoder_ffn_embed_dim: 8, encoder_attention_heads: 2,
       embed_dim: 4, conv_pos: 4, conv_pos_groups: 2}
sound: {crop_seconds: 0.4}
tokenizer: {codes: 4, dim: 2, codebooks: 1, statistics_clips: 4}
predictor: {dim: 8, heads: 1, conv_pos: 2}
train: {steps: 2, batch_size: 4, warmup_steps: 1, checkpoint_every: 1}
"""
RATES = (22050, 44100, 48000, 50000, 51200, 96000, 192000)


def write(path, samples, rate):
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def level(path, rate, hertz):
    """What is left of a tone at 16 kHz, dB."""
    write(path, np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate), rate)
    read = AudioReader(resample=True).read(path)[1000:-1000].astype(float)
    return 20 * math.log10(math.sqrt(2 * (read**2).mean()) + 1e-9)


@pytest.mark.parametrize("rate", RATES)
def test_what_can_be_heard_stays_and_what_cannot_does_not_come_back(tmp_path, rate):
    for hertz in (50, 1000, 5000, 6500, 7000):
        assert abs(level(tmp_path / "a.wav", rate, hertz)) < 0.1, hertz
    for hertz in {8500, 8731, 9000, 10000, rate / 2 - 700, rate / 2 - 7000} - {0}:
        if 8500 <= hertz < rate / 2:
            assert level(tmp_path / "a.wav", rate, hertz) < -100, hertz


@pytest.mark.parametrize("rate", [8000, 11025, *RATES, 44056, 16001])
def test_parts_equal_the_whole(tmp_path, rate):
    path = write(tmp_path / "a.wav", noise(0.7, rate=rate), rate)
    reader = AudioReader(resample=True)
    whole = reader.read(path)
    total = -(-round(0.7 * rate) * 16000 // rate)
    assert len(whole) == total == reader.length(path)
    for start, samples in (
        (0, 1000),
        (1, 999),
        (4321, 2000),
        (total - 700, 700),
        (3333, -1),
        (5000, 0),
        (total - 1, 1),
    ):
        stop = total if samples < 0 else start + samples
        np.testing.assert_allclose(reader.read(path, start, samples), whole[start:stop], atol=1e-6, rtol=0)


def test_the_filter_is_the_one_that_markers_name():
    assert FILTER == "sinc64"  # another filter has another name: experiments must not mix them
    impulse = np.eye(1, 2001, 1000, dtype="float32")[0]
    response = resample(lambda first, last: impulse[first:last], 2001, 0, 667, 3, 1)
    np.testing.assert_allclose(response[333:337], [0.268715, 0.1439156, -0.0603046, 0.0386859], atol=1e-6)
    assert np.flatnonzero(response)[[0, -1]].tolist() == [270, 397]


def test_only_what_a_part_is_made_of_is_read():
    asked = []

    def read(first, last):
        asked.append((first, last))
        return np.zeros(last - first, "float32")

    assert len(resample(read, 10**9, 10**7, 10**7 + 16000, 441, 160)) == 16000
    assert len(asked) == 1 and asked[0][0] > 27_562_500 - 2000 and asked[0][1] < 27_562_500 + 44100 + 2000


@pytest.mark.parametrize("rate", [8000, 44100, 51200, 44056])
def test_long_recordings_are_made_piece_by_piece(tmp_path, rate, monkeypatch):
    path = write(tmp_path / "a.wav", noise(0.7, rate=rate), rate)
    whole = AudioReader(resample=True).read(path)
    monkeypatch.setattr(module, "_AT_ONCE", 2000)
    np.testing.assert_allclose(AudioReader(resample=True).read(path), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 15999])
def test_time_and_level_stay(tmp_path, rate):
    at = np.arange(rate) / rate
    path = write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * at) + 0.1, rate)
    read, at = AudioReader(resample=True).read(path), np.arange(16000) / 16000
    np.testing.assert_allclose(read[500:-500], (0.3 * np.sin(2 * np.pi * 440 * at) + 0.1)[500:-500], atol=2e-6)


def test_short_recordings_and_channels(tmp_path):
    for samples in (1, 2, 3, 50):
        path = write(tmp_path / "a.wav", noise(1.0, channels=2)[:samples], 48000)
        assert AudioReader(channel=1, resample=True).read(path).shape == (-(-samples // 3),)
    stereo = noise(0.2, 48000, channels=2)
    write(tmp_path / "a.wav", stereo, 48000)
    write(tmp_path / "b.wav", stereo[:, 1], 48000)
    both = [AudioReader(channel=c, resample=True).read(tmp_path / n) for c, n in ((1, "a.wav"), (None, "b.wav"))]
    np.testing.assert_array_equal(*both)


def older(folder):
    """Markers as an older version wrote them, which had another filter and did not tell of it."""
    for marker in folder.rglob(".done"):
        made = json.loads(marker.read_text())
        marker.write_text(json.dumps({key: value for key, value in made.items() if "filter" not in key}))


def experiment(tmp_path, resample):
    prepare(tmp_path, "--resample", resample)
    exp = lists(tmp_path, LOGMEL)
    work = ["--data", str(tmp_path / "data"), "--dump", str(tmp_path / "dump"), "--exp", str(exp)]
    train.main(work)
    for merge in ("false", "true"):
        extract_embeddings.main([*work, "--merge", merge])
    return exp, work


def test_filters_are_not_mixed_in_an_older_experiment(tmp_path, caplog):
    write_corpus(tmp_path / "corpus", train=2, per_test=1)
    exp, work = experiment(tmp_path, "true")
    recording = next((tmp_path / "corpus").rglob("fan/test/*.wav"))
    experiments = Experiment.open(exp), Experiment.open(exp, data=tmp_path / "data")
    assert all(len(one.embed([recording])["embedding"]) == 1 for one in experiments)
    caplog.set_level("INFO")
    train.main(work)
    assert "already trained" in caplog.text
    older(tmp_path)
    with pytest.raises(ValueError, match=r"made with dataset\.filter = None, now 'sinc64'.*--stage 3 --force true"):
        train.main(work)
    with pytest.raises(ValueError, match=r"embed/dev_train/\.done: made with dataset\.filter = None, now 'sinc64'"):
        extract_embeddings.main(work)
    for one in (Experiment.open(exp), Experiment.open(exp, data=tmp_path / "data")):
        with pytest.raises(ValueError, match=r"resampled by the filter of an older version.*upgrading"):
            one.embed([recording])
    score.main(["--data", str(tmp_path / "data"), "--exp", str(exp)])  # what is embedded agrees with itself
    for marker in exp.glob("seed0/embed/*/.done"):
        marker.unlink()
    with pytest.raises(ValueError, match=r"checkpoint/\.done: of recordings that were resampled by the filter"):
        extract_embeddings.main(work)


def test_dumped_features_know_their_filter(tmp_path):
    write_corpus(tmp_path / "corpus", train=2, per_test=1)
    prepare(tmp_path, "--resample", "true")
    lists(tmp_path, LOGMEL.replace("raw", "fbank"))
    older(tmp_path)
    with pytest.raises(ValueError, match=r"dump/logmel/dev_train/\.done: made with filter = None, now 'sinc64'"):
        lists(tmp_path, LOGMEL.replace("raw", "fbank"))


def test_without_resampling_the_filter_does_not_count(tmp_path):
    write_corpus(tmp_path / "corpus", train=2, per_test=1)
    exp, work = experiment(tmp_path, "false")
    assert not [path for path in tmp_path.rglob(".done") if "filter" in path.read_text()]
    assert "filter" not in (exp / "dataset.yaml").read_text()


def test_an_older_pretraining_stays_finished_and_is_not_gone_on_with(tmp_path, caplog, monkeypatch):
    write(tmp_path / "corpus.wav", noise(1.0), 16000)
    write_list(tmp_path / "list.tsv", [{"wav": str(tmp_path / "corpus.wav"), "samples": "16000"}])
    (tmp_path / "c.yaml").write_text(PRETRAINING)
    words = ["--config", str(tmp_path / "c.yaml"), "--list", str(tmp_path / "list.tsv")]
    pretrain.main([*words, "--exp", str(tmp_path / "a")])
    older(tmp_path / "a")
    caplog.set_level("INFO")
    pretrain.main([*words, "--exp", str(tmp_path / "a")])
    assert "already trained" in caplog.text

    def killed(sounds, steps):
        yield next(batches(sounds, steps))
        raise KeyboardInterrupt

    batches = Sounds.batches
    monkeypatch.setattr(Sounds, "batches", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.main([*words, "--exp", str(tmp_path / "b")])
    last = torch.load(tmp_path / "b/checkpoint/last.pt", weights_only=True)
    assert last["inputs"].pop("filter") == "sinc64"
    torch.save(last, tmp_path / "b/checkpoint/last.pt")
    with pytest.raises(ValueError, match=r"last\.pt: made with filter = None, now 'sinc64'"):
        pretrain.main([*words, "--exp", str(tmp_path / "b")])
