"""Noise mixed into training chunks: how loud, whose, drawn from what, and repeated to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from recipe import make_corpus
from test_pipeline import MINI

from asdkit.bin import prepare_data
from asdkit.config import Config, NoiseConfig, TrainConfig
from asdkit.data.augment import Augmenter
from asdkit.data.batches import ChunkDataset, Framing
from asdkit.data.lists import Clip, recorded_clips
from asdkit.data.noise import NoiseMixer, noise_inputs, noise_mixer
from asdkit.data.sampler import ChunkSampler
from asdkit.signals.audio import AudioReader
from asdkit.utils.files import write_table
from asdkit.utils.typed_yaml import validate

ALWAYS = NoiseConfig(probability=1.0)


def clips_of(folder, *machines, samples=8000):
    """A clip of each machine: a tone of its own, so that a sum tells which were in it."""
    found = []
    for number, machine in enumerate(machines):
        path = folder / f"{number}.wav"
        wave = 0.1 * np.sin(2 * np.pi * 500 * (number + 1) * np.arange(samples) / 16000)
        soundfile.write(path, wave, 16000, subtype="FLOAT")
        found.append(Clip(f"utt{number}", str(path), samples, machine, label=number, attributed=True))
    return found


def strength(wav):
    """Amplitude of the tones of 500 and 1000 Hz."""
    spectrum = np.abs(np.fft.rfft(wav)) * 2 / len(wav)
    return spectrum[[len(wav) // 32, len(wav) // 16]]


@pytest.mark.parametrize("snr", [-6.0, 0.0, 12.0])
def test_noise_is_as_loud_as_asked_and_of_another_machine(tmp_path, snr):
    clips = clips_of(tmp_path, "fan", "pump")
    config = NoiseConfig(probability=1.0, snr_low=snr, snr_high=snr)
    mixer = NoiseMixer(clips, {"fan", "pump"}, AudioReader(), config, seed=0)
    wav = AudioReader().read(clips[0].path)
    fan, pump = strength(mixer.mix(3 * wav, "fan", 1, 0))
    assert fan == pytest.approx(0.3, rel=1e-3)  # the machine itself is as before
    assert 20 * np.log10(fan / pump) == pytest.approx(snr, abs=0.01)


def test_noise_is_drawn_by_seed_step_and_place_alone(tmp_path):
    clips = clips_of(tmp_path, *"abcdefgh")
    wav = AudioReader().read(clips[0].path)[:4000]

    def mixed(seed, step, place, config=ALWAYS):
        return NoiseMixer(clips, set("abcdefgh"), AudioReader(), config, seed).mix(wav, "a", step, place)

    assert np.array_equal(mixed(0, 1, 2), mixed(0, 1, 2))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not np.array_equal(mixed(0, 1, 2), mixed(*other))
    some = [not np.array_equal(mixed(0, step, 0, NoiseConfig(probability=0.3)), wav) for step in range(200)]
    assert 0.2 < np.mean(some) < 0.4


def test_short_noise_is_repeated_and_silence_is_left_alone(tmp_path):
    clips = clips_of(tmp_path, "fan", "pump")
    short = clips_of(tmp_path / "short", "horn", samples=320) if (tmp_path / "short").mkdir() is None else []
    wav = AudioReader().read(clips[1].path)
    config = NoiseConfig(probability=1.0, snr_low=0.0, snr_high=0.0)
    horn, pump = strength(NoiseMixer(short, {"pump"}, AudioReader(), config, 0).mix(wav, "pump", 1, 0))
    assert horn == pytest.approx(pump, rel=1e-2) and pump == pytest.approx(0.1, rel=1e-2)
    mixer, silence = NoiseMixer(clips, {"fan"}, AudioReader(), ALWAYS, 0), np.zeros(4000, np.float32)
    assert np.array_equal(mixer.mix(silence, "fan", 1, 0), silence)


def test_every_process_gets_the_noise_of_one(tmp_path):
    clips = clips_of(tmp_path, *"abcdefgh")
    sampler, reader = ChunkSampler(clips, 3200, 160, 6), AudioReader()
    mixer = NoiseMixer(clips, set("abcdefgh"), reader, ALWAYS, 0)

    def batch(share, mixer=mixer):
        changed = Augmenter(TrainConfig(), reader, 0, mixer)
        return ChunkDataset(clips, sampler, reader, 3200, Framing(16000, 400, 160), share, changed)[3]

    whole = batch(list)
    assert not np.array_equal(whole.wavs, batch(list, None).wavs)
    for rank in (0, 1):
        part = batch(lambda rows, rank=rank: rows[rank::2])
        assert np.array_equal(part.wavs, whole.wavs[rank::2]) and part.utts == whole.utts[rank::2]


def test_a_machine_alone_needs_noise_from_elsewhere(tmp_path):
    with pytest.raises(ValueError, match="no other machine than 'fan' to take noise from: name a folder"):
        NoiseMixer(clips_of(tmp_path, "fan"), {"fan"}, AudioReader(), ALWAYS, 0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise")
    corpus, data = make_corpus(root / "mini"), root / "data"
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", str(corpus), "--data", str(data)])
    return data


def config_of(source):
    return validate(Config, {"train": {"noise": {"source": str(source), "probability": 1.0}}}, "test")


def test_sources_of_noise(tmp_path, prepared):
    clips = recorded_clips(prepared, "dev_train")
    assert noise_mixer(Config(), clips, prepared, 0) is None and noise_inputs(Config(), prepared) == {}
    assert noise_inputs(config_of("machines"), prepared) == {}
    assert {clip.path for clip in noise_mixer(config_of("machines"), clips, prepared, 0).clips} == {
        clip.path for clip in clips
    }
    for source, why in (("supplemental", "stage 1 found no supplemental clips"), (tmp_path / "no", "no recordings")):
        with pytest.raises(ValueError, match=why):
            noise_mixer(config_of(source), clips, prepared, 0)
        with pytest.raises(ValueError, match=why):
            noise_inputs(config_of(source), prepared)
    (tmp_path / "hall/deep").mkdir(parents=True)
    (own,) = clips_of(tmp_path / "hall/deep", "-", samples=4000)
    config = config_of(tmp_path / "hall")
    assert [(clip.path, clip.samples) for clip in noise_mixer(config, clips, prepared, 0).clips] == [(own.path, 4000)]
    before = noise_inputs(config, prepared)
    clips_of(tmp_path / "hall/deep", "-", samples=4001)
    assert noise_inputs(config, prepared) != before  # other noise is another training


def test_supplemental_noise_is_what_stage_1_listed(tmp_path, prepared):
    data = tmp_path / "data"
    data.mkdir()
    text = (prepared / "dataset.yaml").read_text()
    root = next(line.partition(": ")[2] for line in text.splitlines() if line.startswith("root: "))
    (data / "dataset.yaml").write_text(text.replace(root, str(tmp_path)))
    clips_of(tmp_path, "noise", "machine")
    rows = [
        {"wav": f"{number}.wav", "machine": "fan", "part": "dev", "kind": kind}
        for number, kind in enumerate(("noise", "machine"))
    ]
    write_table(data / "supplemental.tsv", ("wav", "machine", "part", "kind"), rows)
    clips = [replace(clip, rms=0.05) for clip in recorded_clips(prepared, "dev_train")]
    found = noise_mixer(config_of("supplemental"), clips, data, 0).clips
    assert [clip.path for clip in found] == [str(tmp_path / "0.wav")] and found[0].rms is None
    write_table(data / "supplemental.tsv", ("wav", "machine", "part", "kind"), rows[1:])
    with pytest.raises(ValueError, match="supplemental.tsv: no noise clips in it"):
        noise_mixer(config_of("supplemental"), clips, data, 0)


def test_settings_that_cannot_be_are_refused():
    for raw, why in (
        ({"train": {"noise": {"snr_low": 30.0}}}, "snr_low 30 lies above snr_high 20"),
        ({"train": {"noise": {}}, "data": {"feats_type": "fbank"}}, "data.feats_type has to be raw"),
        ({"train": {"noise": {}}, "encoder": {"name": "autoencoder"}}, "the autoencoder draws frames, not chunks"),
    ):
        with pytest.raises(ValueError, match=why):
            validate(Config, raw, "test")
