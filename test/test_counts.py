"""Numbers of clips that a dataset description promises, and parts of a corpus: some machines, some sections."""

import os
import re
import shutil
from pathlib import Path

import pytest
from corpora import prepare, write_clip, write_corpus, write_dataset
from year_corpora import description, write_year

from asdkit.bin import prepare_data
from asdkit.corpus.description import load_dataset, load_description
from asdkit.corpus.manifest import read_manifest, read_ref

COUNTS = {"sections": 1, "train": {"source": 4, "target": 2}, "test": 8}


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def test_whole_corpus_and_one_without_test_clips(tmp_path, corpus):
    assert load_dataset(prepare(tmp_path, counts=COUNTS)).counts.train.source == 4
    shutil.rmtree(corpus / "eval_data/raw/pump/test")  # not out yet
    prepare(tmp_path, "--force", "true", counts=COUNTS)


def test_a_missing_clip_is_an_error_that_says_where(tmp_path, corpus):
    (corpus / "dev_data/raw/fan/train/section_00_target_train_normal_0001_spd_1.wav").unlink()
    write_clip(corpus / "dev_data/raw/valve/test/section_00_source_test_normal_0077_spd_1.wav")
    message = (
        f"{corpus}: fan, section 00, dev train, target: found 1 clips, expected 2 (and 1 more such faults). "
        "Unpack the machine's archives again, or, for recordings that are meant to differ, set 'counts: null' "
        "in the dataset description"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        prepare(tmp_path, counts=COUNTS)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValueError, match="valve, section 00, dev test: found 9 clips, expected 8. Unpack"):
        prepare(tmp_path, "--machines", "valve,pump", counts=COUNTS)
    prepare(tmp_path, "--machines", "pump", counts=COUNTS)
    prepare(tmp_path, "--force", "true", counts=None)


def test_a_section_too_many_and_sections_alone(tmp_path, corpus, caplog):
    for split in ("train", "test"):
        for clip in sorted((corpus / f"dev_data/raw/fan/{split}").iterdir()):
            os.link(clip, clip.with_name(clip.name.replace("section_00", "section_07")))
    with pytest.raises(ValueError, match="fan, dev set: found 2 sections, expected 1. Unpack"):
        prepare(tmp_path, counts=COUNTS)
    caplog.set_level("INFO")
    data = prepare(tmp_path, "--sections", "07", counts=COUNTS | {"sections": 3})
    assert {row["section"] for row in read_manifest(data / "dev_train/manifest.tsv")} == {"07"}
    assert "eval set left out: it has no clips of the sections 07" in caplog.text
    assert load_dataset(data).sets.eval is None
    with pytest.raises(ValueError, match="no section '1'. Found: 00, 07"):
        prepare(tmp_path, "--sections", "00,1")


def test_sections_without_training_clips_are_named(tmp_path, corpus, caplog):
    for number in (3, 5):
        write_clip(corpus / f"dev_data/raw/fan/test/section_{number:02d}_source_test_normal_0000_spd_1.wav")
    caplog.set_level("INFO")
    prepare(tmp_path)
    assert caplog.text.count("no training clips of") == 1
    assert "no training clips of fan, sections 03, 05 in the dev set" in caplog.text and "--sections" in caplog.text


def test_ground_truth_lists_of_other_sections_do_not_matter(tmp_path):
    truth = write_year(tmp_path / "corpus", 2020)["eval_test"]
    words = ["--dataset", description(2020), "--corpus", tmp_path / "corpus", "--data", tmp_path / "data"]
    prepare_data.main([*map(str, words), "--machines", "fan,pump", "--sections", "01,03"])
    chosen = {utt: told for utt, told in truth.items() if re.match(r"(fan|pump)-test-id_0[13]_", utt)}
    assert len(chosen) == 16 and read_ref(tmp_path / "data/eval_test/ref.tsv") == chosen


@pytest.mark.parametrize("year", range(2020, 2027))
def test_counts_of_the_years(year):
    counts = load_description(description(year)).counts
    if year < 2022:  # irregular
        assert counts is None
    else:
        assert (counts.train.source, counts.train.target, counts.test) == (990, 10, 200)
        assert counts.sections == (3 if year == 2022 else 1)


def test_one_machine_of_a_year_is_checked(tmp_path):
    stub = write_clip(tmp_path / "stub.wav", 0.001)
    fan = tmp_path / "corpus/dev_data/fan"
    names = [f"train/section_00_source_train_normal_{i:04d}_n_A.wav" for i in range(1, 991)]
    names += [f"train/section_00_target_train_normal_{i:04d}_n_X.wav" for i in range(1, 11)]
    for domain in ("source", "target"):
        for condition in ("normal", "anomaly"):
            names += [f"test/section_00_{domain}_test_{condition}_{i:04d}_n_A.wav" for i in range(1, 51)]
    for name in names:
        (fan / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(stub, fan / name)
    words = ["--dataset", description(2024), "--corpus", tmp_path / "corpus", "--data", tmp_path / "data"]
    words = [*map(str, words), "--machines", "fan"]
    prepare_data.main(words)
    (fan / names[0]).unlink()
    with pytest.raises(ValueError, match="fan, section 00, dev train, source: found 989 clips, expected 990. Unpack"):
        prepare_data.main([*words, "--force", "true"])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": {"source": 4}}, "counts.train.target: Field required"),
        ({"tests": 4}, "unknown key 'counts.tests'. Did you mean 'test'"),
        ({"test": -1}, "counts.test"),
    ],
)
def test_mistakes(tmp_path: Path, counts: dict, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_description(write_dataset(tmp_path / "d.yaml", counts=counts))
