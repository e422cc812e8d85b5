import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import ROOT, prepare, program, snapshot, write_clip, write_corpus, write_dataset, write_truth

from asdkit.bin import prepare_data
from asdkit.data import prepare as prepare_module
from asdkit.data.description import load_dataset, present_sets
from asdkit.data.manifest import read_manifest, read_ref


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def manifest_of(data, name):
    return {row["utt"]: row for row in read_manifest(data / name / "manifest.tsv")}


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
    with pytest.raises(ValueError, match="made with clips = "):
        prepare(tmp_path)
    assert snapshot(data) == before
    prepare(tmp_path, "--force", "true")
    assert len(manifest_of(data, "dev_train")) == 13


def test_truth_that_comes_later_counts_as_a_change(tmp_path, corpus, caplog):
    truth = corpus / "ground_truth"
    truth.rename(corpus / "later")
    caplog.set_level("INFO")
    data = prepare(tmp_path)
    assert not (data / "eval_test" / "ref.tsv").exists() and (data / "dev_test" / "ref.tsv").exists()
    assert "eval_test: conditions unknown" in caplog.text
    (corpus / "later").rename(truth)
    with pytest.raises(ValueError, match="made with truth = '-'"):
        prepare(tmp_path)
    prepare(tmp_path, "--force", "true")
    assert len(read_ref(data / "eval_test" / "ref.tsv")) == 8


def rewrite(path: Path, change) -> None:
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\r\n" for line in change(lines)), newline="")


def test_truth_is_joined_by_name_whatever_its_order_and_line_ends(tmp_path, corpus):
    expected = read_ref(prepare(tmp_path) / "eval_test" / "ref.tsv")
    for path in (corpus / "ground_truth").glob("*/*.csv"):
        rewrite(path, lambda lines: [*lines[1:], lines[0]])
    assert read_ref(prepare(tmp_path, "--force", "true") / "eval_test" / "ref.tsv") == expected


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("data", lambda lines: lines[:-1], "no row for .*section_00_0007.wav"),
        ("domain", lambda lines: lines[1:], "no row for .*section_00_0000.wav"),
        ("data", lambda lines: [*lines, lines[3]], "9: a second row for 'section_00_0003.wav'"),
        ("data", lambda lines: [*lines, "section_00_0999.wav,0"], "a row for 'section_00_0999', but no such test clip"),
        ("domain", lambda lines: [lines[0].replace(",0", ",source"), *lines[1:]], "1: expected 'file name,0|1'"),
        ("data", lambda lines: ["file_name,label", *lines], "1: expected 'file name,0|1'"),
    ],
)
def test_truth_that_does_not_fit_is_refused(tmp_path, corpus, kind, change, message):
    rewrite(corpus / f"ground_truth/ground_truth_{kind}/ground_truth_pump_section_00_test.csv", change)
    with pytest.raises(ValueError, match=f"ground_truth_{kind}/ground_truth_pump.*{message}".replace("|", r"\|")):
        prepare(tmp_path)
    assert not (tmp_path / "data").exists()


def test_truth_of_one_machine_missing_is_refused(tmp_path, corpus):
    (corpus / "ground_truth/ground_truth_domain/ground_truth_pump_section_00_test.csv").unlink()
    with pytest.raises(ValueError, match="cannot read .*ground_truth_domain/ground_truth_pump"):
        prepare(tmp_path)


def test_2021_test_folders_make_one_set_and_domains_come_from_names(tmp_path):
    base = tmp_path / "corpus" / "eval_data" / "fan"
    write_clip(base / "train/section_03_source_train_normal_0000_strength_1_ambient.wav")
    write_clip(base / "train/section_03_target_train_normal_0000_strength_2_None.wav")
    for domain in ("source", "target"):
        names = [f"section_03_{domain}_test_{i:04d}.wav" for i in range(2)]
        for name in names:
            write_clip(base / f"{domain}_test" / name)
        path = tmp_path / f"corpus/truth/ground_truth_data/ground_truth_fan_section_03_{domain}_test.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{names[1]},1\n{names[0]},0\n")
    data = prepare(
        tmp_path,
        name_style="dcase2021",
        protocol="dcase2021",
        sets={"eval": {"path": "eval_data"}},
        ground_truth="truth",
    )
    assert {row["domain"] for row in manifest_of(data, "eval_test").values()} == {"-"}
    assert read_ref(data / "eval_test" / "ref.tsv") == {
        "fan-test-section_03_source_test_0000": ("normal", "source"),
        "fan-test-section_03_source_test_0001": ("anomaly", "source"),
        "fan-test-section_03_target_test_0000": ("normal", "target"),
        "fan-test-section_03_target_test_0001": ("anomaly", "target"),
    }


def test_2020_list_of_names(tmp_path):
    base = tmp_path / "corpus" / "eval_data"
    for machine in ("fan", "ToyCar"):
        write_clip(base / machine / "train/normal_id_05_00000000.wav")
        for i in range(2):
            write_clip(base / machine / f"test/id_05_{i:08d}.wav")
    rows = "fan\nid_05_00000000.wav,normal_id_05_00000098.wav,0\nid_05_00000001.wav,anomaly_id_05_00000003.wav,1\n"
    rows += "ToyCar\nid_05_00000001.wav,normal_id_05_00000000.wav,0\nid_05_00000000.wav,anomaly_id_05_00000007.wav,1\n"
    truth = tmp_path / "corpus" / "eval_data_list.csv"
    truth.write_text(rows)
    options = {"name_style": "dcase2020", "protocol": "dcase2020", "sets": {"eval": {"path": "eval_data"}}}
    data = prepare(tmp_path, **options, ground_truth="eval_data_list.csv")
    ref = read_ref(data / "eval_test" / "ref.tsv")
    assert ref["ToyCar-test-id_05_00000000"] == ("anomaly", "source")
    assert ref["fan-test-id_05_00000000"] == ("normal", "source")
    assert {row["section"] for row in manifest_of(data, "eval_train").values()} == {"05"}
    truth.write_text(rows.replace("03.wav,1", "03.wav,0"))
    with pytest.raises(ValueError, match="anomaly_id_05_00000003.wav: the name and its label"):
        prepare(tmp_path, "--force", "true", **options, ground_truth="eval_data_list.csv")


def test_2025_list_of_names_without_labels(tmp_path):
    base = tmp_path / "corpus" / "eval_data" / "ToyPet"
    write_clip(base / "train/section_00_source_train_normal_0000_noAttribute.wav")
    for i in range(2):
        write_clip(base / f"test/section_00_{i:04d}.wav")
    rows = ["ToyPet", "section_00_0001.wav,section_00_source_test_normal_0012_noAttribute.wav"]
    rows.append("section_00_0000.wav,section_00_target_test_anomaly_0003_spd_1.wav")
    (tmp_path / "corpus" / "list.csv").write_text("\r\n".join(rows), newline="")
    data = prepare(tmp_path, sets={"eval": {"path": "eval_data"}}, ground_truth="list.csv")
    assert read_ref(data / "eval_test" / "ref.tsv") == {
        "ToyPet-test-section_00_0000": ("anomaly", "target"),
        "ToyPet-test-section_00_0001": ("normal", "source"),
    }
    assert {row["attr"] for row in manifest_of(data, "eval_test").values()} == {"-"}


def test_official_truth_of_2022(tmp_path, test_data):
    golden = test_data / "golden/metrics/dcase2022"
    corpus = tmp_path / "corpus"
    expected = {}
    for path in sorted((golden / "ground_truth_data").glob("ground_truth_fan_*.csv")):
        section = path.stem.split("_")[-2]
        write_clip(corpus / f"eval_data/fan/train/section_{section}_source_train_normal_0000_m-n_W.wav", 0.01)
        domains = dict(csv.reader((golden / "ground_truth_domain" / path.name).read_text().splitlines()))
        stub = write_clip(tmp_path / "stub.wav")
        for name, label in csv.reader(path.read_text().splitlines()):
            (corpus / "eval_data/fan/test").mkdir(exist_ok=True)
            os.link(stub, corpus / "eval_data/fan/test" / name)
            expected["fan-test-" + name[:-4]] = (
                "anomaly" if label == "1" else "normal",
                ("source", "target")[int(domains[name])],
            )
    (corpus / "ground_truth").symlink_to(golden)
    data = prepare(tmp_path, sets={"eval": {"path": "eval_data"}})
    assert len(expected) == 600 and read_ref(data / "eval_test" / "ref.tsv") == expected


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
    assert re.search(r"ignored: 2 entries of .*fan that are no wav or flac, such as train/", caplog.text)
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


def test_truth_helper_writes_what_the_organisers_write(tmp_path):
    write_truth(tmp_path, "fan", [("section_00_0000.wav", 1, 0)], end="\r\n")
    path = tmp_path / "ground_truth_domain/ground_truth_fan_section_00_test.csv"
    assert path.read_bytes() == b"section_00_0000.wav,0\r\n"
