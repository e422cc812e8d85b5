"""Stage 1 where things may not be what they seem: recordings exchanged unread, look-alike names, odd tables."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asdkit.bin import prepare_data
from asdkit.corpus import manifest
from asdkit.corpus.description import load_description
from asdkit.corpus.find import find
from asdkit.utils.names import look_alikes

DATASET = Path(__file__).parents[1] / "egs" / "custom" / "conf" / "dataset.yaml"
CLIPS = [("train", "normal_0"), ("train", "normal_1"), ("test", "normal_0"), ("test", "anomaly_0")]


def _record(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 3200), 16000)
    return path


def _corpus(folder: Path, machines: tuple[str, ...] = ("press",)) -> Path:
    for number, machine in enumerate(machines):
        for seed, (split, name) in enumerate(CLIPS):
            _record(folder / machine / split / f"{name}.wav", 10 * number + seed)
    return folder


def _stage_1(corpus: Path, data: Path, *options: str) -> str:
    """What markers of later stages hold of the test clips, after stage 1."""
    prepare_data.main(["--dataset", str(DATASET), "--corpus", str(corpus), "--data", str(data), *options])
    return manifest.digest(manifest.read_manifest(data / "dev_test" / "manifest.tsv"))


def test_recordings_exchanged_before_they_were_ever_read_are_not_taken_for_the_old_ones(tmp_path: Path) -> None:
    corpus, data = _corpus(tmp_path / "corpus"), tmp_path / "data"
    before = _stage_1(corpus, data, "--check-content", "false")
    _record(corpus / "press" / "test" / "normal_0.wav", 77)
    for _ in range(2):  # being refused changes nothing
        with pytest.raises(ValueError, match=r"press/test/normal_0\.wav is of the same size, but written after"):
            _stage_1(corpus, data)
    _stage_1(corpus, data, "--force", "true")
    assert before not in manifest.read_earlier(data / "dev_test")
    assert manifest.read_earlier(data / "dev_train"), "training clips were not touched"


def test_recordings_exchanged_and_still_not_read_are_told_and_found_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus, data = _corpus(tmp_path / "corpus"), tmp_path / "data"
    before = _stage_1(corpus, data, "--check-content", "false")
    assert "They are taken for the same" not in caplog.text
    _record(corpus / "press" / "test" / "normal_0.wav", 77)
    _stage_1(corpus, data, "--check-content", "false", "--force", "true")
    assert "press/test/normal_0.wav is of the same size, but written after" in caplog.text
    with pytest.raises(ValueError, match=r"press/test/normal_0\.wav is of the same size, but written after"):
        _stage_1(corpus, data)
    _stage_1(corpus, data, "--force", "true")
    assert before not in manifest.read_earlier(data / "dev_test")


def test_recordings_that_are_read_later_and_were_not_touched_go_on(tmp_path: Path) -> None:
    corpus, data = _corpus(tmp_path / "corpus"), tmp_path / "data"
    before = _stage_1(corpus, data, "--check-content", "false")
    assert _stage_1(corpus, data) != before
    assert before in manifest.read_earlier(data / "dev_test")


def test_an_unread_corpus_that_moves_goes_on_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_path / "data"
    before = _stage_1(_corpus(tmp_path / "old"), data, "--check-content", "false")
    _stage_1(_corpus(tmp_path / "new"), data)
    assert "the corpus has moved" in caplog.text
    assert before in manifest.read_earlier(data / "dev_test")


@pytest.mark.parametrize("other", ["pump\u200b", "Pump", "\uff50ump", "pu\u00admp"], ids=ascii)
def test_machines_that_look_alike_are_told(tmp_path: Path, other: str) -> None:
    corpus = _corpus(tmp_path, ("pump", other, "press"))
    told = [note for note in find(load_description(DATASET), corpus).notes if "look alike" in note]
    assert len(told) == 1 and ascii(other) in told[0] and "'pump'" in told[0] and "press" not in told[0]


def test_other_names_do_not_look_alike() -> None:
    assert look_alikes(["fan", "fan1", "fan_1", "fan-1", "press", "press"]) == []


def test_a_machine_with_one_training_clip_is_told(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, ("press", "pump"))
    (corpus / "pump" / "train" / "normal_1.wav").unlink()
    told = [note for note in find(load_description(DATASET), corpus).notes if "one training clip" in note]
    assert len(told) == 1 and "pump" in told[0] and "press" not in told[0]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ('"path","machine" ,"split"', r"list\.csv:1: ',' expected after"),
        ("path,machine,split,condition,condition", r"the column 'condition' is there twice"),
    ],
    ids=["quote", "twice"],
)
def test_an_odd_header_of_a_table_is_an_error_that_names_it(tmp_path: Path, header: str, told: str) -> None:
    _corpus(tmp_path)
    rest = ",normal,anomaly" if "condition" in header else ""
    (tmp_path / "list.csv").write_text(f"{header}\npress/train/normal_0.wav,press,train{rest}\n")
    with pytest.raises(ValueError, match=told):
        find(load_description(DATASET), tmp_path / "list.csv")
