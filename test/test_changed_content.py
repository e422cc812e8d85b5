"""Recordings that change behind a finished experiment: found, and the first stage that is needed is named."""

import os
import shutil

import pytest
import soundfile
from corpora import ROOT, base_clip, manifest_of, program, write_base
from stages import LOGMEL, NETWORK, Stages, copy

from asdkit.utils.files import read_json


@pytest.fixture(scope="module")
def logmel(tmp_path_factory):
    stages = Stages(tmp_path_factory.mktemp("logmel"))
    write_base(stages.corpus)
    stages.run(1)
    return stages


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    stages = Stages(tmp_path_factory.mktemp("network"), NETWORK)
    write_base(stages.corpus, train=4, per_test=2)
    stages.run(1)
    return stages


def replace(stages, pattern, seconds=2, anomaly=False, seed=900):
    """Other sounds under the same names, written a second later."""
    for number, path in enumerate(sorted(stages.corpus.glob(pattern))):
        base_clip(path, seed + number, path.parts[-3], anomaly, seconds)
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def test_base_is_separated(logmel):
    assert logmel.auc("press") == logmel.auc("pump") == 100


def test_old_embeddings_are_not_scored_as_new(logmel, tmp_path):
    stages = copy(logmel, tmp_path)
    replace(stages, "press/test/normal_*", seconds=3, anomaly=True)
    for first in (1, 2):
        with pytest.raises(ValueError, match="press/test/normal_0000.wav.*stage 1"):
            stages.run(first)
    stages.forced(1, 2)
    for stage in (4, 5, 6):
        for options in ((), ("--force", "true"))[: 1 if stage == 4 else 2]:
            with pytest.raises(ValueError, match="embed/dev_test/.done: made with manifest .*--stage 4 --force true"):
                stages.run(stage, stage, *options)
    stages.forced(4)
    assert stages.auc("press") < 100 and stages.auc("pump") == 100


def test_other_sounds_of_the_same_name_and_size(logmel, tmp_path, caplog):
    stages = copy(logmel, tmp_path)
    before = stages.made()
    sizes = {path: path.stat().st_size for path in stages.corpus.rglob("*.wav")}
    replace(stages, "*/test/normal_*", anomaly=True)
    assert sizes == {path: path.stat().st_size for path in stages.corpus.rglob("*.wav")}
    with pytest.raises(
        ValueError, match=r"made with other clips: 8 recordings, press/test/normal_0000.wav the first.*sound"
    ):
        stages.run(1)
    with pytest.raises(ValueError, match="press/test/normal_0000.wav has another sound than stage 1 found.*stage 1"):
        stages.forced(4, 4)
    stages.forced(1, 1)
    stages.run(2, 3)  # labels and weights are not made from them
    with pytest.raises(ValueError, match="--stage 4 --force true"):
        stages.run(4, 4)
    assert stages.made() == before
    stages.forced(4)
    assert max(stages.auc("press"), stages.auc("pump")) < 100


def test_a_touched_file_changes_nothing_and_is_read_once(logmel, tmp_path, monkeypatch):
    stages = copy(logmel, tmp_path)
    stages.run(1, 1)  # the corpus has moved
    stages.run(6)  # and so have the page's links
    before = stages.made()
    touched = stages.corpus / "press/train/normal_0003.wav"
    os.utime(touched, ns=(0, 10**18))
    read = []
    real = soundfile.SoundFile

    def opened(file, *words, **options):
        if isinstance(file, bytes):  # not the page's sounds, which are written into memory
            read.append(os.fsdecode(file))
        return real(file, *words, **options)

    monkeypatch.setattr("soundfile.SoundFile", opened)
    stages.run(1)
    assert read == [str(touched)]
    stages.run(1)
    assert read == [str(touched)] and stages.made() == before


def test_each_recording_is_read_once_and_kept_by_size_and_time(tmp_path, monkeypatch):
    stages = Stages(tmp_path)
    write_base(stages.corpus, ("press",), 2, 1)
    stages.run(1, 1)
    rows = manifest_of(stages.data, "dev_train")
    row = rows["press-train-normal_0000"]
    assert row["mtime"] == str((stages.corpus / row["wav"]).stat().st_mtime_ns) and len(row["digest"]) == 64
    assert 0.05 < float(row["rms"]) < float(row["peak"]) < 0.5
    monkeypatch.setattr("asdkit.corpus.content.measure_all", lambda *_: pytest.fail("read again"))
    stages.forced(1, 1)
    assert manifest_of(stages.data, "dev_train") == rows
    stages.run(1, 1, "--check-content", "false", "--force", "true")
    assert manifest_of(stages.data, "dev_train") == rows  # what is known stays known
    shutil.rmtree(stages.data)
    stages.run(1, 1, "--check-content", "false")
    assert {row["digest"] for row in manifest_of(stages.data, "dev_train").values()} == {"-"}


def test_not_to_look_is_said_and_is_made_up_for_later(tmp_path, caplog):
    """Embeddings that were made before content was known stay; what changed afterwards is found."""
    stages = Stages(tmp_path)
    write_base(stages.corpus, train=4, per_test=2)
    caplog.set_level("INFO")
    stages.run(1, 1, "--check-content", "false")
    assert "--check-content false: recordings are not read: silent ones, copies" in caplog.text
    stages.run(2)
    before = stages.made()
    stages.run(1)
    assert "already done; the content of 16 recordings was read" in caplog.text and stages.made() == before
    replace(stages, "press/test/*")
    stages.run(1, 1, "--check-content", "false")
    with pytest.raises(ValueError, match="another sound"):
        stages.run(1)
    stages.forced(1, 1)
    with pytest.raises(ValueError, match="--stage 4 --force true"):
        stages.run(2)


def test_a_recording_in_another_container_is_the_same(logmel, tmp_path, caplog):
    stages = copy(logmel, tmp_path)
    before = stages.made()
    for path in stages.corpus.glob("pump/*/*.wav"):
        soundfile.write(path.with_suffix(".flac"), *soundfile.read(path), subtype="PCM_16")
        path.unlink()
    stages.run(1)
    assert stages.made() == before and manifest_of(stages.data, "dev_test")["pump-test-normal_0000"]["wav"].endswith(
        "flac"
    )


def test_a_corpus_that_moves_goes_on(network, tmp_path, caplog):
    stages = copy(network, tmp_path)
    before = stages.made()
    shutil.copytree(stages.corpus, tmp_path / "other disk")  # times are kept, or not
    for path in (tmp_path / "other disk").rglob("press/*/*.wav"):
        os.utime(path)
    shutil.rmtree(stages.corpus)
    stages.corpus = tmp_path / "other disk"
    caplog.set_level("INFO")
    stages.run(1)
    assert f"already done; the corpus lies in {stages.corpus}" in caplog.text and stages.made() == before
    assert "other disk" in (tmp_path / "dump/raw/dev_test/wav.scp").read_text()
    base_clip(stages.corpus / "press/test/normal_0009.wav", 77)
    stages.forced(1, 2)
    stages.forced(4)
    assert "press-test-normal_0009" in (stages.exp / "seed0/score/knn/dev_test.tsv").read_text()
    assert {path: time for path, time in stages.made().items() if path.suffix == ".pt"} == {
        path: time for path, time in before.items() if path.suffix == ".pt"
    }


def test_the_truth_comes_later(tmp_path, caplog):
    stages = Stages(tmp_path, NETWORK)
    write_base(tmp_path / "clips", train=4, per_test=2)
    stages.corpus = tmp_path / "clips.csv"
    paths = sorted((tmp_path / "clips").rglob("*.wav"))

    def table(truth):
        lines = [f"clips/{path.relative_to(tmp_path / 'clips')},{path.parts[-3]},{path.parts[-2]}" for path in paths]
        told = [path.name.split("_")[0] if truth and path.parts[-2] == "test" else "" for path in paths]
        text = "\n".join(["path,machine,split,condition", *map(",".join, zip(lines, told, strict=True))])
        stages.corpus.write_text(text + "\n")

    table(False)
    caplog.set_level("INFO")
    stages.run(1)
    before = stages.made()
    table(True)
    stages.run(1)
    assert "already done; the truth is new" in caplog.text
    assert {path: time for path, time in stages.made().items() if path in before} == before
    assert stages.auc("press") is not None
    table(False)
    with pytest.raises(ValueError, match="the truth of dev_test is not there any more"):
        stages.run(1)


def test_training_clips_that_changed(network, tmp_path):
    stages = copy(network, tmp_path)
    replace(stages, "press/train/normal_0000.wav")
    stages.forced(1, 1)
    for stage in (4, 5, 6):
        with pytest.raises(ValueError, match="trained.tsv: 1 of the 8 recordings .*press-train-normal_0000.*--stage 3"):
            stages.forced(stage, stage)
    with pytest.raises(ValueError, match="made with dev_train.manifest = .*--stage 3 --force true"):
        stages.run(2)
    (stages.corpus / "press/train/normal_0001.wav").unlink()
    stages.forced(1, 1)
    for stage in (3, 4, 5, 6):
        with pytest.raises(ValueError, match=r"\.done\.labels: made with dev_train = .*--stage 2 --force true"):
            stages.forced(stage, stage)
    stages.forced(2, 4)
    with pytest.raises(ValueError, match="made with dev_.*--stage 5 --force true"):
        stages.run(6)
    stages.forced(5)


def test_features_of_recordings_that_are_gone(tmp_path):
    stages = Stages(tmp_path, LOGMEL + "data: {feats_type: fbank}\n")
    write_base(stages.corpus, train=4, per_test=2)
    stages.run(1)
    replace(stages, "press/test/normal_*")
    stages.forced(1, 1)
    with pytest.raises(ValueError, match="dump/logmel/dev_test/.done: made with manifest = .*--stage 2 --force true"):
        stages.forced(4, 4)
    stages.forced(2, 2)
    with pytest.raises(ValueError, match="--stage 4 --force true"):
        stages.run(5)


def test_another_channel_is_another_recording(tmp_path):
    stages = Stages(tmp_path)
    for path in sorted(write_base(stages.corpus, train=3, per_test=2).rglob("*.wav")):
        samples, rate = soundfile.read(path)
        soundfile.write(path, __import__("numpy").stack([samples, samples[::-1]], 1), rate)
    stages.run(1, 1, "--channel", "0")
    stages.run(2)
    stages.run(1, 1, "--channel", "1", "--force", "true")
    for stage in (5, 6):
        with pytest.raises(ValueError, match="made with dataset.channel = 0, now 1.*--stage 4 --force true"):
            stages.forced(stage, stage)


def test_scores_of_another_program_for_recordings_that_are_gone(logmel, tmp_path):
    stages = copy(logmel, tmp_path)
    mine = stages.exp / "seed0/score/mine"
    mine.mkdir()
    shutil.copy(stages.exp / "seed0/score/knn/dev_test.tsv", mine)
    stages.run(6)
    replace(stages, "press/test/normal_*")
    stages.forced(1, 2)
    stages.forced(4, 5)
    with pytest.raises(ValueError, match="mine: the recordings have changed since these scores were evaluated"):
        stages.run(6)
    lines = [line.split() for line in (mine / "dev_test.tsv").read_text().splitlines()]
    (mine / "dev_test.tsv").write_text("".join(f"{utt} {float(value) / 2}\n" for utt, value in lines))
    stages.run(6)


def test_run_sh_takes_the_option(tmp_path):
    from test_years_e2e import run

    write_base(tmp_path / "corpus", ("press",), 2, 1)
    options = ["--corpus", tmp_path / "corpus", "--stage", "1", "--stop-stage", "1", "--check-content"]
    done = run(ROOT / "egs/custom", tmp_path, *options, "false")
    assert done.returncode == 0 and "recordings are not read: silent ones" in done.stdout, done.stderr
    assert run(ROOT / "egs/custom", tmp_path, *options, "no").returncode != 0
    done = run(ROOT / "egs/custom", tmp_path, *options, "true")
    assert done.returncode == 0 and "the content of 4 recordings was read" in done.stdout


def test_the_second_seed_of_another_training_is_refused_before_and_after(network, tmp_path, caplog):
    stages = copy(network, tmp_path)
    write_base(stages.corpus, ("saw",), 4, 2)
    stages.forced(1, 2)
    caplog.set_level("INFO")
    stages.forced(4)  # the README's way: no training
    assert "the network has not heard saw in training" in caplog.text
    page = (stages.exp / "RESULTS.md").read_text()
    assert "(not trained on saw)" in page and "| saw (not heard in training) |" in page
    assert "not trained on saw" in (tmp_path / "exp/RESULTS.md").read_text()
    with pytest.raises(ValueError, match="seed0 was trained on other clips.*--seeds 0 --stage 3 --force true"):
        stages.run(3, 3, seeds=(1,))
    assert not (stages.exp / "seed1").exists()
    stages.forced(3, 5, seeds=(1,))
    with pytest.raises(ValueError, match="seed1/.*trained on other clips than seed0.*--stage 3"):
        stages.run(6)
    stages.forced(3)
    assert "not trained on" not in (stages.exp / "RESULTS.md").read_text()
    results = read_json(stages.exp / "results.json")["scores"]["knn"]
    assert results["seeds"] == [0, 1] and len(results["trained_sha256"]) == 64


def test_tags_of_different_trainings_are_shown_apart(network, tmp_path):
    stages = copy(network, tmp_path)
    write_base(stages.corpus, ("saw",), 4, 2)
    other = Stages(tmp_path, NETWORK, "b")
    other.forced(1, 1)
    other.run(2)
    text = (tmp_path / "exp/RESULTS.md").read_text()
    assert "Not trained on the same clips, not to be compared: a; b." in text


def test_clips_of_a_csv_that_get_another_label(tmp_path):
    stages = Stages(tmp_path, NETWORK)
    write_base(tmp_path / "clips", train=4, per_test=2)
    stages.corpus = tmp_path / "clips.csv"
    lines = [
        f"{path.relative_to(tmp_path)},{path.parts[-3]},{path.parts[-2]},{'fast' if '0000' in path.name else 'slow'}"
        for path in sorted((tmp_path / "clips").rglob("*.wav"))
    ]
    stages.corpus.write_text("\n".join(["path,machine,split,attributes", *lines]) + "\n")
    stages.run(1, 5)
    stages.corpus.write_text(stages.corpus.read_text().replace("0001.wav,pump,train,slow", "0001.wav,pump,train,fast"))
    with pytest.raises(ValueError, match=r"pump/train/normal_0001.wav is changed \(attr 'slow', now 'fast'\)"):
        stages.run(1)
    stages.forced(1, 1)
    for stage in (3, 5, 6):
        with pytest.raises(ValueError, match="--stage [24] --force true"):
            stages.forced(stage, stage)
    assert program("report", "--data", stages.data, "--exp", stages.exp).returncode == 1


def test_an_older_training_that_does_not_tell_its_clips_is_marked(network, tmp_path, caplog):
    stages = copy(network, tmp_path)
    record = stages.exp / "seed0/checkpoint/trained.tsv"
    record.unlink()  # as older versions left it
    stages.run(1)
    assert len(record.read_text().splitlines()) == 9
    record.unlink()
    write_base(stages.corpus, ("saw",), 4, 2)
    stages.forced(1, 2)
    stages.forced(4)
    assert "trained on other clips than those that are there now" in caplog.text
    assert (stages.exp / "RESULTS.md").read_text().startswith("# a (trained on other clips)\n")


def test_where_nothing_is_trained_clips_may_come_and_go(logmel, tmp_path):
    """One network for every seed and corpus: nothing to train again, nothing that is not heard."""
    stages = copy(logmel, tmp_path)
    write_base(stages.corpus, ("saw",), 4, 2)
    (stages.corpus / "press/train/normal_0000.wav").unlink()
    stages.forced(1, 2)
    stages.run(3, 3, seeds=(0, 1))
    stages.forced(4, 5, seeds=(0, 1))
    stages.run(6)
    page = (stages.exp / "RESULTS.md").read_text()
    assert page.startswith("# a\n") and "over 2 seeds" in page and "| saw " in page


def test_a_killed_training_does_not_go_on_with_other_clips(tmp_path, monkeypatch):
    stages = Stages(tmp_path, NETWORK.replace("steps: 2", "steps: 4, checkpoint_every: 2"))
    write_base(stages.corpus, train=4, per_test=2)
    stages.run(1, 2)
    monkeypatch.setattr("asdkit.train.loop.Curve.close", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stages.run(3, 3)
    monkeypatch.undo()
    replace(stages, "press/train/normal_0001.wav")
    stages.forced(1, 1)
    with pytest.raises(ValueError, match="last.pt: made with dev_train.manifest = "):
        stages.run(3, 3)


def test_seeds_of_replaced_clips_are_not_averaged(network, tmp_path):
    stages = copy(network, tmp_path)
    replace(stages, "press/train/*")
    stages.forced(1, 1)
    stages.run(2, 2)
    with pytest.raises(ValueError, match="seed0 was trained on other clips"):
        stages.run(3, 3, seeds=(1,))
    stages.forced(3, 5, seeds=(1,))
    with pytest.raises(ValueError, match="seed0/checkpoint/trained.tsv: 4 of the 8 .* --stage 3 --force true"):
        stages.run(6)
