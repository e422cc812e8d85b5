"""data.level: how loud a network hears a clip, in training, in dumped features, in stage 4 and from Python."""

import numpy as np
import pytest
import soundfile
from corpora import lists, noise, prepare, program, write_corpus

from asdkit.bin import extract_embeddings, score, train
from asdkit.config import Config, open_config
from asdkit.config.identity import embedding_identity, reread_embedding, reread_training, training_identity
from asdkit.data.batches import Framing, training_dataset
from asdkit.data.levels import at_level, read_clip, write_levels
from asdkit.data.lists import Clip, recorded_clips
from asdkit.infer.experiment import Experiment
from asdkit.signals.audio import AudioReader
from asdkit.signals.heard import LEVEL
from asdkit.utils.ark import read_ark
from asdkit.utils.files import read_table
from asdkit.utils.typed_yaml import validate

READER = AudioReader()
LOGMEL = (
    "encoder: {{name: logmel}}\nmodel: {{pooling: mean, embedding_dim: null}}\ntrain: {{steps: 0}}\n"
    "data: {{chunk_seconds: 0.5, {data}}}\n"
)
RAW, DUMPED = "feats_type: raw", "feats_type: fbank"


def write(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    return Clip(path.stem, str(path), len(samples), "fan")


def config(level):
    return validate(Config, {"data": {"level": level}}, "test")


def test_a_clip_is_scaled_by_its_own_level_as_a_whole_and_in_parts(tmp_path):
    sound = noise(1.0) * np.linspace(0.1, 1, 16000, dtype=np.float32)
    clips = [
        write(tmp_path / f"{name}.wav", x) for name, x in (("a", sound), ("quiet", sound / 10), ("dc", sound + 0.3))
    ]
    assert np.array_equal(read_clip(READER, clips[0]), sound)
    for clip in at_level(clips, config("clip_rms"), tmp_path):
        heard = read_clip(READER, clip)
        assert heard.dtype == np.float32 and heard.std() == pytest.approx(LEVEL, rel=1e-5)
        assert np.abs((heard - heard.mean()) - (sound - sound.mean()) * LEVEL / sound.std()).max() < 1e-6
        np.testing.assert_array_equal(read_clip(READER, clip, 4000, 2000), heard[4000:6000])  # not the part's own
    assert at_level(clips, config("keep"), tmp_path) == clips


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_silence_stays_silence_and_a_constant_is_silence(tmp_path, value):
    (clip,) = at_level([write(tmp_path / "a.wav", np.full(8000, value, np.float32))], config("clip_rms"), tmp_path)
    np.testing.assert_array_equal(read_clip(READER, clip), np.full(8000, value, np.float32))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three machines; valve is recorded at a tenth of fan's level, and one of its clips is silent."""
    tmp = tmp_path_factory.mktemp("levels")
    write_corpus(tmp / "corpus", seconds=0.5)
    valves = sorted((tmp / "corpus").rglob("valve/t*/*.wav"))
    for path in valves:
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples / 10 * (path != valves[-1]), rate, subtype="PCM_24")
    prepare(tmp, "--check-content", "false")
    return tmp


def run(tmp, data, tag, **options):
    """Stages 2 to 4 of logmel; returns exp/<tag>."""
    exp = lists(tmp, LOGMEL.format(data=data), tag)
    work = ["--data", str(tmp / "data"), "--dump", str(tmp / "dump"), "--exp", str(exp)]
    train.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--merge", "true"])
    return exp


def embeddings(exp, name="dev_train"):
    return read_ark(exp / f"seed0/embed/{name}/embedding.ark")


def test_every_stage_hears_the_same(corpus):
    tables = {}
    for level in ("keep", "clip_rms", "machine_rms"):
        raw = run(corpus, f"level: {level}, {RAW}", f"{level}_raw")
        dumped = run(corpus, f"level: {level}, {DUMPED}", f"{level}_dumped")
        tables[level] = embeddings(raw)
        for utt, vector in embeddings(dumped).items():
            np.testing.assert_allclose(vector, tables[level][utt], rtol=1e-5)
        assert (corpus / "dump" / ("logmel" if level == "keep" else f"logmel_{level}")).is_dir()
        clips = at_level(recorded_clips(corpus / "data", "dev_train"), open_config(raw / "config.yaml"), raw)
        framing = Framing(16000, 400, 160)
        batch = training_dataset(
            open_config(raw / "config.yaml"), framing, corpus / "data", corpus / "dump", raw, 0
        )[1]  # fmt: skip
        by_utt = {clip.utt: clip for clip in clips}
        for utt, wav in zip(batch.utts, batch.wavs.numpy(), strict=True):
            if utt in by_utt:
                heard = read_clip(READER, by_utt[utt])
                np.testing.assert_array_equal(wav[: len(heard)], heard)
    means = {
        level: {m: np.median([v.mean() for u, v in t.items() if m in u]) for m in ("fan", "valve")}
        for level, t in tables.items()
    }
    apart = {level: means[level]["fan"] - means[level]["valve"] for level in means}
    assert apart["keep"] == pytest.approx(np.log(100), abs=0.1) and abs(apart["clip_rms"]) < 0.1 > abs(
        apart["machine_rms"]
    )


def test_levels_of_machines_leave_silent_clips_out(corpus, tmp_path):
    write_levels(config("machine_rms"), corpus / "data", tmp_path)
    levels = {row["machine"]: float(row["rms"]) for row in read_table(tmp_path / "levels.tsv", ("machine", "rms"))}
    assert levels == pytest.approx({"fan": 12**-0.5, "pump": 12**-0.5, "valve": 0.1 * 12**-0.5}, rel=0.02)
    before = (tmp_path / "levels.tsv").stat().st_mtime_ns
    write_levels(config("machine_rms"), corpus / "data", tmp_path)
    assert (tmp_path / "levels.tsv").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="levels.tsv: no level of machine 'drill'; there are some of fan, pump, valve"):
        at_level([Clip("x", "x", 1, "drill")], config("machine_rms"), tmp_path)
    with pytest.raises(ValueError, match="cannot read .*levels.tsv"):
        at_level([Clip("x", "x", 1, "fan")], config("machine_rms"), tmp_path / "none")


def test_recordings_of_any_gain_score_as_they_should_from_python(corpus, tmp_path):
    exp = run(corpus, f"level: clip_rms, {RAW}", "clip_rms_raw")
    score.main(["--data", str(corpus / "data"), "--exp", str(exp)])
    clip = recorded_clips(corpus / "data", "dev_test")[0]
    samples, _ = soundfile.read(clip.path)
    quiet = tmp_path / "quiet.wav"
    soundfile.write(quiet, samples / 10, 16000, subtype="PCM_24")
    experiment = Experiment.open(exp, device="cpu")
    loud, same = experiment.score([clip.path, quiet], clip.machine)
    assert same == pytest.approx(loud, rel=0.01)
    kept = Experiment.open(run(corpus, f"level: keep, {RAW}", "keep_raw"), device="cpu").score(
        [clip.path, quiet], "fan"
    )
    assert kept[1] > 1.5 * kept[0]
    by_machine = Experiment.open(run(corpus, f"level: machine_rms, {RAW}", "machine_rms_raw"), device="cpu")
    with pytest.raises(ValueError, match="got no machine; trained were fan, pump, valve"):
        by_machine.embed([clip.path])
    found = by_machine.embed([clip.path], "fan")["embedding"][0]
    np.testing.assert_allclose(found, embeddings(by_machine.exp, "dev_test")[clip.utt], rtol=1e-5)
    assert by_machine.embed([clip.path], "valve")["embedding"][0].mean() > found.mean() + 4  # 20 dB louder


def test_another_level_is_another_experiment_and_none_is_the_level_of_older_ones(corpus):
    run(corpus, f"level: clip_rms, {RAW}", "clip_rms_raw")
    conf = corpus / "conf/other.yaml"
    conf.write_text(LOGMEL.format(data="level: machine_rms"))
    done = program("configure", "--config", conf, "--exp", corpus / "exp/clip_rms_raw")
    assert done.returncode == 1 and "made with data.level = 'clip_rms', now 'machine_rms'" in done.stderr
    for identity, reread in ((training_identity, reread_training), (embedding_identity, reread_embedding)):
        now = identity(Config())
        assert reread({key: value for key, value in now.items() if key != "data.level"}) == now
        assert now != identity(config("clip_rms"))
