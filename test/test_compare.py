"""Experiments compared: what is told, what is refused, what differs in configurations, and the page's part."""

import numpy as np
import pytest
from browser import FOUND, Browser
from experiments import Experiment
from firefox import FOUND as FIREFOX
from firefox import Firefox

from asdkit.bin import report, score
from asdkit.config import Config, load_config
from asdkit.config.differences import differences
from asdkit.corpus.manifest import read_manifest, read_ref, write_ref
from asdkit.detectors.folder import read_scores, write_scores
from asdkit.utils.files import read_json, write_json, write_table, write_text


def beside(root, tag, seeds=(0,), better=0.0, config="score:\n  k: 1\n"):
    """An experiment that is scored and evaluated; `better` is added to the scores of its anomalies."""
    experiment = Experiment(root, seeds=seeds, tag=tag)
    write_text(experiment.exp / "config.yaml", config)
    for seed in seeds:
        experiment.run(score, seed=seed)
        for name in ("dev_test", "eval_test") if better else ():
            path, ref = (
                experiment.exp / f"seed{seed}/score/knn/{name}.tsv",
                read_ref(experiment.data / name / "ref.tsv"),
            )
            scores = {utt: value + better * (ref[utt][0] == "anomaly") for utt, value in read_scores(path).items()}
            write_scores(path, scores)
            path.with_name(".written").unlink(missing_ok=True)  # the change is meant
    experiment.run(report, "--data", str(experiment.data), "--clips", "0")
    return experiment


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    first = beside(root, "first", (0, 1))
    beside(root, "copy", (0, 1))
    beside(root, "better", better=0.1, config="train:\n  steps: 7\n  warmup_steps: 0\nscore:\n  k: 2\n")
    return first


def compared(experiment, *others):
    experiment.run(report, "--data", str(experiment.data), "--clips", "0", "--compare", *others)
    return read_json(experiment.exp / "results.json")["compared"]


def test_a_copy_differs_by_nothing_and_a_better_one_is_found(three, capsys):
    found = compared(three, "copy", "better")
    copy, better = found["differences"]
    for one in copy["sets"].values():
        assert [one[key] for key in ("difference", "low", "high", "above", "below")] == [0] * 5
    results = {tag: read_json(three.exp.parent / tag / "results.json")["scores"]["knn"] for tag in ("first", "better")}
    for name in ("dev", "eval"):
        one = better["sets"][name]
        means = [np.mean(results[tag]["sets"][name]["official"]["seeds"]) for tag in ("first", "better")]
        assert one["difference"] == pytest.approx(means[0] - means[1], abs=1e-12)
        assert one["low"] < one["difference"] < one["high"] < 0 and one["below"] > 0.97
        rows = {row["machine"]: row["difference"] for row in one["machines"]}
        for row, other in zip(*(results[tag]["sets"][name]["machines"] for tag in ("first", "better")), strict=True):
            assert rows[row["machine"]] == pytest.approx(row["score"]["mean"] - other["score"]["mean"], abs=1e-12)
    both = [one["all"]["mean"] for one in results.values()]
    assert better["sets"]["all"]["difference"] == pytest.approx(both[0] - both[1], abs=1e-12)
    told = capsys.readouterr().out
    assert told.endswith((three.exp / "RESULTS.md").read_text().partition("## Beside other")[2])
    assert "| better, dev" in told and "not other seeds" in told
    keys = {row["key"]: row["values"] for row in found["settings"]}
    usual = [str(Config().train.steps), True]
    assert keys["train.steps"] == [usual, usual, ["7", False]]
    assert set(keys) == {"train.steps", "train.warmup_steps", "score.k"}


def test_without_the_option_nothing_is_left_of_it(three):
    compared(three, "copy")
    three.run(report, "--data", str(three.data), "--clips", "0")
    assert "compared" not in read_json(three.exp / "results.json")
    assert "Beside other" not in (three.exp / "RESULTS.md").read_text()


def test_what_cannot_be_compared_is_named(three, tmp_path):
    for others, words in (
        (["nothing"], "there is no .*nothing. Experiments there: better, copy, first"),
        (["copy:gmm"], "no results of a score 'gmm', but of knn"),
        (["copy", "copy"], "named twice"),
        (["first"], "named twice"),
    ):
        with pytest.raises(ValueError, match=words):
            compared(three, *others)
    with pytest.raises(ValueError, match="--compare needs --data"):
        three.run(report, "--compare", "copy")
    first = beside(tmp_path, "first")
    beside(tmp_path, "other")
    path = first.exp.parent / "other/seed0/score/knn/dev_test.tsv"
    scores = read_scores(path)
    gone = dict(list(scores.items())[1:])
    write_scores(path, gone)
    with pytest.raises(ValueError, match="1 clips of .*manifest.tsv are not in it"):
        compared(first, "other")
    write_scores(path, {utt: -value for utt, value in scores.items()})
    with pytest.raises(ValueError, match="but was evaluated as .*--tag other --stage 6 --force true"):
        compared(first, "other")
    write_scores(path, scores)
    results = first.exp.parent / "other/seed0/score/knn/results.json"
    text = results.read_text()
    write_text(results, text.replace('"protocol": "dcase2022"', '"protocol": "dcase2021"'))
    with pytest.raises(ValueError, match="scored by dcase2021, first by dcase2022"):
        compared(first, "other")
    write_text(results, text)
    path.unlink()
    with pytest.raises(ValueError, match="dev_test.tsv"):
        compared(first, "other")
    for name in ("dev_test", "eval_test"):
        (first.data / name / "ref.tsv").unlink()
    with pytest.raises(ValueError, match="no test set .* has labels"):
        compared(first, "other")


def test_other_labels_are_noticed(tmp_path):
    first = beside(tmp_path, "first")
    beside(tmp_path, "other")
    folder = first.data / "dev_test"
    ref, rows = read_ref(folder / "ref.tsv"), read_manifest(folder / "manifest.tsv")
    turned = {"normal": "anomaly", "anomaly": "normal"}
    write_ref(
        folder / "ref.tsv",
        [{"utt": row["utt"], "condition": turned[ref[row["utt"]][0]], "domain": ref[row["utt"]][1]} for row in rows],
    )
    with pytest.raises(ValueError, match="other labels, or scores that have changed"):
        compared(first, "other")


def config_of(tmp_path, text):
    write_text(tmp_path / "c.yaml", text)
    return load_config(tmp_path / "c.yaml")


def test_configurations_differ_by_values_not_by_text(tmp_path):
    plain = config_of(tmp_path, "train:\n  lr: 1e-4\nscore:\n  k: 1\n")
    same = config_of(tmp_path, "score:\n  knn:\n    k: 1\ntrain:\n  lr: 0.0001\n  log_every: 7\n")
    assert differences([plain, same], ["knn", "knn"]) == []
    lora = config_of(tmp_path, "model:\n  lora:\n    rank: 3\nscore:\n  near:\n    detector: knn\n    k: 2\n")
    found = {one.key: one.settings for one in differences([plain, lora, None], ["knn", "near"] + ["knn"])}
    assert [one and one.text for one in found["model.lora"]] == ["null", "used", None]
    assert [one and one.default for one in found["score.k"]] == [
        plain.score["knn"].k == Config().score["knn"].k,
        False,
        None,
    ]
    assert found["model.lora.rank"][:2] == [None, ("3", False)] and "model.lora.dropout" not in found
    other = config_of(tmp_path, "encoder:\n  name: cnn10\n  train: true\n")
    keys = [one.key for one in differences([plain, other], ["knn", "knn"])]
    assert keys[0] == "encoder.name" and not any(key.startswith("encoder.arch.") for key in keys[:1])


@pytest.mark.skipif(not FOUND, reason="needs Chromium (Debian: apt-get install chromium)")
def test_the_page_shows_the_comparison(three):
    found = compared(three, "copy", "better")
    with Browser(390, 844) as browser:
        browser.open(three.exp / "report" / "index.html")
        text = browser.run("document.getElementById('compare').innerText")
        assert "first scores the same as copy" in text and "scores lower than better" in text
        shown = browser.run("[...document.querySelectorAll('#compare-lanes .number')].map(e => e.firstChild.data)")
        assert [float(one.replace("\u2212", "-")) for one in shown] == pytest.approx(
            [
                100 * row["difference"]
                for other in found["differences"]
                for one in other["sets"].values()
                for row in (one, *one["machines"])
            ],
            abs=0.0051,
        )
        assert "7" in browser.run("document.querySelector('#compare-settings').innerText")
        assert browser.run("document.documentElement.scrollWidth") <= 390 and browser.errors == []
        three.run(report, "--data", str(three.data), "--clips", "0")
        browser.open(three.exp / "report" / "index.html")
        assert browser.run("document.getElementById('compare').hidden && document.getElementById('to-compare').hidden")


@pytest.mark.skipif(not FIREFOX, reason="needs Firefox (Debian: apt-get install firefox-esr)")
def test_firefox_shows_embeddings_training_and_comparison(three):
    curve = [{"step": str(step), "lr": "1e-4", "loss": str(9 - step)} for step in (1, 2, 3)]
    write_table(three.exp / "seed0" / "train.tsv", ("step", "lr", "loss"), curve)
    one = {"seed": 0, "score": "knn", "set": "dev"}
    write_json(three.exp / "steps.json", [one | {"step": step, "official": 0.7 + 0.01 * step} for step in (1, 3)])
    compared(three, "copy", "better")
    with Firefox(1440, 900, **{"layout.css.prefers-color-scheme.content-override": 0}) as browser:
        for width in (None, 390):
            browser.open(three.exp / "report" / "index.html", width)
            assert browser.run("document.documentElement.scrollWidth <= innerWidth"), width
            assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)", "dark"
            assert browser.run("document.querySelectorAll('#planes .point').length") == 2 * 80, (
                "training and test clips"
            )
            for part, count in (("planes", 2), ("curves", 2), ("steps", 2)):
                heights = (
                    f"[...document.querySelectorAll('#{part} svg')].map(e => e.getBoundingClientRect().height > 9)"
                )
                assert browser.run(heights) == [True] * count, part
            seen = browser.run("document.body.innerText")
            assert "scores the same as copy" in seen and not any(word in seen for word in ("NaN", "undefined"))
            browser.click("#map-key button")
            assert 0 < browser.run("document.querySelectorAll('#planes .faint').length") < 160
