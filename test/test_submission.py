"""Stage 5's files for the challenge, and the check of such files."""

import kaldiio
import numpy as np
import pytest
from experiments import DIM, Experiment, write_dataset

from asdkit.bin import check_submission, score
from asdkit.corpus.manifest import read_manifest, write_manifest
from asdkit.report.submission import contents, faults, write_submission
from asdkit.utils.files import read_scp, read_table, write_text


def name_of(style, section, i):
    return {
        "dcase2020": f"id_{section}_{i:08d}.wav",
        "dcase2021": f"section_{section}_{('source', 'target')[i % 2]}_test_{i:04d}.wav",
        "dcase2022": f"section_{section}_{i:04d}.wav",
        "free": f"{i}.flac",
    }[style]


def scored(root, style, *settings):
    """An experiment of two machines with two sections each, in eval alone, after stage 5."""
    experiment = Experiment(root, sets=("eval",))
    write_dataset(experiment.data, style)
    write_text(experiment.exp / "config.yaml", "score:\n  k: 1\n" + "".join(f"  {line}\n" for line in settings))
    for name in ("eval_train", "eval_test"):
        path = experiment.data / name / "manifest.tsv"
        rows = read_manifest(path)
        for row in rows:
            i = int(row["utt"][-2:])
            row["section"] = f"{1 + i // 20:02d}"
            # the order of names is not that of ids
            row["wav"] = f"raw/{row['machine']}/test/{name_of(style, row['section'], 99 - i)}"
        write_manifest(path, rows)
    experiment.run(score)
    return experiment


def check(experiment, folder=None):
    folder = folder or experiment.exp / "seed0/score/knn/submission/eval_test"
    check_submission.main(["--data", str(experiment.data), "--submission", str(folder)])


SECTIONS = [f"{machine}eval_{{}}_{section}" for machine in ("fan", "pump") for section in ("01", "02")]
FILES = {
    "dcase2020": [f"anomaly_score_{name.format('id')}" for name in SECTIONS],
    "dcase2021": [
        f"{kind}_{name.format('section')}_{domain}_test"
        for kind in ("anomaly_score", "decision_result")
        for name in SECTIONS
        for domain in ("source", "target")
    ],
    "dcase2022": [
        f"{kind}_{name.format('section')}_test" for kind in ("anomaly_score", "decision_result") for name in SECTIONS
    ],
}


@pytest.mark.parametrize("style", FILES)
@pytest.mark.parametrize("per_section", ["true", "false"])
def test_official_files(tmp_path, style, per_section, capsys):
    experiment = scored(tmp_path, style, f"per_section: {per_section}")
    folder = experiment.exp / "seed0/score/knn/submission/eval_test"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["eval_test"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.csv" for name in FILES[style])
    manifest = read_manifest(experiment.data / "eval_test/manifest.tsv")
    rows = {(row["machine"], row["wav"].split("/")[-1]): row for row in manifest}
    scores = read_scp(experiment.exp / "seed0/score/knn/eval_test.tsv")
    limits = {
        (row["machine"], row["section"]): float(row["threshold"])
        for row in read_table(experiment.exp / "seed0/score/knn/threshold.tsv", ("machine", "section", "threshold"))
    }
    assert len(limits) == (4 if per_section == "true" else 2)
    found = {"anomaly_score": {}, "decision_result": {}}
    for path in folder.iterdir():
        first, second, machine, _, section = path.stem.split("_")[:5]
        lines = path.read_bytes().decode().removesuffix("\n").split("\n")
        assert lines == sorted(lines) and len(lines) == (10 if style == "dcase2021" else 20)
        for name, value in (line.split(",") for line in lines):
            row = rows[machine, name]
            assert row["section"] == section and (style != "dcase2021" or name.split("_")[2] == path.stem.split("_")[5])
            found[f"{first}_{second}"][row["utt"]] = value
    assert found["anomaly_score"] == scores
    if style != "dcase2020":
        for row in rows.values():
            limit = limits[row["machine"], row["section"] if per_section == "true" else "-"]
            assert found["decision_result"][row["utt"]] == str(int(float(scores[row["utt"]]) > limit))
        assert set(found["decision_result"].values()) == {"0", "1"}
    check(experiment)
    assert f"complete, 80 clips of eval_test in {8 if style == 'dcase2021' else 4} files" in capsys.readouterr().out


def test_names_without_a_style_have_thresholds_alone(tmp_path):
    experiment = scored(tmp_path, "free")
    assert not (experiment.exp / "seed0/score/knn/submission").exists()
    table = read_table(experiment.exp / "seed0/score/knn/threshold.tsv", ("machine", "section", "threshold"))
    assert [(row["machine"], row["section"]) for row in table] == [("faneval", "-"), ("pumpeval", "-")]
    assert all(0 < float(row["threshold"]) < 2 for row in table)
    with pytest.raises(ValueError, match="style 'free' have no official submission"):
        check(experiment)


def test_thresholds_need_no_test_clip(tmp_path):
    """Other test clips, the same thresholds; and a higher percentile lets more clips pass."""
    experiment = scored(tmp_path, "dcase2022")
    path = experiment.exp / "seed0/score/knn/threshold.tsv"
    before = path.read_bytes()
    experiment.embed("eval_test", 0, 99)
    experiment.run(score, "--force", "true")
    assert path.read_bytes() == before
    text = (experiment.exp / "config.yaml").read_text()
    write_text(experiment.exp / "config.yaml", text + "  threshold_percentile: 99.9\n")
    experiment.run(score, "--force", "true")
    assert path.read_bytes() != before


def test_old_files_do_not_stay(tmp_path):
    experiment = scored(tmp_path, "dcase2022")
    folder = experiment.exp / "seed0/score/knn/submission"
    write_text(folder / "eval_test/anomaly_score_saw_section_00_test.csv", "x")
    write_text(folder / "dev_test/old.csv", "x")
    experiment.run(score, "--force", "true")
    check(experiment)
    assert [path.name for path in folder.iterdir()] == ["eval_test"]
    text = (experiment.exp / "config.yaml").read_text()
    write_text(experiment.exp / "config.yaml", text + "  normalise: test_zscore\n")
    experiment.run(score, "--force", "true")
    assert not folder.exists() and not (experiment.exp / "seed0/score/knn/threshold.tsv").exists()


def test_two_recordings_of_one_name():
    rows = [{"machine": "fan", "section": "00", "wav": f"{folder}/section_00_0001.wav"} for folder in "ab"]
    with pytest.raises(ValueError, match="fan_section_00_test: two recordings of one name: a/.* and b/"):
        contents(rows, "dcase2022")
    with pytest.raises(ValueError, match="not a name of the style 'dcase2021'"):
        contents(rows, "dcase2021")


SCORES, DECISIONS = ("anomaly_score_faneval_section_01_test.csv", "decision_result_pumpeval_section_02_test.csv")


def lines_of(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def line(number, change):
    """Change one line (from 1) of a file: change(name, value) -> bytes."""

    def edit(content):
        lines = content.split(b"\n")
        lines[number - 1] = change(*lines[number - 1].split(b","))
        return b"\n".join(lines)

    return lines_of(edit)


BROKEN = {
    "missing file": (SCORES, lambda path: path.unlink(), "this file is missing"),
    "extra file": (
        SCORES,
        lambda path: write_text(path.parent / "notes.txt", ""),
        "notes.txt: no such file belongs to a submission",
    ),
    "file of another section": (
        SCORES,
        lambda path: path.rename(path.with_name("anomaly_score_faneval_section_03_test.csv")),
        "section_01_test.csv: this file is missing\n.*section_03_test.csv: no such file belongs",
    ),
    "missing row": (
        DECISIONS,
        lines_of(lambda content: content.split(b"\n", 2)[2]),
        "2 of 20 clips are missing: section_02_0060.wav, section_02_0061.wav",
    ),
    "extra row": (
        SCORES,
        lines_of(lambda content: content + b"section_01_0500.wav,0.5\n"),
        "line 21: 'section_01_0500.wav' is no clip of this file",
    ),
    "duplicate row": (
        DECISIONS,
        lines_of(lambda content: content + content.split(b"\n")[3] + b"\n"),
        "line 21: section_02_0063.wav occurs twice",
    ),
    "text": (SCORES, line(4, lambda name, _: name + b",high"), "line 4: .*0083.wav: the score 'high' is not a number"),
    "NaN": (SCORES, line(2, lambda name, _: name + b",nan"), "line 2: .*: the score is nan, expected a finite"),
    "infinity": (SCORES, line(2, lambda name, _: name + b",-inf"), "line 2: .*: the score is -inf, expected a finite"),
    "underscore": (SCORES, line(2, lambda name, _: name + b",1_0"), "line 2: .*: the score '1_0' is not a number"),
    "no score": (SCORES, line(2, lambda name, _: name + b","), "line 2: .*: the score '' is not a number"),
    "decision": (
        DECISIONS,
        line(5, lambda name, _: name + b",0.7"),
        "line 5: .*: the decision is '0.7', allowed: 0 and",
    ),
    "header": (
        SCORES,
        lines_of(lambda content: b"file,score\n" + content),
        "line 1: a header, 'file,score'; the file has to start with the first clip",
    ),
    "CR LF": (SCORES, lines_of(lambda content: content.replace(b"\n", b"\r\n")), "lines end in CR LF; save it with LF"),
    "empty line": (DECISIONS, lines_of(lambda content: b"\n" + content), "line 1: empty"),
    "empty file": (DECISIONS, lines_of(lambda content: b""), "20 of 20 clips are missing"),
    "path": (
        SCORES,
        line(1, lambda name, value: b"fan/test/" + name + b"," + value),
        "line 1: the name is 'fan/test/section_01_0080.wav', expected the recording's base name 'section_01_0080.wav'",
    ),
    "no ending": (
        SCORES,
        line(1, lambda name, value: name[:-4] + b"," + value),
        "line 1: the name is 'section_01_0080', expected the recording's base name 'section_01_0080.wav'",
    ),
    "id": (
        SCORES,
        line(1, lambda name, value: b"faneval-test-19," + value),
        "line 1: 'faneval-test-19' is no clip of this file, such as section_01_0080.wav",
    ),
    "three columns": (SCORES, line(3, lambda name, value: name + b",x," + value), "line 3: expected two columns"),
    "spaces": (SCORES, line(3, lambda name, value: name + b" " + value), "line 3: expected two columns"),
    "byte-order mark": (SCORES, lines_of(lambda content: b"\xef\xbb\xbf" + content), "line 1: a byte-order mark"),
    "encoding": (SCORES, lines_of(lambda content: b"\xff" + content), "not readable as UTF-8 text"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return scored(tmp_path_factory.mktemp("whole"), "dcase2022")


@pytest.mark.parametrize("fault", BROKEN)
def test_the_fault_of_a_broken_submission_is_named(whole, tmp_path, fault):
    name, change, words = BROKEN[fault]
    for path in (whole.exp / "seed0/score/knn/submission/eval_test").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    check(whole, tmp_path)
    change(tmp_path / name)
    with pytest.raises(ValueError, match=words) as error:
        check(whole, tmp_path)
    told = str(error.value).splitlines()[1:]
    assert all(name in line or fault in ("extra file", "file of another section") for line in told)
    assert len(told) <= 2


def test_rows_in_another_order_and_other_sets(whole, tmp_path, capsys):
    for path in (whole.exp / "seed0/score/knn/submission/eval_test").iterdir():
        (tmp_path / path.name).write_text("\n".join(reversed(path.read_text().splitlines())))
    check(whole, tmp_path)
    assert f"{tmp_path}: complete, 80 clips of eval_test in 4 files" in capsys.readouterr().out
    words = ["--data", str(whole.data), "--submission", str(tmp_path / "none")]
    with pytest.raises(ValueError, match="none: no such folder"):
        check_submission.main(words)
    for named in ([*words, "--set", "dev_test"], [*words[:3], str(tmp_path / "dev_test")]):
        with pytest.raises(ValueError, match="cannot read .*dev_test/manifest.tsv"):
            check_submission.main(named)


@pytest.mark.parametrize("year", [2021, 2022])
def test_a_submission_that_the_official_evaluator_read(test_data, tmp_path, year):
    """Our files for the official clips have the names and rows of one that the evaluator scored."""
    rows, style = [], f"dcase{year}"
    for path in sorted((test_data / f"golden/metrics/dcase{year}/ground_truth_data").iterdir()):
        machine, section = path.stem.split("_")[2], path.stem.split("_")[4]
        for line in path.read_text().split():
            wav = line.split(",")[0]
            rows.append({"utt": f"{machine}-{wav}", "wav": wav, "machine": machine, "section": section})
    golden = test_data / f"golden/metrics/dcase{year}/submission"
    assert list(faults(golden, rows, style)) == []
    thresholds = {(row["machine"], "-"): 0.5 for row in rows}
    count = write_submission(tmp_path / "ours", rows, style, {row["utt"]: 0.25 for row in rows}, thresholds)
    names = sorted(path.name for path in golden.iterdir())
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names and count == len(names)
    for name in names:
        ours, theirs = ((folder / name).read_text().split() for folder in (tmp_path / "ours", golden))
        assert [line.split(",")[0] for line in ours] == sorted(line.split(",")[0] for line in theirs)


def test_many_faults_are_cut_short(whole, tmp_path):
    for path in (whole.exp / "seed0/score/knn/submission/eval_test").iterdir():
        (tmp_path / path.name).write_text("".join(f"{line}x\n" for line in path.read_text().splitlines()))
    with pytest.raises(ValueError) as error:
        check(whole, tmp_path)
    assert len(str(error.value).splitlines()) == 22 and str(error.value).endswith("...")


def test_per_domain_z_scores_use_all_test_clips_of_a_machine(tmp_path):
    experiment = scored(tmp_path, "dcase2022", "normalise: test_zscore")
    scores = {utt: float(value) for utt, value in read_scp(experiment.exp / "seed0/score/knn/eval_test.tsv").items()}
    train, test = (
        dict(kaldiio.load_ark(str(experiment.exp / f"seed0/embed/eval_{split}/embedding.ark")))
        for split in ("train", "test")
    )
    unit = {name: x / np.linalg.norm(x) for name, x in {**train, **test}.items()}
    domain = {row["utt"]: row["domain"] for row in read_manifest(experiment.data / "eval_train/manifest.tsv")}
    for machine in ("faneval", "pumpeval"):
        clips = [utt for utt in test if utt.startswith(machine)]
        parts = []
        for name in ("source", "target"):
            own = np.stack([unit[utt] for utt in train if utt.startswith(machine) and domain[utt] == name])
            assert own.shape[1] == DIM
            distances = np.array([1 - (own @ unit[utt]).max() for utt in clips])
            parts.append((distances - distances.mean()) / distances.std())
        assert [scores[utt] for utt in clips] == pytest.approx(list(np.minimum(*parts)), abs=1e-4)
