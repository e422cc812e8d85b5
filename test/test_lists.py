import os
import shutil
from collections import Counter

import kaldiio
import numpy as np
import pytest
import soundfile
from corpora import lists, prepare, program, snapshot, write_clip, write_corpus

from asdkit.bin import extract_feats, make_lists
from asdkit.config import Config, load_config
from asdkit.corpus.manifest import read_manifest, write_manifest
from asdkit.data.chain import Prepared, label_inputs
from asdkit.data.lists import (
    assign_labels,
    hide_attributes,
    read_classes,
    read_feats,
    read_labels,
    recorded_clips,
    shard,
    training_clips,
    training_inputs,
    training_sets,
)
from asdkit.utils.ark import matrix_shape, open_ark, read_frames, split_location
from asdkit.utils.files import read_scp

FBANK = "encoder: {name: logmel}\ndata: {feats_type: fbank}\ntrain: {steps: 0}"


@pytest.fixture
def data(tmp_path):
    write_corpus(tmp_path / "corpus")
    return prepare(tmp_path)


def test_recordings_of_every_set(tmp_path, data):
    lists(tmp_path)
    for name, count in (("dev_train", 12), ("dev_test", 16), ("eval_train", 6), ("eval_test", 8)):
        clips = recorded_clips(data, name)
        assert len(clips) == count and [clip.utt for clip in clips] == sorted(clip.utt for clip in clips)
        assert {clip.samples for clip in clips} == {1600} and {clip.label for clip in clips} == {None}
        for clip in clips:
            assert clip.path.startswith(str(tmp_path)) and clip.path.endswith(clip.utt.split("-")[2] + ".wav")
        kaldi = read_scp(tmp_path / "dump/raw" / name / "wav.scp")
        assert kaldi == {clip.utt: clip.path for clip in clips}
        assert {path.name for path in (tmp_path / "dump/raw" / name).iterdir()} == {"wav.scp", ".done"}


def test_nothing_reads_what_is_written_for_kaldi(tmp_path, data):
    exp = lists(tmp_path)
    shutil.rmtree(tmp_path / "dump")
    assert len(training_clips(load_config(exp / "config.yaml"), data, tmp_path / "dump", exp)) == 18


def test_stage_1_opens_each_recording_once_and_stage_2_none(tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "corpus")
    write_clip(corpus / "dev_data/raw/fan/train/section_00_source_train_normal_0090_spd_0.flac")
    write_clip(corpus / "dev_data/raw/fan/train/section_00_source_train_normal_0091_spd_0.wav", subtype="FLOAT")
    opened = Counter()
    real = soundfile.SoundFile

    def counted(path):
        if isinstance(path, bytes):  # else a flac's end is looked at, in an open file
            opened[os.fsdecode(path)] += 1
        return real(path)

    monkeypatch.setattr("soundfile.SoundFile", counted)
    prepare(tmp_path)
    assert set(opened) == {str(path) for path in corpus.rglob("*") if path.suffix in (".wav", ".flac")}
    assert set(opened.values()) == {1}
    lists(tmp_path)
    assert opened.total() == 44


def test_the_dataset_description_is_needed_by_stage_1_alone(tmp_path, data):
    (tmp_path / "conf/dataset.yaml").unlink()
    exp = lists(tmp_path)
    assert len(training_clips(load_config(exp / "config.yaml"), data, tmp_path / "dump", exp)) == 18


def test_classes_join_machine_section_and_attribute(tmp_path, data):
    exp = lists(tmp_path)
    assert read_classes(exp) == ["fan/00/spd_0", "fan/00/spd_1", "pump/00/spd_0", "pump/00/spd_1", "valve/00/-"]
    labels = read_labels(exp)
    assert len(labels) == 18
    assert labels["fan-train-section_00_source_train_normal_0001_spd_1"] == (1, True)
    assert labels["valve-train-section_00_source_train_normal_0001_noAttribute"] == (4, False)


@pytest.mark.parametrize(
    ("scheme", "classes", "unattributed"),
    [
        ("machine", 3, 0),
        ("machine+section", 3, 0),
        ("machine+domain", 6, 0),
        ("attr+machine", 5, 6),
        ("machine+section+attr", 5, 6),
        ("machine+section+domain+attr", 10, 6),
    ],
)
def test_label_schemes(tmp_path, data, scheme, classes, unattributed):
    exp = lists(tmp_path, f"data: {{label: {scheme}}}")
    labels = read_labels(exp)
    assert len(read_classes(exp)) == classes == len({label for label, _ in labels.values()})
    assert sum(not attributed for _, attributed in labels.values()) == unattributed
    if scheme == "machine+section+domain+attr":
        assert read_classes(exp)[:2] == ["fan/00/source/spd_0", "fan/00/source/spd_1"]
        assert "valve/00/target/-" in read_classes(exp)


def test_folders_as_classes(data):
    """What was recorded in one go lies in one folder, and is one class; a recording that moves gets another."""
    path = data / "dev_train/manifest.tsv"
    rows = [row | {"wav": f"{row['machine']}/{'ab'[i % 2]}/{i}.wav"} for i, row in enumerate(read_manifest(path))]
    classes, labels = assign_labels(rows, "machine+folder")
    assert classes == ["fan/fan/a", "fan/fan/b", "valve/valve/a", "valve/valve/b"]
    assert [labels[row["utt"]] for row in rows[:3]] == [(0, True), (1, True), (0, True)]
    told = []
    for moved in (rows, [row | {"wav": f"c/{row['wav']}"} for row in rows]):
        write_manifest(path, moved)
        for label in ("machine+folder", "machine"):
            config = Config.model_validate({"data": {"sets": ["dev_train"], "label": label}})
            told.append(label_inputs(config, Prepared(data)))
    assert told[1] == told[3] and {key for key in told[0] if told[0][key] != told[2][key]} == {"dev_train.folders"}


@pytest.mark.parametrize("scheme", ["", "machine+", "machine+machine", "machine+engine", "machine, section"])
def test_a_label_of_other_columns_is_refused(scheme):
    wanted = r"data\.label.*must be one or more of year, machine, section, domain, attr, folder"
    with pytest.raises(ValueError, match=wanted):
        Config.model_validate({"data": {"label": scheme}})


def test_training_clips(tmp_path, data):
    exp = lists(tmp_path, "data: {sets: [eval_train, dev_train]}")
    config = load_config(exp / "config.yaml")
    clips = training_clips(config, data, tmp_path / "dump", exp)
    assert [clip.machine for clip in clips] == ["pump"] * 6 + ["fan"] * 6 + ["valve"] * 6
    assert {clip.samples for clip in clips} == {1600} and {clip.feats for clip in clips} == {None}
    assert [clip.attributed for clip in clips] == [True] * 12 + [False] * 6
    first = training_inputs(config, Prepared(data), exp)
    assert first == training_inputs(config, Prepared(data), exp)
    other = lists(tmp_path, "data: {sets: [dev_train], label: machine}", tag="b")
    second = training_inputs(load_config(other / "config.yaml"), Prepared(data), other)
    assert second["labels"] != first["labels"] and "eval_train.manifest" not in second


def test_sets_that_the_corpus_lacks(tmp_path, caplog):
    write_corpus(tmp_path / "corpus")
    data = prepare(tmp_path, "--machines", "fan,valve")
    caplog.set_level("INFO")
    lists(tmp_path)
    assert "training on dev_train; the corpus has no eval_train" in caplog.text
    assert training_sets(Config(), data) == ["dev_train"]
    with pytest.raises(ValueError, match=r"has none of data\.sets = \['eval_train'\]. It has: dev_train, dev_test"):
        lists(tmp_path, "data: {sets: [eval_train]}", tag="c")


def test_dlcl_needs_attributes_somewhere(tmp_path, caplog):
    corpus = write_corpus(tmp_path / "corpus")
    dlcl = "loss: {dlcl: {}}\ndata: {sets: [dev_train]}"
    prepare(tmp_path)
    lists(tmp_path, dlcl)
    prepare(tmp_path, "--machines", "valve", "--force", "true")
    for path in (tmp_path / "dump").rglob(".done"):
        path.unlink()
    with pytest.raises(ValueError, match=r"loss\.dlcl: no training clip has an attribute.*machine\+section"):
        lists(tmp_path, dlcl, tag="b")
    assert not (tmp_path / "exp/b/labels.tsv").exists()
    caplog.set_level("INFO")
    prepare(tmp_path, "--machines", "fan", "--force", "true")
    for path in (tmp_path / "dump").rglob(".done"):
        path.unlink()
    lists(tmp_path, dlcl, tag="c")
    assert "every training clip has an attribute" in caplog.text and corpus.exists()


def test_attributes_of_a_machine_can_be_hidden(tmp_path, data):
    """Training then takes its clips for those of a machine whose attributes the corpus hides; nothing else changes."""
    exp = lists(tmp_path, "data: {hide_attributes: [fan]}")
    hidden = read_labels(exp)
    assert [name for name in read_classes(exp) if name.startswith("fan")] == ["fan/00/-"]
    assert {utt for utt, (_, known) in hidden.items() if not known} == {
        utt for utt in hidden if utt.startswith(("fan", "valve"))
    }
    told = label_inputs(load_config(exp / "config.yaml"), Prepared(data))
    plain = label_inputs(Config(), Prepared(data))  # without the setting, as before it existed
    assert told == plain | {"hide_attributes": ["fan"]} and "hide_attributes" not in plain
    with pytest.raises(
        ValueError, match=r"data.hide_attributes: no training clips of machine 'fans'; .* fan, pump, valve"
    ):
        hide_attributes([{"machine": name} for name in ("valve", "fan", "pump")], ["fans"])


def test_two_training_sets_must_not_share_an_id():
    row = {"utt": "fan-train-a", "wav": "x/a.wav", "machine": "fan", "section": "00", "domain": "source", "attr": "-"}
    with pytest.raises(ValueError, match="one id 'fan-train-a'"):
        assign_labels([row, row | {"wav": "y/a.wav"}], "machine")


def test_a_clip_that_is_gone_is_named(tmp_path, data):
    lists(tmp_path)
    before = snapshot(tmp_path / "dump")
    gone = next((tmp_path / "corpus").rglob("section_00_0003.wav"))
    gone.unlink()
    with pytest.raises(ValueError, match="eval_test: test clip missing on disk: .*section_00_0003.wav"):
        lists(tmp_path)
    assert snapshot(tmp_path / "dump") == before
    done = program(
        "make_lists",
        *("--config", tmp_path / "conf/a.yaml", "--data", data, "--dump", tmp_path / "dump"),
        *("--exp", tmp_path / "exp/a", "--force", "true"),
    )
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith(
        "error: eval_test: test clip missing"
    )


def test_a_recording_of_another_sound_is_another_recording(tmp_path, data):
    exp = lists(tmp_path)
    config = load_config(exp / "config.yaml")
    before = training_inputs(config, Prepared(data), exp)
    path = next((tmp_path / "corpus").rglob("fan/train/*.wav"))
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples + 1e-6, rate, subtype="PCM_24")  # same name and length
    with pytest.raises(ValueError, match="made with other clips: .* is changed"):
        prepare(tmp_path)
    with pytest.raises(ValueError, match=f"dev_train: train clip has changed: {path} has .* bytes, stage 1 found"):
        lists(tmp_path)
    prepare(tmp_path, "--force", "true")
    after = training_inputs(config, Prepared(data), exp)
    assert [key for key in after if after[key] != before[key]] == ["dev_train.manifest"]
    labels = (exp / "labels.tsv").read_bytes()
    lists(tmp_path)  # labels are not made from sounds, and the view for Kaldi follows
    assert (exp / "labels.tsv").read_bytes() == labels


def test_lists_are_skipped_when_done_and_refused_when_data_changed(tmp_path, data, caplog):
    exp = lists(tmp_path)
    before = snapshot(tmp_path / "dump") | snapshot(exp)
    caplog.set_level("INFO")
    lists(tmp_path)
    assert caplog.text.count("already done") == 5
    assert snapshot(tmp_path / "dump") | snapshot(exp) == before
    write_clip(tmp_path / "corpus/dev_data/raw/fan/train/section_00_source_train_normal_0077_spd_0.wav")
    prepare(tmp_path, "--force", "true")
    with pytest.raises(ValueError, match=r"\.done\.labels: made with dev_train = .*--force true"):
        lists(tmp_path)
    work = ["--data", str(data), "--dump", str(tmp_path / "dump"), "--exp", str(exp), "--force", "true"]
    make_lists.main(["--config", str(tmp_path / "conf/a.yaml"), *work])
    assert len(read_labels(exp)) == 19


def test_stages_before_must_have_run(tmp_path):
    with pytest.raises(ValueError, match="dataset.yaml does not exist: run stage 1"):
        (tmp_path / "a.yaml").write_text("")
        work = ["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp/a")]
        make_lists.main(["--config", str(tmp_path / "a.yaml"), *work])
    with pytest.raises(ValueError, match=r"cannot read .*config\.yaml"):
        extract_feats.main(["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp/a")])
    with pytest.raises(ValueError, match="dataset.yaml does not exist: run stage 1"):
        recorded_clips(tmp_path / "data", "dev_train")


@pytest.mark.parametrize("change", ["label", "manifest"])
def test_labels_of_other_clips_are_refused(tmp_path, data, change):
    exp = lists(tmp_path)
    path = exp / "labels.tsv" if change == "label" else data / "dev_train/manifest.tsv"
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, *rest]) + "\n")
    with pytest.raises(ValueError, match=f"labels.tsv: made of other clips: '{first.split()[0]}' is in it or"):
        training_clips(load_config(exp / "config.yaml"), data, tmp_path / "dump", exp)


def test_a_clip_without_dumped_features_is_named(tmp_path, data):
    exp = lists(tmp_path, FBANK)
    path = tmp_path / "dump/logmel/dev_train/feats.scp"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match="feats.scp: changed since it was written. --stage 2 --force true makes it"):
        training_clips(load_config(exp / "config.yaml"), data, tmp_path / "dump", exp)
    path.with_name(".written").unlink()  # as older versions left it
    with pytest.raises(ValueError, match="dev_train: no dumped features of clip 'fan-train-.*: run stage 2 again"):
        training_clips(load_config(exp / "config.yaml"), data, tmp_path / "dump", exp)


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_features_of_a_recording_of_another_length_are_not_dumped(tmp_path, data, seconds):
    exp = lists(tmp_path)
    path = next((tmp_path / "corpus").rglob("fan/train/*.wav"))
    write_clip(path, seconds)
    (exp / "config.yaml").write_text(FBANK)
    with pytest.raises(ValueError, match=f"{path} has .* bytes, stage 1 found 3244.*run stage 1"):
        extract_feats.main(["--data", str(data), "--dump", str(tmp_path / "dump"), "--exp", str(exp)])


def test_class_names_may_hold_any_line_separator_but_a_newline(tmp_path):
    (tmp_path / "classes.txt").write_text("fan/00/a\u2028b\npump/00/-\n", encoding="utf-8")
    assert read_classes(tmp_path) == ["fan/00/a\u2028b", "pump/00/-"]


def test_dumped_features_are_the_front_ends(tmp_path, data):
    import torch

    from asdkit.encoders.logmel import Logmel

    lists(tmp_path, FBANK)
    for name, count in (("dev_train", 12), ("eval_test", 8)):
        feats = read_feats(tmp_path / "dump", "logmel", name)
        clips = recorded_clips(data, name)
        assert list(feats) == [clip.utt for clip in clips] and len(feats) == count
        matrices = kaldiio.load_scp(str(tmp_path / "dump/logmel" / name / "feats.scp"))  # Kaldi's own format
        for clip in clips:
            wav = torch.from_numpy(soundfile.read(clip.path, dtype="float32")[0])
            expected = Logmel().frontend(wav[None])[0].numpy()
            np.testing.assert_array_equal(matrices[clip.utt], expected)
            place = split_location(feats[clip.utt])
            assert len(expected) == matrix_shape(*place)[0]
            np.testing.assert_array_equal(read_frames(*place, 2, 5), expected[2:7])


def test_features_are_skipped_when_done_whatever_the_number_of_shards(tmp_path, data, caplog):
    exp = lists(tmp_path, FBANK)
    before = snapshot(tmp_path / "dump")
    caplog.set_level("INFO")
    work = ["--data", str(data), "--dump", str(tmp_path / "dump"), "--exp", str(exp)]
    extract_feats.main([*work, "--num-jobs", "3", "--job", "3"])
    extract_feats.main([*work, "--num-jobs", "3", "--merge", "true"])
    assert snapshot(tmp_path / "dump") == before and caplog.text.count("already done") == 8
    extract_feats.main([*work, "--num-jobs", "3", "--job", "1", "--force", "true"])
    with pytest.raises(ValueError, match=r"cannot read .*split3/\.done\.2"):
        extract_feats.main([*work, "--num-jobs", "3", "--merge", "true"])
    (tmp_path / "dump/logmel/dev_train/split3/.done.1").write_text('{"manifest": "of other clips"}')
    with pytest.raises(ValueError, match=r"\.done\.1: made with manifest = .*Use other --data and --dump folders"):
        extract_feats.main([*work, "--num-jobs", "3", "--job", "1"])
    with pytest.raises(ValueError, match=r"--job 4 lies outside 1\.\.3"):
        extract_feats.main([*work, "--num-jobs", "3", "--job", "4"])


def test_features_of_recordings_that_were_read_otherwise_are_refused(tmp_path, data):
    exp = lists(tmp_path, FBANK)
    description = data / "dataset.yaml"
    description.write_text(description.read_text().replace("resample: false", "resample: true"))
    with pytest.raises(ValueError, match="made with resample = False, now True. Use other --data and --dump folders"):
        extract_feats.main(["--data", str(data), "--dump", str(tmp_path / "dump"), "--exp", str(exp)])


def test_one_set_of_archives_is_kept_whatever_the_number_of_shards(tmp_path, data):
    exp = lists(tmp_path, FBANK)
    before = read_feats(tmp_path / "dump", "logmel", "dev_train")
    work = ["--data", str(data), "--dump", str(tmp_path / "dump"), "--exp", str(exp), "--num-jobs", "3"]
    for job in ("1", "2", "3"):
        extract_feats.main([*work, "--job", job, "--force", "true"])
    extract_feats.main([*work, "--merge", "true"])
    feats = read_feats(tmp_path / "dump", "logmel", "dev_train")
    assert sorted(path.name for path in (tmp_path / "dump/logmel/dev_train").iterdir()) == [
        ".done",
        ".written",
        "feats.scp",
        "split3",
    ]
    assert list(feats) == list(before)
    assert all(matrix_shape(*split_location(place))[1] == 128 for place in feats.values())


def test_encoders_of_different_values_have_different_folders(tmp_path, data):
    lists(tmp_path, FBANK)
    lists(tmp_path, "encoder: {arch: {encoder_layers: 1}}\ndata: {feats_type: fbank}\ntrain: {steps: 0}", "b")
    logmel, beats = (read_feats(tmp_path / "dump", name, "dev_train") for name in ("logmel", "fbank_beats"))
    utt = next(iter(logmel))
    a, b = (read_frames(*split_location(table[utt]), 0, 5) for table in (logmel, beats))
    np.testing.assert_allclose((a - 15.41663) / (2 * 6.55582), b, rtol=1e-4, atol=1e-4)


def test_a_clip_shorter_than_a_frame_is_named(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    write_clip(corpus / "dev_data/raw/fan/train/section_00_source_train_normal_0000_spd_0.wav", 0.02)
    prepare(tmp_path)
    with pytest.raises(ValueError, match=r"section_00_source_train_normal_0000_spd_0\.wav: .*320 samples"):
        lists(tmp_path, FBANK)
    assert not list((tmp_path / "dump/logmel/dev_train").rglob("*.ark"))


def test_archives(tmp_path):
    path = tmp_path / "with space" / "a.ark"
    matrices = {f"u{i}": np.arange(12 * i, dtype="float32").reshape(-1, 4) for i in (1, 2, 5)}
    with open_ark(path) as ark:
        for utt, matrix in matrices.items():
            ark.write(utt, matrix)
    places = {utt: split_location(place) for utt, place in read_scp(path.with_suffix(".scp")).items()}
    for utt, matrix in matrices.items():
        assert matrix_shape(*places[utt]) == matrix.shape
        np.testing.assert_array_equal(read_frames(*places[utt], 1, len(matrix) - 1), matrix[1:])
    with pytest.raises(ValueError, match="frames 3 to 4 asked for, it has 3"):
        read_frames(*places["u1"], 3, 1)
    with pytest.raises(ValueError, match="no uncompressed float matrix"):
        read_frames(str(path), places["u1"][1] + 1, 0, 1)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="ends early"):
        read_frames(*places["u5"], 14, 1)
    with pytest.raises(ValueError, match="cannot be opened"):
        read_frames(str(tmp_path / "none.ark"), 0, 0, 1)
    with pytest.raises(ZeroDivisionError), open_ark(tmp_path / "b.ark") as ark:
        ark.write("u", matrices["u1"] / (1 // 0))
    assert not list(tmp_path.glob("*b.*"))


@pytest.mark.parametrize("num_jobs", [1, 2, 3, 7, 12])
def test_shards_are_the_whole_in_order(num_jobs):
    items = list(range(10))
    parts = [shard(items, [7] * 10, num_jobs, job) for job in range(1, num_jobs + 1)]
    assert sum(parts, []) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_are_even_in_seconds_of_sound():
    sizes = [1, 1, 1, 1, 1, 1, 30, 2, 20, 12]
    parts = [shard(sizes, sizes, 2, job) for job in (1, 2)]
    assert sum(parts, []) == sizes
    assert abs(sum(parts[0]) - sum(parts[1])) <= 30


def test_archives_that_killed_runs_left_are_removed(tmp_path):
    for name in (".feats.1.ark.abc.tmp", ".feats.2.ark.abc.tmp"):
        (tmp_path / name).write_bytes(b"part of an archive")
    with open_ark(tmp_path / "feats.1.ark") as ark:
        ark.write("a", np.zeros((2, 3), np.float32))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".feats.2.ark.abc.tmp", "feats.1.ark", "feats.1.scp"]
