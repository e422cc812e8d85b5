import fcntl
import threading

import pytest

from asdkit.bin import report
from asdkit.report.evaluation import over_sets
from asdkit.report.results import over_seeds
from asdkit.report.tables import cell, table
from asdkit.utils.files import locked, read_json, write_json, write_text


def one_set(official, machines=("fan", "pump"), **changes):
    values = {"auc_source": official, "auc_target": None, "pauc": official}
    extras = {"auc_all": official, "pauc_eq12": 0.25}
    return {
        "official": official,
        "half_width95": 0.02,
        "clips": 400,
        "values": values,
        "extras": extras,
        "machines": [{"machine": m, "score": official, "values": values, "extras": extras} for m in machines],
        "sections": [
            {"machine": m, "section": "00", "normal": 100, "anomaly": 100, "values": values, "extras": extras}
            for m in machines
        ],
        "notes": ["auc_target not defined, no normal clips of domain target: fan 00"],
        **changes,
    }


def write_seed(exp, seed, dev, evaluation=0.6, name="knn", **changes):
    sets = {"dev": one_set(dev), "eval": one_set(evaluation)}
    origin = {"config": "exp/t/config.yaml", "config_sha256": "c0ffee", "data_sha256": "da7a", "git": "abc123"}
    origin["asdkit"] = "9.8.7"
    head = {"tag": exp.name, "seed": seed, "score": "knn", "protocol": "dcase2022", "transductive": False, **origin}
    head["detector"] = "knn"
    result = {**head, "all": over_sets(sets, "dcase2022"), "sets": sets, **changes}
    write_json(exp / f"seed{seed}" / "score" / name / "results.json", result)


def cells(text, first):
    """Cells of the table rows that begin with `first`."""
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row[1:] for row in rows if row[0] == first]


def test_mean_and_sample_deviation_over_seeds(tmp_path, capsys):
    exp = tmp_path / "exp" / "big"
    for seed, dev in ((0, 0.5), (2, 0.6), (10, 0.7)):
        write_seed(exp, seed, dev)
    report.main(["--exp", str(exp)])
    printed, page = capsys.readouterr().out, (exp / "RESULTS.md").read_text()
    assert "seeds 0, 2, 10" in printed
    for text in (printed, page):
        assert cells(text, "dev")[0] == ["60.00 ± 10.00", "± 2.00", "60.00 ± 10.00", "-", "60.00 ± 10.00"]
        assert cells(text, "eval")[0][0] == "60.00 ± 0.00" and cells(text, "all")[0][0] == "59.72 ± 5.04"
    found = read_json(exp / "results.json")["scores"]["knn"]
    assert found["seeds"] == [0, 2, 10]
    assert found["sets"]["dev"]["official"]["seeds"] == [0.5, 0.6, 0.7]
    assert found["sets"]["dev"]["machines"][1]["machine"] == "pump"
    assert found["sets"]["dev"]["sections"][0]["normal"] == 100


def test_experiments_on_different_clips_are_told_apart(tmp_path):
    for tag in ("all", "also_all"):
        write_seed(tmp_path / "exp" / tag, 0, 0.5)
        report.main(["--exp", str(tmp_path / "exp" / tag)])
    assert "not to be compared" not in (tmp_path / "exp/RESULTS.md").read_text()
    write_seed(tmp_path / "exp" / "one_machine", 0, 0.9, data_sha256="0ther")
    report.main(["--exp", str(tmp_path / "exp" / "one_machine")])
    assert "not to be compared: all, also_all; one_machine." in (tmp_path / "exp/RESULTS.md").read_text()


def test_page_says_what_it_was_made_from_and_marks_extras(tmp_path):
    exp = tmp_path / "exp" / "t"
    write_seed(exp, 0, 0.5)
    write_seed(exp, 1, 0.5, git="def456")
    (exp / "seed2").mkdir()
    report.main(["--exp", str(exp)])
    page = (exp / "RESULTS.md").read_text()
    older = read_json(exp / "seed0/score/knn/results.json")
    del older["asdkit"]  # as 0.1.0 left it at first
    write_json(exp / "seed0/score/knn/results.json", older)
    report.main(["--exp", str(exp)])
    assert "- asdkit: unknown, 9.8.7, git: abc123, def456" in (exp / "RESULTS.md").read_text()
    assert (
        "exp/t/config.yaml (SHA-256 of its settings c0ffee)" in page and "- asdkit: 9.8.7, git: abc123, def456" in page
    )
    assert "seeds: 0, 1\n" in page and "seeds without results yet: 2" in page
    assert "protocol: dcase2022, score: knn, detector: knn" in page
    assert "- auc_target not defined, no normal clips of domain target: fan 00" in page
    official, extras = page.index("harmonic mean |"), page.index("### dev: extras")
    assert official < extras < page.index("pAUC Eq. 12 |") and "Not part of the official score" in page
    assert cells(page, "fan")[:2] == [["50.00 ± 0.00"] * 2 + ["-", "50.00 ± 0.00"], ["50.00 ± 0.00", "25.00 ± 0.00"]]
    assert cells(page, "official")[0] == ["50.00 ± 0.00"] * 2 + ["-", "50.00 ± 0.00"]


def test_one_seed_has_no_deviation(tmp_path, capsys):
    write_seed(tmp_path / "exp" / "t", 3, 0.5)
    report.main(["--exp", str(tmp_path / "exp" / "t")])
    assert cells(capsys.readouterr().out, "dev")[0][0] == "50.00"
    page = (tmp_path / "exp" / "t" / "RESULTS.md").read_text()
    assert "one seed" in page and "50.00 ±" not in page


def test_tags_side_by_side(tmp_path):
    exps = [tmp_path / "exp" / name for name in ("b", "a")]
    write_seed(exps[0], 0, 0.5)
    for seed in (0, 1):
        write_seed(exps[1], seed, 0.7)
    sets = {"dev": one_set(0.7), "eval": one_set(None, (), notes=["no labels"], values={}, extras={})}
    write_seed(exps[1], 0, 0.7, sets=sets, all=None)
    write_seed(exps[1], 1, 0.7, sets=sets, all=None)
    for exp in exps:
        report.main(["--exp", str(exp)])
    text = (tmp_path / "exp" / "RESULTS.md").read_text()
    assert cells(text, "a") == [["knn", "dcase2022", "2", "70.00 ± 0.00", "-", "-"]]
    assert cells(text, "b") == [["knn", "dcase2022", "1", "50.00", "60.00", "54.55"]]
    assert text.index("| a ") < text.index("| b ")
    assert "### eval: notes\n\n- no labels" in (exps[1] / "RESULTS.md").read_text()


def test_two_experiments_that_end_together_are_both_in_the_table(tmp_path, monkeypatch):
    write_seed(tmp_path / "first", 0, 0.6)
    asked, flock = threading.Event(), fcntl.flock
    with locked(tmp_path / ".results.lock"):
        monkeypatch.setattr(fcntl, "flock", lambda *words: (asked.set(), flock(*words)))
        waiting = threading.Thread(target=report.main, args=(["--exp", str(tmp_path / "first")],))
        waiting.start()
        assert asked.wait(30)
        write_seed(tmp_path / "second", 0, 0.7)
        write_json(tmp_path / "second/results.json", over_seeds(tmp_path / "second"))
        assert not (tmp_path / "RESULTS.md").exists()
    waiting.join(30)
    text = (tmp_path / "RESULTS.md").read_text()
    assert cells(text, "first") and cells(text, "second")


@pytest.mark.parametrize("key", ["protocol", "detector", "config_sha256", "data_sha256", "revealed_attributes"])
def test_seeds_that_do_not_belong_together(tmp_path, key):
    exp = tmp_path / "exp" / "t"
    write_seed(exp, 0, 0.5)
    other = "dcase2020" if key == "protocol" else "other"
    write_seed(exp, 1, 0.5, **{key: other})
    with pytest.raises(
        ValueError, match=rf"seed1/score/knn/results.json: {key} is {other}, in seed0 it is .*Run stages 5 and 6"
    ):
        report.main(["--exp", str(exp)])
    assert not (exp / "RESULTS.md").exists()


def test_no_results_yet(tmp_path):
    (tmp_path / "exp" / "t" / "seed0").mkdir(parents=True)
    with pytest.raises(ValueError, match="no seed<K>/score/<name>/results.json; run stage 6"):
        over_seeds(tmp_path / "exp" / "t")


def one_score(protocol, both, sets):
    """A results.json of one score, as text."""
    head = (
        f'"tag": "x", "score": "knn", "protocol": {protocol}, "transductive": false, "data_sha256": "d", "seeds": [0]'
    )
    return f'{{"tag": "x", "scores": {{"knn": {{{head}, "seeds": [0], "all": {both}, "sets": {sets}}}}}}}'


FOREIGN = {
    "half": ('{"tag": "half", "seeds": [0', "not readable"),
    "list": ("[1, 2]", "valid dictionary"),
    "words": ('{"loss": 0.5}', "tag: Field required"),
    "numbers": (one_score('"dcase2022"', "0.5", "{}"), "all"),
    "rule": (one_score('"own"', "null", "{}"), "'own'"),
    "nan": (
        one_score('"dcase2022"', "null", '{"dev": {"official": {"mean": NaN, "std": null}}}'),
        "sets.dev.official.mean",
    ),
    "before": ('{"tag": "x", "protocol": "dcase2022", "normalise": "none", "seeds": [0], "sets": {}}', "run stage 6"),
}


def test_results_of_other_tags_that_cannot_be_read(tmp_path, caplog):
    for tag in ("good", "mine"):
        write_seed(tmp_path / "exp" / tag, 0, 0.5)
        report.main(["--exp", str(tmp_path / "exp" / tag)])
    for tag, (text, _) in FOREIGN.items():
        write_text(tmp_path / "exp" / tag / "results.json", text)
    (tmp_path / "exp/folder/results.json").mkdir(parents=True)
    (tmp_path / "exp/mine/RESULTS.md").unlink()
    report.main(["--exp", str(tmp_path / "exp/mine")])
    assert "50.00" in (tmp_path / "exp/mine/RESULTS.md").read_text()
    text = (tmp_path / "exp/RESULTS.md").read_text()
    assert cells(text, "good") and cells(text, "mine")
    left_out = text.split("## Left out\n")[1].strip().splitlines()
    assert len(left_out) == len(FOREIGN) + 1
    for tag, (_, words) in FOREIGN.items():
        line = next(line for line in left_out if f"{tag}/results.json" in line)
        assert words in line and line.startswith("- ") and len(line) < 500 and not cells(text, tag)
    assert any("folder/results.json" in line for line in left_out) and "words/results.json" in caplog.text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"sets": 3}, "seed1/score/knn/results.json: sets: .*run stage 6 with --force true"),
        ({"transductive": "magic"}, "seed1/score/knn/results.json: transductive"),
        ({"sets": {"dev": one_set(0.5)}}, "exp/t: knn: sets: not the same in all seeds"),
        (
            {"sets": {"dev": one_set(0.5, ("fan",)), "eval": one_set(0.5)}},
            "sets.dev.machines: not the same in all seeds",
        ),
        ({"all": None}, "exp/t: knn: all: not the same in all seeds"),
        (
            {"sets": {"dev": {**one_set(0.5), "clips": 7}, "eval": one_set(0.5)}},
            "sets.dev.clips: not the same in all seeds",
        ),
    ],
)
def test_broken_results_of_a_seed(tmp_path, change, words):
    write_seed(tmp_path / "exp/t", 0, 0.5)
    write_seed(tmp_path / "exp/t", 1, 0.5, **change)
    with pytest.raises(ValueError, match=words) as error:
        report.main(["--exp", str(tmp_path / "exp/t")])
    assert "\n" not in str(error.value)


def test_sections_have_a_table_where_a_machine_has_several(tmp_path):
    one = one_set(0.5)
    several = [{**one["sections"][0], "section": section, "normal": 7} for section in ("00", "01")]
    several[1] = {**several[1], "values": {**one["values"], "pauc": 0.75}}
    sets = {"dev": one_set(0.5, sections=[*several, one["sections"][1]]), "eval": one}
    write_seed(tmp_path / "exp/t", 0, 0.5, sets=sets)
    report.main(["--exp", str(tmp_path / "exp/t")])
    page = (tmp_path / "exp/t/RESULTS.md").read_text()
    assert cells(page, "fan 01") == [["7", "100", "50.00", "-", "75.00"]]
    assert "### dev: sections" in page and "### eval: sections" not in page


PUBLISHED = """systems:
  - {name: Winner, source: A report, set: dev, official: 66.97, machines: {fan: {hmean: 61.5}, saw: {hmean: 70}}}
  - {name: Better, source: "A paper, Table I", set: dev, official: 68, machines: {pump:
      {auc_source: 80, auc_target: 60, pauc: 48}, fan: {auc_source: 80}}}
  - {name: Parts, source: Somewhere, set: dev, machines: {fan: {pauc: 50}}}
  - {name: Winner, source: A report, set: eval, official: 60.25}
  - {name: Winner, source: A report, set: all, official: 63.4}
"""


def test_published_systems_stand_beside_this_run(tmp_path):
    exp = tmp_path / "exp/mine"
    for seed, dev in ((0, 0.5), (1, 0.6)):
        write_seed(exp, seed, dev)
    write_text(tmp_path / "published.yaml", PUBLISHED)
    report.main(["--exp", str(exp), "--published", str(tmp_path / "published.yaml")])
    page = (exp / "RESULTS.md").read_text()
    ours = cells(page, "this run: mine")
    assert ours[0] == ["55.00 ± 7.07", "55.00 ± 7.07", "55.00 ± 7.07", "-"] and ours[1][0] == "60.00 ± 0.00"
    assert cells(page, "published: Winner (A report)") == [
        ["66.97", "61.50", "-", "70.00"],
        ["60.25", "-", "-"],
        ["63.40"],
    ]
    # 3 / (1/80 + 1/60 + 1/48) = 60; one figure is not enough for a machine's mean
    assert cells(page, "published: Better (A paper, Table I)") == [["68.00", "-", "60.00", "-"]]
    assert cells(page, "published: Parts (Somewhere)") == [["-", "-", "-", "-"]]
    order = [
        page.index(words) for words in ("this run: mine", "published: Better", "published: Winner", "published: P")
    ]
    assert order == sorted(order) and "no figures of saw: its score is of fewer machines" in page
    text = (tmp_path / "exp/RESULTS.md").read_text()
    assert cells(text, "published: Winner (A report)") == [["66.97", "60.25", "63.40"]]
    assert cells(text, "mine")[0][2:4] == ["2", "55.00 ± 7.07"] and "not run here" in text and "not run here" in page
    report.main(["--exp", str(exp)])
    assert "ublished" not in (exp / "RESULTS.md").read_text() + (tmp_path / "exp/RESULTS.md").read_text()


def test_published_file_at_fault_leaves_the_old_tables(tmp_path):
    write_seed(tmp_path / "exp/t", 0, 0.5)
    write_text(tmp_path / "published.yaml", PUBLISHED.replace("66.97", "669.7"))
    with pytest.raises(ValueError, match=r"published.yaml: systems\[0\] \(Winner\): official"):
        report.main(["--exp", str(tmp_path / "exp/t"), "--published", str(tmp_path / "published.yaml")])
    assert not (tmp_path / "exp/t/RESULTS.md").exists()


def test_transductive_tags_are_labelled(tmp_path, capsys):
    write_seed(tmp_path / "exp/plain", 0, 0.5)
    write_seed(tmp_path / "exp/z", 0, 0.7, transductive=True)
    write_text(tmp_path / "published.yaml", PUBLISHED)
    for tag in ("plain", "z"):
        report.main(["--exp", str(tmp_path / "exp" / tag), "--published", str(tmp_path / "published.yaml")])
    page, text = (tmp_path / "exp/z/RESULTS.md").read_text(), (tmp_path / "exp/RESULTS.md").read_text()
    assert page.startswith("# z (transductive)\n") and "Not for official results" in page
    assert cells(page, "this run: z (transductive)") and "z (transductive), dcase2022" in capsys.readouterr().out
    assert cells(text, "z (transductive)") and cells(text, "plain") and "Not for official results" in text
    assert "ransductive" not in (tmp_path / "exp/plain/RESULTS.md").read_text()


def test_tags_with_revealed_attributes_are_labelled(tmp_path):
    write_seed(tmp_path / "exp/plain", 0, 0.5)
    write_seed(tmp_path / "exp/r", 0, 0.7, revealed_attributes="/told/later", transductive=True)
    for tag in ("plain", "r"):
        report.main(["--exp", str(tmp_path / "exp" / tag)])
    page, text = (tmp_path / "exp/r/RESULTS.md").read_text(), (tmp_path / "exp/RESULTS.md").read_text()
    assert page.startswith("# r (transductive) (revealed attributes)\n")
    assert "Not to be compared" in page and "Not for official results" in page
    assert "revealed attributes: /told/later\n" in page
    assert read_json(tmp_path / "exp/r/results.json")["scores"]["knn"]["revealed_attributes"] == "/told/later"
    assert cells(text, "plain") and text.count("Not to be compared") == 1
    assert "evealed" not in (tmp_path / "exp/plain/RESULTS.md").read_text()


def test_table_is_aligned():
    text = table(["name", "x"], [["a", "10.00"], ["longer", "-"]])
    assert text == "| name   |     x |\n| ------ | ----: |\n| a      | 10.00 |\n| longer |     - |\n"
    assert cell(None) == "-" and cell({"mean": 0.12345, "std": None}) == "12.35"
    assert cell({"mean": 0.5, "std": 0.001}) == "50.00 ± 0.10"
