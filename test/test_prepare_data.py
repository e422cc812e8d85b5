import json
import os
import re
import subprocess
import sys

import pytest
from corpora import ROOT, manifest_of, prepare, program, snapshot, write_clip, write_corpus, write_dataset

from asdkit.bin import prepare_data
from asdkit.corpus import prepare as prepare_module
from asdkit.corpus.description import load_dataset, present_sets
from asdkit.corpus.manifest import read_ref


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def test_sets_attributes_and_truth(tmp_path, corpus, capsys):
    data = prepare(tmp_path)
    assert present_sets(data) == ["dev_train", "dev_test", "eval_train", "eval_test"]
    train = manifest_of(data, "dev_train")
    assert len(train) == 12
    row = train["fan-train-section_00_target_train_normal_0001_spd_1"]
    assert (row["machine"], row["section"], row["domain"], row["attr"]) == ("fan", "00", "target", "spd_1")
    assert (corpus / row["wav"]).is_file()
    assert {row["attr"] for row in train.values() if row["machine"] == "valve"} == {"-"}
    for name in ("dev_test", "eval_test"):  # what scores them must not know a test clip's domain
        rows = manifest_of(data, name).values()
        assert {(row["domain"], row["attr"]) for row in rows} == {("-", "-")}
    assert read_ref(data / "dev_test" / "ref.tsv")["fan-test-section_00_target_test_anomaly_0001_spd_1"] == (
        "anomaly",
        "target",
    )
    assert [read_ref(data / "eval_test" / "ref.tsv")[f"pump-test-section_00_{i:04d}"] for i in (0, 3, 5, 7)] == [
        ("normal", "source"),
        ("anomaly", "source"),
        ("normal", "target"),
        ("anomaly", "target"),
    ]
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["dev_train", "fan", "00", "4", "2"] in table
    assert ["eval_test", "pump", "00", "4", "4"] in table
    dataset = load_dataset(data)
    assert dataset.sets.dev.machines == ["fan", "valve"] and dataset.root == str(corpus)


def test_the_same_again_is_skipped_and_a_change_is_refused(tmp_path, corpus, caplog):
    data = prepare(tmp_path)
    before, caplog_level = snapshot(data), caplog.set_level("INFO")
    prepare(tmp_path)
    assert snapshot(data) == before and "already done" in caplog.text and caplog_level is None
    with pytest.raises(ValueError, match="made with resample = False, now True.*--force true"):
        prepare(tmp_path, "--resample", "true")
    write_clip(corpus / "dev_data/raw/fan/train/section_00_source_train_normal_0099_spd_0.wav")
    with pytest.raises(ValueError, match="made with other clips: .*0099_spd_0.wav is new.*--force true"):
        prepare(tmp_path)
    assert snapshot(data) == before
    prepare(tmp_path, "--force", "true")
    assert len(manifest_of(data, "dev_train")) == 13


def test_supplemental_clips_and_strange_files_are_left_out_and_named(tmp_path, corpus, caplog):
    base = corpus / "dev_data" / "raw" / "fan"
    for i in range(3):
        write_clip(base / "supplemental" / f"section_00_noise_{i:04d}_.wav")
    (base / "attributes_00.csv").write_text("file_name,d1p,d1v\n")
    (base / "train" / "notes.txt").write_text("hello")
    (base / "train" / "._section_00_source_train_normal_0000_spd_0.wav").write_bytes(b"\0")
    (corpus / "dev_data" / "raw" / "__MACOSX").mkdir()
    (corpus / "dev_data" / "raw" / "papers").mkdir()
    caplog.set_level("INFO")
    data = prepare(tmp_path)
    assert len(manifest_of(data, "dev_train")) == 12
    assert re.search(r"ignored: 3 supplemental clips in .*fan", caplog.text)
    assert re.search(r"ignored: 2 other files of .*fan, such as train/", caplog.text)
    assert re.search(r"ignored in .*: papers", caplog.text)


def test_machines_option_and_a_set_that_is_not_there(tmp_path, corpus, caplog):
    data = prepare(tmp_path, "--machines", "fan,pump")
    assert {row["machine"] for row in manifest_of(data, "dev_train").values()} == {"fan"}
    assert load_dataset(data).sets.eval.machines == ["pump"]
    caplog.set_level("INFO")
    prepare(tmp_path, "--machines", "fan", "--force", "true")
    assert present_sets(data) == ["dev_train", "dev_test"]  # those of an earlier run are gone
    with pytest.raises(ValueError, match="no machine 'fann'. Found: fan, pump, valve"):
        prepare(tmp_path, "--machines", "fann", "--force", "true")
    (corpus / "eval_data").rename(corpus / "elsewhere")
    prepare(tmp_path, "--force", "true")
    assert "eval set left out: there is no folder" in caplog.text


def test_training_clips_alone_are_enough(tmp_path, corpus, caplog):
    (corpus / "eval_data/raw/pump/test").rename(corpus / "later")
    caplog.set_level("INFO")
    data = prepare(tmp_path)
    assert present_sets(data) == ["dev_train", "dev_test", "eval_train"]
    assert "the eval set has no test clips" in caplog.text


def test_csv_corpus(tmp_path):
    folder = tmp_path / "rec"
    lines = ["\ufeffpath,machine,split,condition,domain,attributes,section"]
    for i in range(4):
        write_clip(folder / f"day {i}" / f"clip{i}.flac")
        split = "train" if i < 2 else "test"
        condition, domain = ("", "normal", "normal", "anomaly")[i], ("", "source", "target", "source")[i]
        lines.append(
            f'day {i}/clip{i}.flac,press,{split},{condition},{domain},"{"rpm 10, load 2" if i else ""}",0{i // 3}'
        )
    table = folder / "clips.csv"
    table.write_text("\r\n".join(lines) + "\r\n", newline="")
    dataset = write_dataset(tmp_path / "d.yaml", name_style="free", sets={"dev": {"path": "."}}, ground_truth=None)
    data = tmp_path / "data"
    prepare_data.main(["--dataset", str(dataset), "--corpus", str(table), "--data", str(data)])
    train = manifest_of(data, "dev_train")
    assert train["press-train-clip0"] == {
        "utt": "press-train-clip0",
        "wav": "day 0/clip0.flac",
        "machine": "press",
        "section": "00",
        "domain": "source",
        "attr": "-",
        "samples": "1600",
        "bytes": str((folder / "day 0/clip0.flac").stat().st_size),
        "mtime": str((folder / "day 0/clip0.flac").stat().st_mtime_ns),
        **{key: train["press-train-clip0"][key] for key in ("digest", "peak", "rms")},
    }
    assert train["press-train-clip1"]["attr"] == "rpm 10, load 2"
    assert read_ref(data / "dev_test" / "ref.tsv") == {
        "press-test-clip2": ("normal", "target"),
        "press-test-clip3": ("anomaly", "source"),
    }
    assert load_dataset(data).root == str(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,machine\na.wav,fan\n", "column 'split' is missing"),
        ("path,machine,split,label\n", "unknown column 'label'. Allowed: path"),
        ("path,machine,split\na.wav,fan,valid\n", r"c\.csv:2: split 'valid' is none of train, test"),
        ("path,machine,split\na.wav,fan,train,x\n", r"c\.csv:2: the line has more or fewer fields"),
        ("path,machine,split\nb.wav,fan,train\n", r"c\.csv:2: .*b\.wav: cannot be opened: No such file"),
        ("path,machine,split,condition\na.wav,fan,train,anomaly\n", r"c\.csv:2: an anomaly among the training"),
        ("path,machine,split,condition\na.wav,fan,train,bad\n", "condition 'bad' is none of normal, anomaly"),
        ("path,machine,split\na.wav,fan,test\n", "no training clips of fan"),
        ("path,machine,split\na.wav,fan,train\na.wav,fan,train\n", "two clips with one id 'fan-train-a'"),
        ("path,machine,split\na.wav,a/b,train\n", "'a/b-train-a': names of machines.*'/'"),
        ("path,machine,split\n", "no recordings"),
        ("", "column 'path' is missing"),
        (
            "path,machine,split,condition\na.wav,fan,train,\na.wav,fan,test,normal\nsub/b.wav,fan,test,\n",
            "the condition of 1 of 2 test clips is unknown",
        ),
    ],
)
def test_csv_mistakes(tmp_path, text, message):
    write_clip(tmp_path / "a.wav")
    write_clip(tmp_path / "sub" / "b.wav")
    (tmp_path / "c.csv").write_text(text)
    dataset = write_dataset(tmp_path / "d.yaml", name_style="free", sets={"dev": {"path": "."}}, ground_truth=None)
    with pytest.raises(ValueError, match=message):
        prepare_data.main(
            ["--dataset", str(dataset), "--corpus", str(tmp_path / "c.csv"), "--data", str(tmp_path / "o")]
        )
    assert not (tmp_path / "o").exists()


def test_a_run_that_breaks_while_writing_is_never_taken_for_whole(tmp_path, corpus, monkeypatch):
    data = prepare(tmp_path)
    whole = snapshot(data)
    monkeypatch.setattr(prepare_module.manifest, "write_ref", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(tmp_path, "--force", "true")
    with pytest.raises(ValueError, match="run stage 1"):
        load_dataset(data)
    monkeypatch.undo()
    prepare(tmp_path)
    assert snapshot(data) == whole


def test_two_runs_write_the_same_bytes(tmp_path, corpus):
    first = snapshot(prepare(tmp_path))
    assert snapshot(prepare(tmp_path, "--force", "true")) == first
    assert json.loads(first[".done"])["name"] == "tiny"


def test_real_recordings_of_motors(tmp_path, test_data):
    dataset = write_dataset(tmp_path / "d.yaml", name_style="free", sets={"dev": {"path": "."}}, ground_truth=None)
    corpus = test_data / "data/real/bldc/dev_data"
    prepare_data.main(["--dataset", str(dataset), "--corpus", str(corpus), "--data", str(tmp_path / "data")])
    train, ref = manifest_of(tmp_path / "data", "dev_train"), read_ref(tmp_path / "data/dev_test/ref.tsv")
    assert len(train) + len(ref) == len(list(corpus.rglob("*.flac"))) == 86
    assert {row["domain"] for row in train.values()} == {"source", "target"} == {domain for _, domain in ref.values()}


def test_real_recordings_of_2020_lack_training_clips(tmp_path, test_data):
    options = {"name_style": "dcase2020", "protocol": "dcase2020", "ground_truth": None}
    dataset = write_dataset(tmp_path / "d.yaml", **options)
    arguments = ["--dataset", str(dataset), "--corpus", str(test_data / "data/real/dcase2020")]
    arguments += ["--data", str(tmp_path / "data")]
    with pytest.raises(ValueError, match="no training clips of ToyCar, ToyConveyor, fan, pump, valve .*--machines"):
        prepare_data.main(arguments)
    assert not (tmp_path / "data").exists()
    prepare_data.main([*arguments, "--machines", "slider"])
    assert len(manifest_of(tmp_path / "data", "dev_train")) == 75
    assert {row["section"] for row in manifest_of(tmp_path / "data", "dev_test").values()} == {"00", "02", "04", "06"}


def test_many_clips_take_little_time_and_memory(tmp_path):
    stub = write_clip(tmp_path / "stub.wav", 0.001)
    for machine in ("fan", "pump", "slider", "valve", "ToyCar"):
        for split in ("train", "test"):
            folder = tmp_path / "corpus" / "dev_data" / machine / split
            folder.mkdir(parents=True)
            for number in range(542):
                os.link(stub, folder / f"normal_id_{number % 7:02d}_{number:08d}.wav")
    dataset = write_dataset(tmp_path / "d.yaml", name_style="dcase2020", protocol="dcase2020", ground_truth=None)
    code = (
        "import re, sys, time; from asdkit.bin.prepare_data import main; main(sys.argv[1:]);"
        "print(time.process_time(), re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    arguments = ["--dataset", dataset, "--corpus", tmp_path / "corpus", "--data", tmp_path / "data"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, kilobytes = map(float, done.stdout.splitlines()[-1].split())
    # A tenth of the largest corpus (54,254 clips), which has to take less than a minute and 1 GiB.
    assert seconds < 6 and kilobytes < 400_000


def test_the_program_reports_one_line_and_fails(tmp_path, corpus):
    dataset = write_dataset(tmp_path / "d.yaml")
    arguments = ["--dataset", dataset, "--data", tmp_path / "data", "--corpus"]
    done = program("prepare_data", *arguments, tmp_path / "nowhere")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"error: no corpus: .*nowhere does not exist\..*--corpus\n", done.stderr)
    assert program("prepare_data", *arguments, corpus).returncode == 0
    assert program("prepare_data", *arguments, corpus, "--chanel", "0").returncode == 2
