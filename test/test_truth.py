"""Conditions and domains of test clips from the organisers' files, in the form of each year."""

import csv
import os
from pathlib import Path

import pytest
from corpora import manifest_of, prepare, write_clip, write_corpus, write_truth

from asdkit.corpus.manifest import read_ref


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def test_truth_that_comes_later_is_taken_up_and_is_not_lost(tmp_path, corpus, caplog):
    truth = corpus / "ground_truth"
    truth.rename(corpus / "later")
    caplog.set_level("INFO")
    data = prepare(tmp_path)
    assert not (data / "eval_test" / "ref.tsv").exists() and (data / "dev_test" / "ref.tsv").exists()
    assert "eval_test: conditions unknown" in caplog.text
    (corpus / "later").rename(truth)
    prepare(tmp_path)
    assert "already done; the truth is new" in caplog.text
    assert len(read_ref(data / "eval_test" / "ref.tsv")) == 8
    truth.rename(corpus / "later")
    with pytest.raises(ValueError, match="eval_test/ref.tsv: the truth of eval_test is not there any more.*--force"):
        prepare(tmp_path)


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


def test_truth_helper_writes_what_the_organisers_write(tmp_path):
    write_truth(tmp_path, "fan", [("section_00_0000.wav", 1, 0)], end="\r\n")
    path = tmp_path / "ground_truth_domain/ground_truth_fan_section_00_test.csv"
    assert path.read_bytes() == b"section_00_0000.wav,0\r\n"
