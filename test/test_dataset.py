import numpy as np
import pytest
import soundfile
import torch
from corpora import lists, prepare, write_clip, write_corpus
from torch.utils.data import DataLoader

from asdkit.config import load_config
from asdkit.data.batches import ChunkDataset, Framing, tile, training_dataset
from asdkit.data.lists import Clip
from asdkit.data.sampler import ChunkSampler
from asdkit.encoders.logmel import Logmel
from asdkit.signals.audio import AudioReader

FRAMING = Framing(16000, 400, 160)  # the log-mels'
SMALL = "encoder: {name: logmel}\ndata: {feats_type: %s, chunk_seconds: 0.2}\ntrain: {steps: 0, batch_size: 5}"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Clips of 0.3 s, one machine's first of 0.1 s, in lists of recordings and of features."""
    tmp = tmp_path_factory.mktemp("work")
    write_corpus(tmp / "corpus", 0.3)
    for path in (tmp / "corpus").rglob("*train_normal_0000*"):
        write_clip(path, 0.1)
    prepare(tmp)
    for kind in ("raw", "fbank"):
        lists(tmp, SMALL % kind, tag=kind)
    return tmp


def dataset_of(work, kind, seed=0, share=list):
    exp = work / "exp" / kind
    config = load_config(exp / "config.yaml")
    return training_dataset(config, FRAMING, work / "data", work / "dump", exp, seed, share)


def test_batches_are_the_chunks_that_the_sampler_draws(work):
    dataset = dataset_of(work, "raw")
    batch = dataset[3]
    assert batch.feats is None and batch.wavs.shape == (5, 3200) and batch.wavs.dtype == torch.float32
    assert batch.labels.dtype == torch.int64 and batch.attributed.dtype == torch.bool
    drawn = dataset.sampler.batch(3)
    for i, (index, start) in enumerate(drawn):
        clip = dataset.clips[index]
        whole = soundfile.read(clip.path, dtype="float32")[0]
        expected = whole[start : start + 3200] if len(whole) >= 3200 else np.tile(whole, 2)
        np.testing.assert_array_equal(batch.wavs[i].numpy(), expected)
        assert (batch.utts[i], batch.labels[i].item(), batch.attributed[i].item()) == (
            clip.utt,
            clip.label,
            clip.attributed,
        )


def test_features_and_recordings_give_the_same_chunks(work):
    raw, fbank = dataset_of(work, "raw", seed=7), dataset_of(work, "fbank", seed=7)
    compared = 0
    for step in range(1, 11):
        wavs, feats = raw[step], fbank[step]
        assert feats.wavs is None and feats.utts == wavs.utts
        assert torch.equal(feats.labels, wavs.labels) and torch.equal(feats.attributed, wavs.attributed)
        expected = Logmel().frontend(wavs.wavs)
        assert feats.feats.shape == expected.shape == (5, FRAMING.frames(3200), 128)
        for i, (index, _) in enumerate(raw.sampler.batch(step)):
            whole = raw.clips[index].samples >= 3200
            frames = slice(None) if whole else slice(0, FRAMING.frames(1600))  # repeated clips differ at the seam
            torch.testing.assert_close(feats.feats[i, frames], expected[i, frames], rtol=0, atol=1e-5)
            compared += whole
    assert compared > 20


@pytest.mark.parametrize("workers", [1, 2])
def test_reader_processes_and_resuming_change_nothing(work, workers):
    dataset = dataset_of(work, "raw")
    expected = [dataset[step] for step in range(1, 9)]
    for first in (1, 6):
        loader = DataLoader(dataset, batch_size=None, sampler=range(first, 9), num_workers=workers)
        batches = list(loader)
        assert len(batches) == 9 - first
        for batch, wanted in zip(batches, expected[first - 1 :], strict=True):
            assert batch.utts == wanted.utts and torch.equal(batch.wavs, wanted.wavs)


def test_processes_share_a_batch(work):
    whole = dataset_of(work, "raw")[2]
    parts = [dataset_of(work, "raw", share=lambda batch, rank=rank: batch[rank::2])[2] for rank in (0, 1)]
    assert parts[0].utts == whole.utts[0::2] and parts[1].utts == whole.utts[1::2]
    assert torch.equal(parts[1].wavs, whole.wavs[1::2])


@pytest.mark.parametrize("listed", [4000, 16000])
def test_a_recording_that_changed_since_stage_1_is_named(tmp_path, listed):
    path = write_clip(tmp_path / "a.wav", 0.3)
    clips = [Clip("a", str(path), listed, "fan", label=0, attributed=True)]
    dataset = ChunkDataset(clips, ChunkSampler(clips, 3200, 160, 2), AudioReader(), 3200, FRAMING)
    with pytest.raises(ValueError, match=rf"a\.wav: has changed: 4800 samples, it had {listed} when it was listed"):
        dataset[1]


def test_the_encoder_must_work_at_the_rate_of_the_data(work):
    exp = work / "exp/raw"
    with pytest.raises(ValueError, match="the encoder works at 32000 Hz"):
        training_dataset(
            load_config(exp / "config.yaml"), Framing(32000, 800, 320), work / "data", work / "dump", exp, 0
        )


def test_tile():
    np.testing.assert_array_equal(tile(np.arange(3), 7), [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(tile(np.arange(3), 2), [0, 1])
    assert tile(np.zeros((3, 4)), 8).shape == (8, 4)


@pytest.mark.parametrize("samples", [0, 399, 400, 559, 560, 32000])
def test_frames_of_samples(samples):
    assert FRAMING.frames(samples) == len([s for s in range(0, samples, 160) if s + 400 <= samples])
