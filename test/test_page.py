"""The report as a page: what it holds, and what a browser makes of it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import FOUND, Browser
from experiments import Experiment

from asdkit.bin import report, score
from asdkit.corpus.manifest import read_manifest, write_manifest, write_ref
from asdkit.detectors.folder import read_scores
from asdkit.page.contents import TRAINING_SHOWN, link
from asdkit.protocols import ScoredClip, evaluate, machine_half_widths95
from asdkit.utils.files import read_json, read_table

ROOT = Path(__file__).parents[1]
needs_browser = pytest.mark.skipif(not FOUND, reason="needs Chromium (Debian: apt-get install chromium)")
EVIL = "<img src=x onerror=window.broken=1>&amp;\"' .wav"


def told(exp):
    """What the page of an experiment holds."""
    text = (exp / "report" / "index.html").read_text(encoding="utf-8")
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert len(found) == 1

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(found[0], parse_constant=refuse)


def page_of(experiment, *options, scored=True):
    """The page of an experiment after stages 5 and 6."""
    if scored:
        experiment.run(score)
    experiment.run(report, "--data", str(experiment.data), *options)
    return told(experiment.exp)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    experiment = Experiment(tmp_path_factory.mktemp("page"), seeds=(0, 1))
    for seed in (0, 1):
        experiment.run(score, seed=seed)
    return experiment, page_of(experiment)


def labels(experiment, name):
    return {row["utt"]: row for row in read_table(experiment.data / name / "ref.tsv", ("utt", "condition", "domain"))}


def test_numbers_are_those_of_results_json(made):
    experiment, page = made
    results = read_json(experiment.exp / "results.json")["scores"]
    assert [one["score"] for one in page["scores"]] == list(results)
    for one in page["scores"]:
        for key in ("sets", "all", "seeds", "protocol", "warnings"):
            assert one[key] == results[one["score"]][key]
    hashes = dict(page["scores"][0]["origin"])
    assert hashes["SHA-256 of its settings"] == results["knn"]["config_sha256"] and hashes["seeds"] == "0, 1"


def test_numbers_follow_from_the_clips_of_the_page(made):
    experiment, page = made
    one = page["scores"][0]
    for name, test in page["sets"].items():
        columns = zip(
            test["machine"], test["section"], test["domain"], test["condition"], one["clips"][name], strict=True
        )
        again = evaluate([ScoredClip(*row) for row in columns], one["protocol"])
        official = one["sets"][name]["official"]["seeds"][0]
        assert again["official"] == pytest.approx(official, abs=1e-12)
        truth = labels(experiment, f"{name}_test")
        assert {utt: truth[utt]["condition"] for utt in test["utt"]} == dict(
            zip(test["utt"], test["condition"], strict=True)
        )
        file = experiment.exp / "seed0" / "score" / "knn" / f"{name}_test.tsv"
        assert read_scores(file) == dict(zip(test["utt"], one["clips"][name], strict=True))


def test_intervals_of_machines_leave_out_each_clip():
    random = np.random.default_rng(3)
    clips = [
        ScoredClip("fan", section, domain, condition, float(random.normal(condition == "anomaly")))
        for section in ("00", "01")
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for _ in range(12)
    ]
    found = machine_half_widths95(clips, "dcase2022")["fan"]
    assert set(found) == {"auc_source", "auc_target", "pauc"}
    for name, half in found.items():
        variance = 0.0
        for stratum in {clip[1:4] for clip in clips}:
            left = [
                evaluate(clips[:i] + clips[i + 1 :], "dcase2022")["machines"][0]["values"][name]
                for i, clip in enumerate(clips)
                if clip[1:4] == stratum
            ]
            variance += (len(left) - 1) * np.var(left)
        assert half == pytest.approx(1.96 * np.sqrt(variance), rel=1e-9)


def test_training_clips_and_thresholds(made):
    experiment, page = made
    one, folder = page["scores"][0], experiment.exp / "seed0" / "score" / "knn"
    own = read_scores(folder / "train.tsv")
    for machine, section, count, values in one["training"]:
        expected = sorted(value for utt, value in own.items() if utt.startswith(f"{machine}-"))
        assert section == "00" and count == len(expected) <= TRAINING_SHOWN
        assert values == pytest.approx(expected, rel=1e-5)
    limits = {
        row["machine"]: float(row["threshold"])
        for row in read_table(folder / "threshold.tsv", ("machine", "section", "threshold"))
    }
    assert {machine: value for machine, _, value in one["thresholds"]} == limits


def test_without_truth_there_are_scores_and_thresholds_alone(tmp_path):
    experiment = Experiment(tmp_path)
    for name in ("dev_test", "eval_test"):
        (experiment.data / name / "ref.tsv").unlink()
    page = page_of(experiment)
    assert not page["sets"]["dev"]["labelled"] and set(page["sets"]["dev"]["condition"]) == {"-"}
    assert page["scores"][0]["thresholds"] and page["scores"][0]["half_widths95"]["dev"] == {}


def test_without_data_there_are_results_alone(made):
    experiment, page = made
    experiment.run(report)
    alone = told(experiment.exp)
    assert alone["sets"] == {} and alone["scores"][0]["sets"] == page["scores"][0]["sets"]
    page_of(experiment, scored=False)


def test_names_are_text(tmp_path):
    assert link(tmp_path / "a b" / 'x"<y>#%.wav', tmp_path / "report") == "../a%20b/x%22%3Cy%3E%23%25.wav"
    experiment = with_names(tmp_path)
    page = page_of(experiment)
    assert EVIL in page["sets"]["dev"]["file"]
    assert EVIL not in (experiment.exp / "report" / "index.html").read_text(encoding="utf-8")


def with_names(root):
    """An experiment in which a clip and a machine have names that would be markup."""
    experiment = Experiment(root, sets=("dev",), machines=("fan", "<em>&'\""))
    path = experiment.data / "dev_test" / "manifest.tsv"
    rows = read_manifest(path)
    rows[0]["wav"] = f"a b/<!--<script>/{EVIL}"
    rows[1]["wav"] = "x</script><script>window.broken=1</script>.wav"
    write_manifest(path, rows)
    return experiment


def test_all_parts_are_installed():
    pattern = re.search(r'"asdkit.page": \[(.+)\]', (ROOT / "setup.py").read_text(encoding="utf-8"))
    suffixes = set(re.findall(r'"\*(\.\w+)"', pattern[1]))
    others = {path.suffix for path in (ROOT / "asdkit" / "page").iterdir() if path.is_file()} - {".py"}
    assert others == suffixes


def numbers(browser, selector):
    """The large figures of the page by their titles."""
    pairs = "d => [d.querySelector('span').textContent, d.querySelector('b').textContent]"
    return browser.run(f"Object.fromEntries([...document.querySelectorAll('{selector}')].map({pairs}))")


@needs_browser
def test_the_threshold_is_dragged(made):
    experiment, page = made
    machine, test, values = page["sets"]["dev"]["machine"][0], page["sets"]["dev"], page["scores"][0]["clips"]["dev"]
    chosen = [i for i, name in enumerate(test["machine"]) if name == machine]
    scores = np.array(values)[chosen]
    anomalous = np.array(test["condition"])[chosen] == "anomaly"
    with Browser(1100, 900, prefers_reduced_motion="reduce") as browser:
        browser.open(experiment.exp / "report" / "index.html")

        def check():
            limit = float(browser.run("document.getElementById('handle').getAttribute('aria-valuenow')"))
            above, found = scores > limit, numbers(browser, "#figures > div")
            fp, tp = int((above & ~anomalous).sum()), int((above & anomalous).sum())
            alarms = fp / (~anomalous).sum() * day
            assert float(found["False alarms a day"].replace(",", "")) == pytest.approx(alarms, rel=0.02, abs=0.5)
            assert found["Detection rate"] == f"{100 * tp / anomalous.sum():.1f} %"
            assert found["Precision"] == (f"{100 * tp / (tp + fp):.1f} %" if tp + fp else "-")
            assert found["F1"] == f"{100 * 2 * tp / (tp + fp + anomalous.sum()):.1f}"
            return limit

        day = test["clips_a_day"]
        first = check()
        browser.run("document.getElementById('distributions').scrollIntoView({block: 'center', behavior: 'instant'})")
        x, y = browser.middle("#handle circle")
        width = browser.run("document.getElementById('distributions').clientWidth")
        browser.mouse("move", x, y)
        browser.mouse("press", x, y)
        seen = []
        for step in (0.05, -0.1, 0.15):
            browser.mouse("move", x + step * width, y, held=True)
            seen.append(check())
        browser.mouse("release", x + 0.15 * width, y)
        assert len({first, *seen}) == 4 and seen[1] < seen[0] < seen[2]
        keys = {"ArrowLeft": 37, "PageDown": 34, "End": 35, "PageUp": 33, "Home": 36, "ArrowUp": 38}
        by_keys = []
        for name, code in keys.items():
            browser.key(name, code)
            by_keys.append(check())
        left, down, end, end_again, home, up = by_keys
        assert down < left < seen[-1] < end == end_again and home < up < down
        browser.click("#reset")
        assert check() == first
        browser.run("document.getElementById('per-day').select()")
        browser.type("100")
        day = 100
        check()
        assert browser.errors == []


@needs_browser
def test_the_curves_hold_the_areas(made):
    experiment, page = made
    with Browser() as browser:
        browser.open(experiment.exp / "report" / "index.html")
        row = page["scores"][0]["sets"]["dev"]["machines"][0]
        shown = browser.run("document.querySelector('#roc .key').textContent")
        assert f"AUC source: {100 * row['values']['auc_source']['mean']:.2f}" in shown
        path = browser.run("document.querySelector('#roc path.curve').getAttribute('d')")
        x, y = np.array([list(map(float, pair.split())) for pair in re.split("[ML]", path)[1:]]).T
        area = np.trapezoid(y[0] - y, x) if hasattr(np, "trapezoid") else np.trapz(y[0] - y, x)
        area /= (x[-1] - x[0]) * (y[0] - y[-1])
        assert area == pytest.approx(row["values"]["auc_source"]["seeds"][0], abs=1e-3)


@needs_browser
def test_clips_are_searched_and_names_are_shown_as_text(tmp_path):
    experiment = with_names(tmp_path)
    page = page_of(experiment)
    with Browser() as browser:
        browser.open(experiment.exp / "report" / "index.html")
        browser.run(
            "(() => { document.getElementById('scope').value = 'all'; document.getElementById('scope').onchange(); })()"
        )
        assert browser.run("document.getElementById('found').textContent").startswith("80 of 80 clips")
        browser.click("#search")
        browser.type("broken")
        names = browser.run("[...document.querySelectorAll('td.name a')].map(a => a.textContent)")
        expected = [file for file in page["sets"]["dev"]["file"] if "broken" in file]
        assert names == expected and len(names) == 1
        links = browser.run("[...document.querySelectorAll('td.name a')].map(a => a.protocol)")
        assert set(links) == {"file:"}
        assert browser.run("window.broken") is None and browser.run("document.querySelectorAll('em, img').length") == 0
        assert browser.errors == []


@needs_browser
@pytest.mark.parametrize("case", ["normal", "anomaly", "unlabelled"])
def test_one_class_alone(tmp_path, case):
    experiment = Experiment(tmp_path, sets=("dev",))
    path = experiment.data / "dev_test" / "ref.tsv"
    truth = labels(experiment, "dev_test")
    if case == "unlabelled":
        path.unlink()
    else:
        write_ref(path, [row | {"condition": case} for row in truth.values()])
    page_of(experiment)
    with Browser(390, 844) as browser:
        browser.open(experiment.exp / "report" / "index.html")
        text = browser.run("document.body.innerText")
        assert not re.search(r"NaN|undefined|Infinity|\[object", text)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        found = numbers(browser, "#figures > div")
        assert ("Test clips above" if case == "unlabelled" else "F1") in found and browser.errors == []
