import pytest

from asdkit.bin import report
from asdkit.report.results import over_seeds, over_sets
from asdkit.report.tables import cell, table
from asdkit.utils.files import read_json, write_json


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


def write_seed(exp, seed, dev, evaluation=0.6, **changes):
    sets = {"dev": one_set(dev), "eval": one_set(evaluation)}
    origin = {"config": "exp/t/config.yaml", "config_sha256": "c0ffee", "data_sha256": "da7a", "git": "abc123"}
    head = {"tag": exp.name, "seed": seed, "protocol": "dcase2022", "backend": "knn", **origin}
    result = {**head, "all": over_sets(sets, "dcase2022"), "sets": sets, **changes}
    write_json(exp / f"seed{seed}" / "results.json", result)


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
    found = read_json(exp / "results.json")
    assert found["seeds"] == [0, 2, 10]
    assert found["sets"]["dev"]["official"]["seeds"] == [0.5, 0.6, 0.7]
    assert found["sets"]["dev"]["machines"][1]["machine"] == "pump"
    assert found["sets"]["dev"]["sections"][0]["normal"] == 100


def test_page_says_what_it_was_made_from_and_marks_extras(tmp_path):
    exp = tmp_path / "exp" / "t"
    write_seed(exp, 0, 0.5)
    write_seed(exp, 1, 0.5, git="def456")
    (exp / "seed2").mkdir()
    report.main(["--exp", str(exp), "--force", "true"])
    page = (exp / "RESULTS.md").read_text()
    assert "exp/t/config.yaml (SHA-256 c0ffee)" in page and "git: abc123, def456" in page
    assert "seeds: 0, 1\n" in page and "seeds without results yet: 2" in page
    assert "protocol: dcase2022, back end: knn" in page
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
    assert cells(text, "a") == [["dcase2022", "2", "70.00 ± 0.00", "-", "-"]]
    assert cells(text, "b") == [["dcase2022", "1", "50.00", "60.00", "54.55"]]
    assert text.index("| a ") < text.index("| b ")
    assert "### eval: notes\n\n- no labels" in (exps[1] / "RESULTS.md").read_text()


@pytest.mark.parametrize("key", ["protocol", "backend", "config_sha256", "data_sha256"])
def test_seeds_that_do_not_belong_together(tmp_path, key):
    exp = tmp_path / "exp" / "t"
    write_seed(exp, 0, 0.5)
    write_seed(exp, 1, 0.5, **{key: "other"})
    with pytest.raises(ValueError, match=rf"seed1/results.json: {key} is other, in seed0 it is .*Run stages 5 and 6"):
        report.main(["--exp", str(exp)])
    assert not (exp / "RESULTS.md").exists()


def test_no_results_yet(tmp_path):
    (tmp_path / "exp" / "t" / "seed0").mkdir(parents=True)
    with pytest.raises(ValueError, match="no seed<K>/results.json; run stage 6"):
        over_seeds(tmp_path / "exp" / "t")


def test_table_is_aligned():
    text = table(["name", "x"], [["a", "10.00"], ["longer", "-"]])
    assert text == "| name   |     x |\n| ------ | ----: |\n| a      | 10.00 |\n| longer |     - |\n"
    assert cell(None) == "-" and cell({"mean": 0.12345, "std": None}) == "12.35"
    assert cell({"mean": 0.5, "std": 0.001}) == "50.00 ± 0.10"
