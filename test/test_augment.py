"""What is done to recordings of training chunks: what is heard of it, drawn from what, and repeated to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from corpora import prepare, write_corpus
from test_distributed import killed
from wires import EXPERIMENT

from asdkit.bin import extract_feats, make_lists, train
from asdkit.config import Config, TrainConfig
from asdkit.data.augment import Augmenter, augmenter
from asdkit.data.batches import ChunkDataset, Framing
from asdkit.data.lists import Clip
from asdkit.data.sampler import ChunkSampler
from asdkit.models.checkpoint import read_checkpoint
from asdkit.signals.audio import AudioReader
from asdkit.utils.typed_yaml import validate

CHUNK, HOP = 3200, 160


@pytest.fixture
def clips(tmp_path):
    """Four clips, a tone each: 500, 1000, 1500 and 2000 Hz; the last is shorter than a chunk at any speed."""
    found = []
    for number in range(4):
        samples = 8000 if number < 3 else 2000
        path = tmp_path / f"{number}.wav"
        wave = 0.1 * np.sin(2 * np.pi * 500 * (number + 1) * np.arange(samples) / 16000)
        soundfile.write(path, wave, 16000, subtype="FLOAT")
        found.append(Clip(f"utt{number}", str(path), samples, "abcd"[number], label=number, attributed=number % 2 == 0))
    return found


def settings(**train):
    return validate(Config, {"train": train}, "test").train


def made(train, seed=0):
    return Augmenter(train, AudioReader(), seed)


def dataset(clips, train, seed=0, share=list, balance="none"):
    reader, sampler = AudioReader(), ChunkSampler(clips, CHUNK, HOP, 6, balance, seed)
    return ChunkDataset(clips, sampler, reader, CHUNK, Framing(16000, 400, 160), share, made(train, seed))


def loudest(wav):
    """Frequency of the strongest tone, Hz, and its amplitude."""
    spectrum = np.abs(np.fft.rfft(wav * np.hanning(len(wav)), 4 * len(wav))) * 4 / len(wav)
    return spectrum.argmax() * 4000 / len(wav), spectrum.max()


def test_a_mixture_is_the_sum_that_its_classes_say(clips):
    plain, mixed = (dataset(clips, settings(mixup=m))[2] for m in (None, {"probability": 1.0}))
    assert plain.mixed is None and torch.equal(plain.labels, mixed.labels) and plain.utts == mixed.utts
    labels, attributed, share = mixed.mixed
    assert share.dtype == torch.float32 and share.min() >= 0 and share.max() < 1
    own = {int(label): wav for label, wav in zip(plain.labels, plain.wavs, strict=True)}
    places = [[i for i, one in enumerate(plain.labels) if one == label] for label in labels]
    for row, found in enumerate(mixed.wavs):
        options = [plain.wavs[row] * share[row] + plain.wavs[place] * (1 - share[row]) for place in places[row]]
        assert any(torch.allclose(found, option, atol=1e-7) for option in options)
        assert attributed[row] == (labels[row] % 2 == 0)
    assert len(own) > 1 and len(set(share.tolist())) == 6


def test_half_of_the_chunks_are_mixed_by_an_even_draw(clips):
    changed = made(settings(mixup={}))
    drawn = [changed.partner(8, step, 3) for step in range(2000)]
    shares = np.array([share for _, share in drawn if share < 1])
    assert 0.46 < len(shares) / 2000 < 0.54 and abs(shares.mean() - 0.5) < 0.05 and abs(shares.std() - 0.289) < 0.03
    others = np.bincount([other for other, share in drawn if share < 1], minlength=8)
    assert others[3] == 0 and others[[0, 1, 2, 4, 5, 6, 7]].min() > 90
    assert all(other == 3 for other, share in drawn if share == 1)
    edges = [made(settings(mixup={"alpha": 0.1})).partner(8, step, 3)[1] for step in range(500)]
    assert np.mean([0.1 < share < 0.9 for share in edges]) < 0.2


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.25])
def test_a_machine_that_turns_faster_sounds_higher(clips, factor):
    changed = made(settings(speed={"machines": ["b", "d"], "factors": [factor]}))
    for clip, start in ((clips[1], 0), (clips[1], 4800), (clips[3], 0)):
        wav = changed.read(clip, start, CHUNK, step=1, place=0)
        assert wav.shape == (CHUNK,) and wav.dtype == np.float32
        pitch, loud = loudest(wav)
        assert pitch == pytest.approx({"b": 1000, "d": 2000}[clip.machine] * factor, rel=3e-3)
        assert loud == pytest.approx(0.1, rel=0.1)
    still = changed.read(clips[0], 320, CHUNK, 1, 0)
    assert np.array_equal(still, AudioReader().read(clips[0].path)[320 : 320 + CHUNK])  # not one of the machines


def test_a_faster_chunk_begins_where_the_chunk_begins(clips, tmp_path):
    wave = np.zeros(16000, np.float32)
    wave[6000] = 1
    soundfile.write(tmp_path / "click.wav", wave, 16000, subtype="FLOAT")
    clip = replace(clips[0], path=str(tmp_path / "click.wav"), samples=16000)
    changed = made(settings(speed={"machines": ["a"], "factors": [1.25]}))
    assert changed.read(clip, 4000, CHUNK, 1, 0).argmax() == 1600  # (6000 - 4000) / 1.25
    assert changed.read(clip, 16000 - CHUNK, CHUNK, 1, 0).argmax() < 1  # the last chunk that there is: silence


def test_gain_is_as_large_as_asked(clips):
    wav = AudioReader().read(clips[0].path)
    changed = made(settings(gain={"probability": 1.0, "low": 3.0, "high": 9.0}))
    decibels = [20 * np.log10(changed.finish(wav, "a", step, 0).max() / wav.max()) for step in range(300)]
    assert 3 <= min(decibels) < 3.5 and 8.5 < max(decibels) <= 9.001
    some = [np.array_equal(made(settings(gain={"probability": 0.3})).finish(wav, "a", n, 0), wav) for n in range(300)]
    assert 0.6 < np.mean(some) < 0.8


ALL = {"mixup": {}, "gain": {}, "speed": {"machines": ["a", "c"]}}


def test_what_happens_is_drawn_by_seed_step_and_place_alone(clips):
    train = settings(**ALL)
    whole = dataset(clips, train)[3]
    again = dataset(clips, train)
    again[1]
    assert torch.equal(again[3].wavs, whole.wavs)  # whatever came before
    for rank in (0, 1):
        part = dataset(clips, train, share=lambda rows, rank=rank: rows[rank::2])[3]
        assert torch.equal(part.wavs, whole.wavs[rank::2]) and part.utts == whole.utts[rank::2]
        assert all(torch.equal(a, b[rank::2]) for a, b in zip(part.mixed, whole.mixed, strict=True))
    wav = AudioReader().read(clips[0].path)[:CHUNK]
    others = set()
    for seed, step, place in ((0, 4, 1), (0, 5, 1), (0, 4, 2), (1, 4, 1)):
        changed = made(settings(mixup={"probability": 1.0}, gain={"probability": 1.0}), seed)
        others.add((*changed.partner(6, step, place), changed.finish(wav, "a", step, place).max()))
    assert len({share for _, share, _ in others}) == len({loud for *_, loud in others}) == 4


def test_settings_that_cannot_be_are_refused(clips):
    assert augmenter(TrainConfig(), clips, AudioReader(), 0, None) is None
    speed = settings(speed={"machines": ["a", "lathe"]})
    with pytest.raises(ValueError, match="no training clips of machine 'lathe'; there are some of a, b, c, d"):
        augmenter(speed, clips, AudioReader(), 0, None)
    for raw, why in (
        ({"gain": {"low": 2.0, "high": 1.0}}, "low 2 lies above high 1"),
        ({"speed": {"machines": ["a"], "factors": [0.9, 3.0]}}, "factors: 3 lies outside 0.5 to 2"),
        ({"speed": {"machines": []}}, "machines"),
        ({"mixup": {}, "batch_size": 1}, "loss.normalise needs"),
    ):
        with pytest.raises(ValueError, match=why):
            validate(Config, {"train": raw}, "test")
    with pytest.raises(ValueError, match="train.mixup mixes the clips of a batch: it needs a train.batch_size of 2"):
        validate(Config, {"train": {"mixup": {}, "batch_size": 1}, "loss": {"normalise": False}}, "test")
    for name, raw in {**ALL, "noise": {}}.items():
        with pytest.raises(ValueError, match=f"train.{name} changes recordings: data.feats_type has to be raw"):
            validate(Config, {"train": {name: raw}, "data": {"feats_type": "fbank"}}, "test")
        with pytest.raises(ValueError, match=f"train.{name}: the autoencoder draws frames, not chunks"):
            validate(Config, {"train": {name: raw}, "encoder": {"name": "autoencoder"}}, "test")


def test_killed_and_resumed_with_all_of_it_is_bit_identical(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "corpus", 0.5, train=2, per_test=1)
    prepare(tmp_path)
    (tmp_path / "x.yaml").write_text(EXPERIMENT)
    words = ["train.mixup={}", "train.gain={}", "train.speed={machines: [fan]}", "train.noise={}"]
    words += ["train.checkpoint_every=1"]
    words = [word for setting in words for word in ("--set", setting)]
    found = []
    for name in ("whole", "killed"):
        work = ["--data", "data", "--dump", "dump", "--exp", name]
        make_lists.main(["--config", "x.yaml", *words, *work])
        extract_feats.main([*work, "--merge", "false"])
        if name == "killed":
            killed(lambda work=work: train.main([*work, "--device", "cpu"]), step=2)
        train.main([*work, "--device", "cpu"])
        found.append(read_checkpoint(tmp_path / name / "seed0/checkpoint/final.pt"))
    whole, again = ({**content["model"], **content["objective"]} for content in found)
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)
