"""Several years' training clips as one corpus: copies are found by content, test clips stay out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_years_e2e import without_counts
from year_corpora import write_year

from asdkit.bin import join_years, prepare_data
from asdkit.corpus.description import load_dataset
from asdkit.corpus.manifest import digest, read_manifest, write_manifest
from asdkit.corpus.years import COPIES, COPIES_COLUMNS
from asdkit.data.lists import assign_labels
from asdkit.utils.files import read_table

YEARS = [str(year) for year in range(2020, 2027)]
FAN = {  # a clip to train on of each year
    "2020": "dev_data/fan/train/normal_id_00_00000000.wav",
    "2021": "dev_data/fan/train/section_00_source_train_normal_0000_strength_1_ambient.wav",
    "2022": "dev_data/fan/train/section_00_source_train_normal_0000_m-n_W.wav",
    "2024": "dev_data/gearbox/train/section_00_source_train_normal_0001_noAttribute.wav",
    "2025": "dev_data/fan/train/section_00_source_train_normal_0000_car_B1_spd_1_mic_1.wav",
}


def written(folder: Path, years: list[str]) -> Path:
    """The corpora of these years below folder/corpus."""
    for year in years:
        write_year(folder / "corpus" / year, int(year), per_cell=1, own_sounds=True)
    return folder / "corpus"


def plant(corpus: Path, source: str, target: str) -> None:
    """Let one clip of a corpus have the sound of another."""
    assert (corpus / source).is_file() and (corpus / target).is_file(), (source, target)
    shutil.copy(corpus / source, corpus / target)


def some(corpus: Path, pattern: str, number: int = 0) -> str:
    """A clip that a pattern finds."""
    return str(sorted(corpus.glob(pattern))[number].relative_to(corpus))


def prepare(folder: Path, years: list[str], *options: str) -> None:
    """Stage 1 of each year."""
    for year in years:
        dataset = without_counts(folder / f"{year}.yaml", int(year))
        words = ["--dataset", str(dataset), "--corpus", str(folder / "corpus" / year)]
        prepare_data.main([*words, "--data", str(folder / "data" / year), *options])


def join(folder: Path, years: list[str], *options: str) -> Path:
    """Join them; returns the folder."""
    out = folder / "data/joined"
    join_years.main(["--data", str(folder / "data"), "--years", *years, "--out", str(out), *options])
    return out


def copies(out: Path) -> list[dict[str, str]]:
    return read_table(out / COPIES, COPIES_COLUMNS)


def by_group(out: Path) -> set[tuple[tuple[str, str], ...]]:
    """(year, fate) of the clips of each group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for row in copies(out):
        groups.setdefault(row["group"], []).append((row["year"], row["fate"]))
    return {tuple(group) for group in groups.values()}


def test_all_seven_years_with_planted_copies(tmp_path, caplog, capsys):
    """Copies across years, in flac, in a channel of two, in one year, in a test set: all are found, none is kept."""
    caplog.set_level("INFO")
    corpus = written(tmp_path, YEARS)
    plant(corpus, f"2020/{FAN['2020']}", f"2021/{FAN['2021']}")
    plant(corpus, f"2020/{FAN['2020']}", f"2022/{FAN['2022']}")
    plant(corpus, f"2024/{FAN['2024']}", f"2025/{FAN['2025']}")  # that of 2024 tells no attribute
    # The near microphone of 2026 has the sound of a clip of 2023, which itself is a flac now.
    near, rate = soundfile.read(corpus / "2023" / some(corpus / "2023", "dev_data/fan/train/*"), dtype="int16")
    stereo = corpus / "2026" / some(corpus / "2026", "dev_data/fan/train/*")
    both = np.stack([near, soundfile.read(stereo, dtype="int16")[0][:, 1]], axis=1)
    soundfile.write(stereo, both, rate, subtype="PCM_16")
    mono = corpus / "2023" / some(corpus / "2023", "dev_data/fan/train/*")
    mono.unlink()
    soundfile.write(mono.with_suffix(".flac"), near, rate, subtype="PCM_16")
    # Test clips of 2021 (a labelled anomaly) and of 2024 (anonymous), and one of 2022 in its own training.
    anomaly = some(corpus / "2021", "dev_data/pump/source_test/*anomaly*")
    plant(corpus, f"2021/{anomaly}", f"2023/{some(corpus / '2023', 'dev_data/bearing/train/*')}")
    hidden = some(corpus / "2024", "eval_data/Scanner/test/*")
    plant(corpus, f"2024/{hidden}", f"2026/{some(corpus / '2026', 'eval_data/Sander/train/*')}")
    own = some(corpus / "2022", "eval_data/valve/train/*")
    plant(corpus, f"2022/{some(corpus / '2022', 'eval_data/valve/test/*')}", f"2022/{own}")
    stereo_test = some(corpus / "2026", "eval_data/ToyDrone/test/*")
    sound, _ = soundfile.read(corpus / "2026" / stereo_test, dtype="int16")
    mono_train = corpus / "2025" / some(corpus / "2025", "eval_data/ToyPet/train/*")
    soundfile.write(mono_train, sound[:, 0], rate, subtype="PCM_16")
    prepare(tmp_path, YEARS)
    with pytest.raises(
        ValueError, match=r"^4 test clips lie in training too.*2021 .*anomaly.*--overlap drop.*these 4 t"
    ):
        join(tmp_path, YEARS)
    assert not (tmp_path / "data/joined").exists()
    capsys.readouterr()
    out = join(tmp_path, YEARS, "--overlap", "drop")
    kept, gone, heard, test = "kept", "left out", "left out: a test clip", "test"
    assert by_group(out) == {
        (("2020", gone), ("2021", kept), ("2022", gone)),  # names of 2020 tell no attribute
        (("2024", gone), ("2025", kept)),
        (("2023", kept), ("2026", gone)),
        (("2021", test), ("2023", heard)),
        (("2024", test), ("2026", heard)),
        (("2022", heard), ("2022", test)),
        (("2025", heard), ("2026", test)),
    }
    rows = [row for name in ("dev_train", "eval_train") for row in read_manifest(out / name / "manifest.tsv")]
    alone = sum(len(read_manifest(path)) for path in (tmp_path / "data").glob("20*/*_train/manifest.tsv"))
    assert len(rows) == alone - 4 - 4 and len({row["utt"] for row in rows}) == len(rows)
    tests = {r["digest"] for p in (tmp_path / "data").glob("20*/*_test/manifest.tsv") for r in read_manifest(p)}
    assert not tests & {row["digest"] for row in rows}
    dataset = load_dataset(out)
    assert dataset.years == YEARS and dataset.channel == 0 and dataset.reader().length(stereo) == len(near)
    assert all(Path(dataset.root, row["wav"]).is_file() for row in rows)
    assert not list(out.glob("*_test"))
    told = capsys.readouterr().out.splitlines()
    assert told[2].split() == ["|", "2020", "|", "81", "|", "1", "|", "0", "|"]
    assert "1 recordings lie in the training of 2020 and of 2021" in caplog.text
    assert "4 training clips left out as copies, 4 as test clips of a year" in caplog.text
    noise = read_table(out / "supplemental.tsv", ("wav", "machine", "part", "kind"))
    assert len(noise) == 30 and all(Path(dataset.root, row["wav"]).is_file() for row in noise)
    classes, labels = assign_labels(rows, "year+machine+section")
    assert "2021/fan/00" in classes and "2022/fan/00" in classes and len(labels) == len(rows)
    with pytest.raises(ValueError, match="which tells no years"):
        assign_labels(read_manifest(tmp_path / "data/2021/dev_train/manifest.tsv"), "year+machine+section")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """2021 and 2023, the first clip of fan the same; stage 1 has been run."""
    folder = tmp_path_factory.mktemp("two")
    corpus = written(folder, ["2021", "2023"])
    plant(corpus, f"2021/{FAN['2021']}", f"2023/{some(corpus / '2023', 'dev_data/fan/train/*')}")
    prepare(folder, ["2021", "2023"])
    return folder


def test_again_and_with_other_years(two, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = Path(shutil.copytree(two, tmp_path / "moved"))
    out = join(folder, ["2021", "2023"])
    before = read_manifest(out / "dev_train/manifest.tsv")
    join(folder, ["2023", "2021"])
    assert "already done" in caplog.text and read_manifest(out / "dev_train/manifest.tsv") == before
    with pytest.raises(ValueError, match=r"made with years = '2021 2023', now '2021'.*--stage 1 --force true"):
        join(folder, ["2021"])
    # A year that is scored, but not trained on, adds nothing and is watched.
    alone = join(folder, ["2021"], "--scored", "2023", "--force", "true")
    assert {row["year"] for row in read_manifest(alone / "dev_train/manifest.tsv")} == {"2021"}
    assert by_group(alone) == set()
    rows = read_manifest(alone / "dev_train/manifest.tsv")
    assert digest(rows) != digest([{k: v for k, v in row.items() if k != "year"} for row in rows])


def test_a_test_clip_of_a_year_that_is_only_scored(two, tmp_path):
    folder = Path(shutil.copytree(two, tmp_path / "moved"))
    path = folder / "data/2023/dev_test/manifest.tsv"
    rows = read_manifest(path)
    rows[0]["digest"] = read_manifest(folder / "data/2021/dev_train/manifest.tsv")[0]["digest"]
    write_manifest(path, rows)
    join(folder, ["2021"])  # which does not know of it
    with pytest.raises(ValueError, match="1 test clips lie in training too"):
        join(folder, ["2021"], "--scored", "2023", "--force", "true")
    join(folder, ["2021"], "--scored", "2023", "--overlap", "drop", "--force", "true")
    assert by_group(folder / "data/joined") == {(("2021", "left out: a test clip"), ("2023", "test"))}


def test_content_that_was_not_read_is_refused(two, tmp_path):
    folder = tmp_path
    shutil.copytree(two / "corpus/2021", folder / "corpus/2021")
    prepare(folder, ["2021"], "--check-content", "false")
    with pytest.raises(ValueError, match="content of .* recordings.* not known.*run stage 1 of that year again"):
        join(folder, ["2021"])
    with pytest.raises(ValueError, match="run stage 1"):
        join(folder, ["2021", "2024"])
