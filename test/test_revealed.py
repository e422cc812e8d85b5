"""Attributes that names hide, told after the challenge: used when asked for, for training clips alone."""

import json
from pathlib import Path

import pytest
from corpora import lists, manifest_of, prepare, write_clip, write_corpus
from experiments import Experiment
from year_corpora import HIDDEN, description, write_year

from asdkit.bin import evaluate, prepare_data, report
from asdkit.corpus.description import load_dataset
from asdkit.data.lists import read_classes, read_labels
from asdkit.utils.files import read_json

HEADER = "source_file_name,target_file_name"
FILE = "dev_data/valve/attributes_00_train_correspondence.csv"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """fan and pump with attributes in their names, valve without."""
    return write_corpus(tmp_path / "corpus")


def write_told(folder: Path, clips: list[Path]) -> list[str]:
    """The organisers' file of some training clips: rows in no order, other numbers, CR LF; returns its lines."""
    lines = [HEADER]
    for number, clip in enumerate(sorted(clips, reverse=True)):
        head = clip.name.rpartition("_normal_")[0]
        lines.append(f"{head}_normal_{number:04d}_ac_0.{number % 2}.wav,{clip.name}")
    write_lines(folder / "attributes_00_train_correspondence.csv", lines)
    return lines


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\r\n" for line in lines), newline="")


@pytest.fixture
def told(tmp_path: Path, corpus: Path) -> Path:
    folder = tmp_path / "told later"
    write_told(folder / "dev_data/valve", list((corpus / "dev_data/raw/valve/train").iterdir()))
    return folder


def test_off_unless_asked_for(tmp_path: Path, told: Path) -> None:
    data = prepare(tmp_path)
    assert {row["attr"] for row in manifest_of(data, "dev_train").values() if row["machine"] == "valve"} == {"-"}
    assert load_dataset(data).revealed_attributes is None


def test_training_clips_have_them_and_test_clips_do_not(tmp_path: Path, told: Path, caplog) -> None:
    caplog.set_level("INFO")
    data = prepare(tmp_path, "--revealed-attributes", str(told))
    train = manifest_of(data, "dev_train")
    line = (told / FILE).read_text().splitlines()[2]
    source, _, target = line.partition(",")
    row = train[f"valve-train-{target.removesuffix('.wav')}"]
    assert row["attr"] == source.partition("_normal_")[2][5:].removesuffix(".wav") == "ac_0.1"
    assert {row["attr"] for row in train.values() if row["machine"] == "valve"} == {"ac_0.0", "ac_0.1"}
    assert {row["attr"] for row in train.values() if row["machine"] == "fan"} == {"spd_0", "spd_1"}
    for name in ("dev_test", "eval_test"):
        assert {(row["domain"], row["attr"]) for row in manifest_of(data, name).values()} == {("-", "-")}
    assert load_dataset(data).revealed_attributes == str(told)
    assert f"attributes of valve from {told}: told after the challenge" in caplog.text
    exp = lists(tmp_path, "encoder: {name: logmel}\ntrain: {steps: 0}\n")
    assert {"valve/00/ac_0.0", "valve/00/ac_0.1"} < set(read_classes(exp))
    assert all("-train-" in utt and attributed for utt, (_, attributed) in read_labels(exp).items())


def test_asked_twice_differently_is_refused_with_the_key(tmp_path: Path, told: Path) -> None:
    asked = ["--revealed-attributes", str(told)]
    data = prepare(tmp_path)
    with pytest.raises(ValueError, match="made with revealed_attributes = None, now '.*told later'.*--force true"):
        prepare(tmp_path, *asked)
    prepare(tmp_path, *asked, "--force", "true")
    prepare(tmp_path, *asked)
    with pytest.raises(ValueError, match="made with revealed_attributes = '.*told later', now None"):
        prepare(tmp_path)
    lines = (told / FILE).read_text().splitlines()
    write_lines(told / FILE, [HEADER, *lines[:0:-1]])
    with pytest.raises(ValueError, match="made with revealed = "):
        prepare(tmp_path, *asked)
    assert json.loads((data / ".done").read_text())["revealed_attributes"] == str(told)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "no row for .*valve/train/.*1 clips without a row.*fetch the file"),
        (lambda lines: [*lines, lines[1]], "8: a second row for 'section_00_target.*Fetch"),
        (lambda lines: [*lines, lines[1].replace("_noAttr", "9_noAttr")], "a row for '.*', but no such train clip"),
        (lambda lines: lines[1:], "1: expected the header 'source_file_name,target_file_name', got 'section"),
        (lambda lines: [*lines[:-1], "a.wav"], "7: expected name with attributes,released name, got 'a.wav'"),
        (lambda lines: [HEADER, *[",".join(line.split(",")[::-1]) for line in lines[1:]]], "no row for"),
        (lambda lines: [*lines[:-1], lines[-1].replace("source", "target", 1)], "domains, splits or conditions differ"),
        (lambda lines: [*lines[:-1], "x" + lines[-1]], "not a name of the style 'dcase2022'"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, told: Path, change, message: str) -> None:
    write_lines(told / FILE, change((told / FILE).read_text().splitlines()))
    with pytest.raises(ValueError, match=f"{FILE}.*{message}"):
        prepare(tmp_path, "--revealed-attributes", str(told))
    assert not (tmp_path / "data").exists()


def test_missing_files_and_nothing_to_reveal(tmp_path: Path, told: Path) -> None:
    with pytest.raises(ValueError, match=f"nowhere/{FILE} is missing, and names of valve .*--machines"):
        prepare(tmp_path, "--revealed-attributes", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no machine hides its attributes. Leave the option out"):
        prepare(tmp_path, "--machines", "fan,pump", "--revealed-attributes", str(told))


def test_a_description_cannot_ask_for_them(tmp_path: Path, told: Path) -> None:
    with pytest.raises(ValueError, match="unknown key 'revealed_attributes'"):
        prepare(tmp_path, revealed_attributes=str(told))


@pytest.mark.parametrize("year", [2024, 2025])
def test_hidden_machines_of_a_year(tmp_path: Path, year: int) -> None:
    """Every machine whose names hide attributes, in both sets, and no other."""
    corpus, data, told = tmp_path / "corpus", tmp_path / "data", tmp_path / "told"
    write_year(corpus, year)
    dataset = tmp_path / "dataset.yaml"
    lines = description(year).read_text().splitlines()
    dataset.write_text("\n".join("counts: null" if line.startswith("counts:") else line for line in lines))
    for folder in corpus.glob("*_data/*"):
        if folder.name in HIDDEN[year].split():
            write_told(told / folder.relative_to(corpus), list((folder / "train").iterdir()))
    words = ["--dataset", dataset, "--corpus", corpus, "--data", data, "--revealed-attributes", told]
    prepare_data.main([str(word) for word in words])
    rows = [row for name in ("dev_train", "eval_train") for row in manifest_of(data, name).values()]
    assert {row["machine"] for row in rows if row["attr"].startswith("ac_0.")} == set(HIDDEN[year].split())
    assert not [row for row in rows if row["attr"] == "-"]


def test_sections_have_files_of_their_own(tmp_path: Path) -> None:
    told, folder = tmp_path / "told", tmp_path / "corpus/dev_data/valve"
    for section in ("00", "01"):
        name = f"section_{section}_source_train_normal_0000"
        write_clip(folder / f"train/{name}_noAttribute.wav")
        row = f"{name}_at_{section}.wav,{name}_noAttribute.wav"
        write_lines(told / f"dev_data/valve/attributes_{section}_train_correspondence.csv", [HEADER, row])
    data = prepare(tmp_path, "--revealed-attributes", str(told), sets={"dev": {"path": "dev_data"}}, ground_truth=None)
    assert [row["attr"] for row in manifest_of(data, "dev_train").values()] == ["at_00", "at_01"]


def test_results_say_so(tmp_path: Path) -> None:
    experiment = Experiment(tmp_path)
    experiment.run_all()
    with open(experiment.data / "dataset.yaml", "a") as file:
        file.write("revealed_attributes: /told/later\n")
    with pytest.raises(ValueError, match="made with revealed_attributes = None, now '/told/later'"):
        experiment.run(evaluate)
    experiment.run(evaluate, "--force", "true")
    experiment.run(report)
    assert read_json(experiment.exp / "seed0/score/knn/results.json")["revealed_attributes"] == "/told/later"
    assert (experiment.exp / "RESULTS.md").read_text().startswith("# tag (revealed attributes)\n")
