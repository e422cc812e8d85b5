"""Folders and lists as people make them: what is read, what is asked about, what is counted as left out."""

import os
import unicodedata
from pathlib import Path

import pytest
from corpora import manifest_of, write_clip, write_dataset
from experiments import Experiment as MadeUp

from asdkit.bin import prepare_data, score
from asdkit.corpus.manifest import read_ref
from asdkit.corpus.words import WORDS, suspicious, told
from asdkit.infer.experiment import Experiment

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Prüfstand") for form in ("NFC", "NFD"))


def stage_1(tmp: Path, corpus: Path, *options: str, **changes) -> Path:
    dataset = {"name_style": "free", "protocol": "dcase2020", "sets": {"dev": {"path": "."}}, "ground_truth": None}
    description = write_dataset(tmp / "conf/dataset.yaml", **dataset | changes)
    prepare_data.main(["--dataset", str(description), "--corpus", str(corpus), "--data", str(tmp / "data"), *options])
    return tmp / "data"


def write(corpus: Path, *names: str, **options) -> Path:
    for number, name in enumerate(names):
        write_clip(corpus / name, seed=number, **options)
    return corpus


def table(path: Path, *lines: str, head: str = "path,machine,split") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


PUMP = ("pump/train/0.wav", "pump/test/0.wav")


# One name in two Unicode forms


def test_a_machine_in_two_unicode_forms_is_one(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", f"{COMPOSED}/train/0.wav", f"{DECOMPOSED}/test/0.wav", *PUMP)
    data = stage_1(tmp_path, corpus)
    for name in ("dev_train", "dev_test"):
        assert {row["machine"] for row in manifest_of(data, name).values()} == {COMPOSED, "pump"}
    assert f"taken as one machine: {DECOMPOSED}" in caplog.text
    for form in (COMPOSED, DECOMPOSED):
        data = stage_1(tmp_path, corpus, "--machines", form, "--force", "true")
        assert len(manifest_of(data, "dev_train")) == len(manifest_of(data, "dev_test")) == 1
    changes = {"sets": {"dev": {"path": ".", "machines": ["pump", DECOMPOSED]}}}
    assert len(manifest_of(stage_1(tmp_path, corpus, "--force", "true", **changes), "dev_train")) == 2


def test_a_name_in_one_form_stays_as_it_is(tmp_path):
    corpus = write(tmp_path / "corpus", f"{DECOMPOSED}/train/0.wav")
    assert list(manifest_of(stage_1(tmp_path, corpus), "dev_train")) == [f"{DECOMPOSED}-train-0"]


def test_a_listed_path_is_found_in_the_other_form(tmp_path):
    mixed = f"{COMPOSED}/{DECOMPOSED}.wav"
    folder = write(tmp_path / "corpus", mixed, f"{DECOMPOSED}/1.wav")
    lines = [f"{DECOMPOSED}/{COMPOSED}.wav,{COMPOSED},train,,{COMPOSED}", f"{DECOMPOSED}/1.wav,{DECOMPOSED},test,,"]
    lines.append(f"{folder}/{COMPOSED}/{COMPOSED}.wav,pump,train,,{DECOMPOSED}")
    lines.append(f"{COMPOSED}/1.wav,pump,test,,")
    data = stage_1(tmp_path, table(folder / "list.csv", *lines, head="path,machine,split,condition,attributes"))
    rows = manifest_of(data, "dev_train").values()
    assert [row["wav"] for row in rows] == [mixed, str(folder / mixed)]
    assert {row["attr"] for row in rows} == {COMPOSED}
    assert [row["machine"] for row in manifest_of(data, "dev_test").values()] == [COMPOSED, "pump"]
    with pytest.raises(ValueError, match=r"list.csv:2: .*cannot be opened: No such file"):
        stage_1(tmp_path, table(folder / "list.csv", f"{DECOMPOSED}/2.wav,pump,train"), "--force", "true")


def test_truth_is_joined_in_the_other_form(tmp_path):
    corpus = write(tmp_path / "corpus", "pump/train/0.wav", f"pump/test/{DECOMPOSED}.wav", f"pump/test/{COMPOSED}2.wav")
    for kind in ("data", "domain"):
        name = f"truth/ground_truth_{kind}/ground_truth_pump_section_00_test.csv"
        (corpus / name).parent.mkdir(parents=True)
        (corpus / name).write_text(f"{COMPOSED}.wav,1\n{DECOMPOSED}2.wav,1\n")
    data = stage_1(tmp_path, corpus, ground_truth="truth")
    assert list(read_ref(data / "dev_test/ref.tsv").values()) == [("anomaly", "target")] * 2
    write(corpus, f"pump/test/b/{DECOMPOSED}.wav")
    with pytest.raises(ValueError, match="its rows are file names, but .* have the same one"):
        stage_1(tmp_path, corpus, "--force", "true", ground_truth="truth")


def test_two_files_of_one_name_are_noted(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", *PUMP, f"pump/test/{COMPOSED}.wav", f"pump/test/{DECOMPOSED}.wav")
    assert len(manifest_of(stage_1(tmp_path, corpus), "dev_test")) == 3
    assert r"'pump/test/Pru\u0308fstand.wav' and 'pump/test/Pr\xfcfstand.wav' have one name" in caplog.text


def test_an_opened_experiment_takes_either_form(tmp_path):
    made = MadeUp(tmp_path, sets=("dev",), machines=(COMPOSED,))
    made.run(score)
    opened = Experiment.open(made.exp, data=made.data, device="cpu")
    limits = [opened.threshold(machine=f"{form}dev") for form in (COMPOSED, DECOMPOSED)]
    assert limits[0] == limits[1] > 0


# Sub-folders and words


def test_folders_inside_are_read_and_tell_the_condition(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", "press/train/0.wav", "press/train/day 1/a/0.wav", "press/TEST/good/0.wav")
    write(corpus, "press/TEST/day2/NG/0.wav", "press/TEST/abnormal_2/0.wav", "press/TEST/ok_7.flac")
    data = stage_1(tmp_path, corpus)
    assert "test clips by their names: 2 normal, 2 anomalous, 0 unknown" in caplog.text
    assert list(manifest_of(data, "dev_train")) == ["press-train-0", "press-train-day_1-a-0"]
    assert {utt: condition for utt, (condition, _) in read_ref(data / "dev_test/ref.tsv").items()} == {
        "press-test-good-0": "normal",
        "press-test-day2-NG-0": "anomaly",
        "press-test-abnormal_2-0": "anomaly",
        "press-test-ok_7": "normal",
    }


def test_words_of_conditions():
    for condition, words in WORDS.items():
        for word in words:
            assert {told(word), told(f"{word.upper()}-7"), told(f"{word.title()}Sound_IND")} == {condition}
    for name in ("abnormality", "okay", "über_ng", "fault_free", "faultless", "normal_or_faulty", "anomaly detection"):
        assert told(name) == "-", name
    assert told("normal_without_load") == "normal" and told("0001_NG") == "anomaly"
    assert suspicious(["day1", "rig_Fault_3"]) == "fault" and suspicious(["MotorNG2"]) == "ng"
    assert suspicious(["pumpabnormal2"]) == "pumpabnormal"
    assert suspicious(["fault_free", "non-faulty", "no_anomaly", "strong", "Bading"]) is None


def test_training_clips_with_names_of_anomalies_are_asked_about(tmp_path):
    corpus = write(tmp_path / "corpus", *PUMP, "pump/train/abnormal_0001.wav", "pump/train/day1/motor_fault.wav")
    with pytest.raises(ValueError, match=r": 2 training clips .*such as pump/train/abnormal_0001.wav \('abnormal'\)"):
        stage_1(tmp_path, corpus)
    assert not (tmp_path / "data").exists()
    (corpus / "pump/train/abnormal_0001.wav").unlink()
    with pytest.raises(ValueError, match=r": 1 training .*day1/motor_fault.wav \('fault'\).*start with 'normal'"):
        stage_1(tmp_path, corpus)
    (corpus / "pump/train/day1").rename(corpus / "pump/train/normal_day1")
    assert len(manifest_of(stage_1(tmp_path, corpus), "dev_train")) == 2


def test_a_machine_may_be_called_anything_but_an_anomaly(tmp_path):
    corpus = write(tmp_path / "corpus", "rig_for_faults/train/0.wav", "rig_for_faults/test/0.wav")
    stage_1(tmp_path, corpus)
    (corpus / "rig_for_faults").rename(corpus / "abnormal")
    with pytest.raises(ValueError, match=r": 1 training clips .*such as abnormal/train/0.wav \('abnormal'\)"):
        stage_1(tmp_path, corpus, "--force", "true")


def test_data_that_was_made_before_this_was_asked_goes_on(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", *PUMP, "pump/train/rig_fault.wav")
    monkeypatch.setattr("asdkit.corpus.find.suspicious", lambda _: None)
    stage_1(tmp_path, corpus)
    monkeypatch.undo()
    caplog.set_level("INFO")
    stage_1(tmp_path, corpus)
    assert "WARNING: " in caplog.text and "rig_fault.wav ('fault')" in caplog.text and "already done" in caplog.text
    with pytest.raises(ValueError, match="rig_fault"):
        stage_1(tmp_path, corpus, "--force", "true")
    assert (tmp_path / "data/.done").exists()


def test_the_corpus_and_its_parts_are_found_in_the_other_form(tmp_path):
    write(tmp_path / COMPOSED, *(f"{DECOMPOSED}/{name}" for name in PUMP))
    data = stage_1(tmp_path, tmp_path / DECOMPOSED, sets={"dev": {"path": COMPOSED}})
    (row,) = manifest_of(data, "dev_train").values()
    assert (tmp_path / COMPOSED / row["wav"]).exists()


def test_a_list_is_asked_about_too_and_its_conditions_are_believed(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = write(tmp_path / "corpus", "abnormal/0.wav", "b/0.wav", "pump_fault/pump_fault_x/1.wav")
    lines = ["abnormal/0.wav,press,train", "b/0.wav,press,test", "b/0.wav,pump_fault,test"]
    lines.append("pump_fault/pump_fault_x/1.wav,pump_fault,train")
    with pytest.raises(ValueError, match=r": 2 training clips .* abnormal/0.wav \('abnormal'\).*column 'condition'"):
        stage_1(tmp_path, table(folder / "list.csv", *lines))
    lines = ["abnormal/0.wav,press,train,normal", "b/0.wav,press,test,anomaly"]
    data = stage_1(tmp_path, table(folder / "list.csv", *lines, head="path,machine,split,condition"))
    assert len(manifest_of(data, "dev_train")) == 1
    assert (
        "1 clips have another condition than their names tell, such as abnormal/0.wav: normal is believed"
        in caplog.text
    )


def test_names_that_contradict_and_folders_that_tell_nothing(tmp_path):
    corpus = write(tmp_path / "corpus", *PUMP, "pump/test/faulty/normal_1.wav")
    with pytest.raises(ValueError, match=r"faulty/normal_1.wav: its names tell both normal and anomaly"):
        stage_1(tmp_path, corpus)
    (corpus / "pump/test/faulty").rename(corpus / "pump/test/scratched")
    with pytest.raises(ValueError, match="condition of 1 of 2 test clips is unknown.*folders in test.*good.*abnormal"):
        stage_1(tmp_path, corpus)


def test_what_is_left_out_is_counted_by_recordings(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(
        tmp_path / "corpus", *PUMP, "pump/val/1.wav", "pump/val/day/2.wav", "pump/3.wav", "more/x/4.wav", "5.wav"
    )
    for name in ("pump/train/a/b.mp3", "pump/test/c.M4A", "pump/train/notes.txt"):
        (corpus / name).parent.mkdir(exist_ok=True)
        (corpus / name).write_text("x")
    os.symlink(corpus / "pump/train", corpus / "pump/train/again")
    assert len(manifest_of(stage_1(tmp_path, corpus), "dev_train")) == 1
    notes = [record.getMessage() for record in caplog.records]
    for note in (
        f"ignored: 2 recordings of {corpus}/pump in folders that are not read, such as val/1.wav",
        f"ignored: 1 recordings of {corpus}/pump that lie beside its folders, such as 3.wav",
        f"ignored: 2 recordings of {corpus}/pump of formats that are not read (only wav and flac are), such as "
        "test/c.M4A",
        f"ignored: 1 other files of {corpus}/pump, such as train/notes.txt",
        f"ignored in {corpus}: more (1 recordings)",
        f"ignored: 1 recordings in {corpus} itself, such as 5.wav",
    ):
        assert note in notes, note
    (corpus / "pump/train/0.wav").rename(corpus / "pump/train/0.mp3")
    with pytest.raises(ValueError, match="no training clips of pump .*ignored: 3 recordings of .*formats"):
        stage_1(tmp_path, corpus, "--force", "true")


def test_a_style_with_official_names_reads_no_folders_inside(tmp_path, caplog):
    caplog.set_level("INFO")
    name = "section_00_source_train_normal_{:04d}_x.wav"
    corpus = write(tmp_path / "corpus", f"pump/train/{name.format(0)}", f"pump/train/old/{name.format(1)}")
    assert len(manifest_of(stage_1(tmp_path, corpus, name_style="dcase2022"), "dev_train")) == 1
    assert "ignored: 1 recordings of" in caplog.text and "such as train/old/section_00" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["press/ok/0.wav", "press/ng/0.wav"], r"found in .*: press/ng/\*.wav \(1\), press/ok/\*.wav \(1\)"),
        (["train/press/0.wav", "test/press/0.wav"], r"found in .*: test/press/\*.wav \(1\), train/press/\*.wav \(1\)"),
        ([f"fan/id_0{i}/normal/0.wav" for i in range(5)], r"fan/id_02/normal/\*.wav \(1\) and 2 more folders"),
    ],
)
def test_other_layouts_are_told_what_was_found(tmp_path, names, message):
    with pytest.raises(ValueError, match=f"no corpus in .*expected <machine>/train.*{message}.*CSV file"):
        stage_1(tmp_path, write(tmp_path / "corpus", *names))


# Sample rates


def test_rates_are_told_and_low_ones_warned_of(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", "press/train/0.wav", "press/test/0.wav")
    stage_1(tmp_path, corpus, "--resample", "true")
    assert "Hz" not in caplog.text
    write(corpus, "pump/train/0.wav", "pump/test/0.wav", rate=44100)
    stage_1(tmp_path, corpus, "--resample", "true", "--force", "true")
    assert "sample rates: 16000 Hz (2), 44100 Hz (2)" in caplog.text and "WARNING" not in caplog.text
    write(corpus, "press/test/1.wav", rate=8000)
    write(corpus, "fan/train/0.wav", "fan/test/0.wav", rate=8000)
    stage_1(tmp_path, corpus, "--resample", "true", "--force", "true")
    assert "sample rates: 8000 Hz (3), 16000 Hz (2), 44100 Hz (2)" in caplog.text
    assert "WARNING: 3 recordings of 8000 Hz, such as" in caplog.text and "above 4000 Hz is empty" in caplog.text
    (line,) = [record.getMessage() for record in caplog.records if "WORTHLESS" in record.getMessage()]
    assert line.startswith(
        "WARNING: press: training clips of 16000 Hz (1), but test clips of 8000 Hz (1), 16000 Hz (1)"
    )
    assert "Convert all recordings of press to 8000 Hz first" in line


def test_anomalies_of_another_rate_are_warned_of(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", "press/train/0.wav", "press/test/normal_0.wav")
    write(corpus, "press/train/1.wav", "press/test/anomaly_0.wav", rate=8000)
    stage_1(tmp_path, corpus, "--resample", "true")
    assert "press: normal test clips of 16000 Hz (1), but anomalous ones of 8000 Hz (1): its scores" in caplog.text


def test_rates_above_the_reader_are_one_band(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = write(tmp_path / "corpus", "press/train/0.wav", rate=48000)
    write(corpus, "press/test/0.wav", rate=44100)
    stage_1(tmp_path, corpus, "--resample", "true")
    assert "44100 Hz (1), 48000 Hz (1)" in caplog.text and "WARNING" not in caplog.text


# Ids


def test_file_names_that_repeat_take_their_folders_in(tmp_path):
    names = [f"/data/{day}/{hour}.wav" for day in ("mon", "tue/am") for hour in "01"]
    folder = write(tmp_path / "corpus", *(name[1:] for name in names))
    lines = [f"{name[1:]},fan,train" for name in names[:3]] + [f"{folder}{names[3]},fan,train"]
    lines += ["data/mon/0.wav,fan,test", "data/mon/0.wav,pump,train", "data/tue/am/1.wav,pump,test"]
    data = stage_1(tmp_path, table(folder / "list.csv", *lines))
    assert list(manifest_of(data, "dev_train")) == [
        "fan-train-mon-0",
        "fan-train-mon-1",
        "fan-train-tue-am-0",
        "fan-train-tue-am-1",
        "pump-train-0",
    ]
    assert list(manifest_of(data, "dev_test")) == ["fan-test-0", "pump-test-1"]


def test_ids_of_two_parts_differ_too(tmp_path):
    places = [f"{part}/{day}" for part in ("dev", "eval") for day in ("mon", "tue")]
    folder = write(tmp_path / "corpus", *(f"{place}/0.wav" for place in places))
    lines = [f"{place}/0.wav,fan,train,{place.partition('/')[0]}" for place in places[:3]]
    data = stage_1(tmp_path, table(folder / "list.csv", *lines, head="path,machine,split,set"))
    assert list(manifest_of(data, "dev_train")) == ["fan-train-dev-mon-0", "fan-train-dev-tue-0"]
    assert list(manifest_of(data, "eval_train")) == ["fan-train-eval-mon-0"]


def test_a_column_gives_ids(tmp_path):
    folder = write(tmp_path / "corpus", "a/0.wav", "b/0.wav")
    head = "path,machine,split,id"
    data = stage_1(tmp_path, table(folder / "list.csv", "a/0.wav,fan,train,x", "b/0.wav,fan,train,y", head=head))
    assert list(manifest_of(data, "dev_train")) == ["fan-train-x", "fan-train-y"]
    for ids, message in (
        ("xx", "two clips with one id 'fan-train-x': a/0.wav and b/0.wav"),
        (("x", ""), "list.csv:3: .*an id in each line"),
        (("x", "y/z"), "names of machines, sections and clips hold no white space or '/'"),
    ):
        lines = [f"{name}/0.wav,fan,train,{own}" for name, own in zip("ab", ids, strict=True)]
        with pytest.raises(ValueError, match=message):
            stage_1(tmp_path, table(folder / "list.csv", *lines, head=head), "--force", "true")


# Names that no list can hold


def test_names_that_no_list_can_hold_are_refused_by_name(tmp_path):
    corpus = write(tmp_path / "corpus", *PUMP)
    for name, message in (
        (b"train/pr\xfcf.wav", r"pump/train/pr\\xfcf\.wav: a name that is no UTF-8.*convmv"),
        (b"train/\xfc/0.wav", r"pump/train/\\xfc/0\.wav: a name that is no UTF-8"),
        (b"test/a\nb.wav", r"pump/test/a\\nb\.wav': a name that holds a line break"),
        (b"test/a\tb.wav", r"pump/test/a\\tb\.wav': a name that holds a line break or tab"),
        (b"test/a\rb/0.wav", r"pump/test/a\\rb/0\.wav': a name that holds a line break"),
    ):
        path = os.path.join(os.fsencode(corpus / "pump"), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(corpus / "pump/train/0.wav", path)
        with pytest.raises(ValueError, match=message) as error:
            stage_1(tmp_path, corpus)
        assert "\n" not in str(error.value) and str(error.value).encode()
        os.rename(path, corpus / "pump/train/0.wav")
    text = os.path.join(os.fsencode(corpus), b"pump/train/\xfc.txt")
    open(text, "w").close()
    stage_1(tmp_path, corpus)  # what is no recording may have any name


def test_machines_with_such_names_are_refused_too(tmp_path):
    corpus = write(tmp_path / "corpus", "pump/train/0.wav", "pump/test/0.wav")
    os.rename(corpus / "pump", os.path.join(os.fsencode(corpus), b"pr\xfcf"))
    with pytest.raises(ValueError, match=r"corpus/pr\\xfcf/.*no UTF-8"):
        stage_1(tmp_path, corpus)
    os.rename(corpus, os.path.join(os.fsencode(tmp_path), b"c\xfc"))
    with pytest.raises(ValueError, match=r"/c\\xfc: a name that is no UTF-8"):
        stage_1(tmp_path, Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"c\xfc"))))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,machine,split\na.wav,pr\xfcf,train\n".encode("latin1"), "list.csv: no UTF-8 text: save it as"),
        (b"path;machine;split\na.wav;pump;train\n", "list.csv: its columns are separated by ';'"),
        (b'path,machine,split\na.wav,"pu\nmp",train\n', r"'pu\\nmp': a name that holds a line break"),
    ],
)
def test_lists_of_other_programs(tmp_path, text, message):
    folder = write(tmp_path / "corpus", "a.wav")
    (folder / "list.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        stage_1(tmp_path, folder / "list.csv")


def test_machines_whose_names_hold_commas(tmp_path):
    corpus = write(tmp_path / "corpus", *(f"{machine}/train/0.wav" for machine in ("a,b", "c", "d")))

    def machines(text: str) -> set[str]:
        data = stage_1(tmp_path, corpus, "--machines", text, "--force", "true")
        return {row["machine"] for row in manifest_of(data, "dev_train").values()}

    assert machines("a,b") == {"a,b"} and machines("d,a,b") == {"a,b", "d"} and machines("c,d") == {"c", "d"}
    with pytest.raises(ValueError, match="no machine 'a'. Found: a,b, c, d"):
        machines("a")
    write(corpus, "a/train/0.wav")
    with pytest.raises(ValueError, match="'a,b' names for certain: there are 'a,b' and 'a'"):
        machines("a,b")
