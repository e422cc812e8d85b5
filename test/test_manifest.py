import pytest

from asdkit.corpus import manifest

ROW = {
    "utt": "fan-train-a",
    "wav": "fan/train/a.wav",
    "machine": "fan",
    "section": "00",
    "domain": "source",
    "attr": "-",
    "samples": "16000",
    "bytes": "32044",
    "mtime": "1700000000123456789",
    "digest": "0f" * 32,
    "peak": "0.5",
    "rms": "0.1,0.2",
}


def row(**changes):
    return ROW | changes


def test_what_is_written_is_read_sorted(tmp_path):
    rows = [row(utt="fan-train-b", attr="spd 1"), row(), row(utt="Fan-train-c", domain="target")]
    path = tmp_path / "dev_train" / "manifest.tsv"
    manifest.write_manifest(path, rows)
    assert path.read_text().splitlines()[0].split("\t") == list(ROW)
    read = manifest.read_manifest(path)
    assert [r["utt"] for r in read] == ["Fan-train-c", "fan-train-a", "fan-train-b"]
    assert sorted(map(repr, read)) == sorted(map(repr, rows))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row(wav="other/a.flac")], "two clips with one id 'fan-train-a': fan/train/a.wav and other/a.flac"),
        ([row(section="")], "no section"),
        ([row(domain="middle")], "domain 'middle' is none of source, target, -"),
        ([row(utt="fan-train-a b")], "white space"),
        ([row(machine="big fan")], "white space"),
        ([row(machine="a/b")], "'/'"),
        ([row(attr="a\tb")], "tab or line break"),
        ([row(samples="1e3")], "samples '1e3' is neither a number nor -"),
        ([row(bytes="-5")], "bytes '-5' is neither a number nor -"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_written(tmp_path, rows, message):
    path = tmp_path / "manifest.tsv"
    with pytest.raises(ValueError, match=message):
        manifest.write_manifest(path, rows)
    assert list(tmp_path.iterdir()) == []


def test_unsorted_and_broken_files_are_refused(tmp_path):
    path = tmp_path / "manifest.tsv"
    manifest.write_manifest(path, [row(), row(utt="fan-train-b")])
    head, first, second = path.read_text().splitlines()
    for lines, message in [
        ([head, second, first], "not sorted"),
        ([head, first, first], "two clips with one id"),
        ([first, second], "manifest.tsv:1: header"),
        ([head, first + "\tmore"], "manifest.tsv:2: 13 fields"),
    ]:
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(ValueError, match=message):
            manifest.read_manifest(path)


def test_references(tmp_path):
    path = tmp_path / "ref.tsv"
    rows = [
        {"utt": "b", "condition": "anomaly", "domain": "target"},
        {"utt": "a", "condition": "normal", "domain": "-"},
    ]
    manifest.write_ref(path, rows)
    assert manifest.read_ref(path) == {"a": ("normal", "-"), "b": ("anomaly", "target")}
    with pytest.raises(ValueError, match="condition '-' is none of normal, anomaly"):
        manifest.write_ref(path, [rows[0] | {"condition": "-"}])
    with pytest.raises(ValueError, match="two clips with one id 'b'"):
        manifest.write_ref(path, [rows[0], rows[0]])


def test_summary_counts_machine_section_domain():
    clips = [("dev_train", "fan", "00", "source")] * 12 + [("dev_train", "fan", "00", "target")] * 2
    clips += [("dev_test", "fan", "01", "-")] * 3
    table = [line.split() for line in manifest.summary(clips).splitlines()]
    assert table == [
        ["set", "machine", "section", "source", "target", "unknown"],
        ["dev_test", "fan", "01", "0", "0", "3"],
        ["dev_train", "fan", "00", "12", "2", "0"],
    ]
