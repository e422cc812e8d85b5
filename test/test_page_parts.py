"""What the page shows of embeddings and of training: planes, codes, curves, weights of the group adapters."""

import json
import shutil

import numpy as np
import pytest
import torch
from browser import Browser
from experiments import Experiment
from recipe import CONFIG, run_stages
from test_page import needs_browser, page_of, told

from asdkit.adapt.group_adapter import GroupAdapter
from asdkit.bin import report, score
from asdkit.corpus.manifest import read_manifest, write_manifest
from asdkit.infer.experiment import Experiment as Opened
from asdkit.infer.groups import group_weights
from asdkit.page import groups, maps, plane
from asdkit.page.codes import assigned, usage
from asdkit.page.codes import told as told_of
from asdkit.page.curves import POINTS, curves, scores_over_steps
from asdkit.utils.files import write_json, write_table

STEPS = 6


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe's folder after stage 6: a network with group adapters and DLCL, hardly trained."""
    root = tmp_path_factory.mktemp("a recipe")
    (root / "x.yaml").write_text(
        CONFIG.replace("steps: 30", f"steps: {STEPS}").replace("log_every: 10", "log_every: 2")
    )
    run_stages(root)
    report.main(["--data", str(root / "data"), "--exp", str(root / "exp/x"), "--clips", "0"])
    return root


def again(recipe):
    report.main(["--data", str(recipe / "data"), "--exp", str(recipe / "exp/x"), "--clips", "0"])
    return told(recipe / "exp/x")


def test_planes_hold_groups_and_variance():
    random = np.random.default_rng(0)
    middles = np.eye(12)[:3]
    x = np.concatenate([middle + 0.02 * random.normal(size=(20, 12)) for middle in middles])
    found = plane.both(x)
    whose = np.repeat(range(3), 20)
    for name in ("tsne", "pca"):
        points = np.array(found[name]).reshape(60, 2)
        assert points.min() == 0 and points.max() == plane.STEPS
        distances = np.linalg.norm(points[:, None] - points, axis=-1) + np.where(np.eye(60), np.inf, 0)
        assert (whose[distances.argmin(axis=1)] == whose).all(), name
    inside = plane.unit(x) - plane.unit(x).mean(axis=0)
    values = np.linalg.eigvalsh(inside.T @ inside)[::-1]
    assert found["shares"] == pytest.approx(values[:2] / values.sum(), abs=1e-4)
    assert plane.both(x) == found


@pytest.mark.parametrize("clips", [1, 2, 4, 5, 20])
@pytest.mark.parametrize("kind", ["random", "same", "zero", "line"])
def test_planes_of_few_and_of_equal_vectors(clips, kind):
    x = np.random.default_rng(1).normal(size=(clips, 3)).astype(np.float32)
    x = {"random": x, "same": x[:1].repeat(clips, 0), "zero": 0 * x, "line": x[:, :1] * [1, 0, 0]}[kind]
    found = plane.both(x)
    json.dumps(found, allow_nan=False)
    assert len(found["pca"]) == 2 * clips and 0 <= min(found["pca"]) <= max(found["pca"]) <= plane.STEPS
    if kind == "random":
        assert (found["tsne"] is None) == (clips < plane.FEWEST)
    if kind in ("same", "zero"):
        assert found["tsne"] is None and set(found["pca"]) <= {499, 500}


def test_points_are_the_clips_of_the_page(tmp_path, monkeypatch):
    experiment = Experiment(tmp_path, sets=("dev",))
    page = page_of(experiment)
    test, found = page["sets"]["dev"], page["maps"]["sets"]["dev"]
    assert list(found) == sorted(set(test["machine"]))
    for machine, own in found.items():
        assert own["of"] == own["shown"] == [40, 40] and len(own["tsne"]) == len(own["pca"]) == 160
        assert own["test"] == [i for i, name in enumerate(test["machine"]) if name == machine]
        assert own["domain"] == [row["domain"] for row in train_rows(experiment) if row["machine"] == machine]
        assert own["code"] is None
    assert "DLCL" in page["maps"]["why"] and page["codes"] is None and "no group adapter" in page["groups"]
    monkeypatch.setattr(maps, "both", lambda x: pytest.fail("made again"))
    assert page_of(experiment, scored=False)["maps"] == page["maps"]
    monkeypatch.undo()
    experiment.embed("dev_test", 0, 99)
    experiment.run(score, "--force", "true")
    assert page_of(experiment, scored=False)["maps"]["sets"] != found


def train_rows(experiment):
    return read_manifest(experiment.data / "dev_train" / "manifest.tsv")


def test_many_points_are_thinned_and_rare_ones_kept(monkeypatch):
    monkeypatch.setattr(maps, "CAP", 100)
    rare = {"utt": "", "machine": "fan", "section": "00", "attr": "-", "domain": "target"}
    rows = [rare | {"utt": f"{i}"} | ({} if i % 100 == 7 else {"domain": "source"}) for i in range(1200)]
    x = np.random.default_rng(0).normal(size=(1200, 4)).astype(np.float32)
    found = maps._machine(rows, x, {f"{i}": i - 1000 for i in range(1000, 1200)}, {})
    assert found["of"] == [1000, 200] and found["shown"] == [50, 50] and len(found["pca"]) == 200
    assert found["domain"].count("target") == 10 and len(set(found["test"])) == 50
    assert len(json.dumps(found, separators=(",", ":"))) < 5_000, "500 points each of sixteen machines fit into a page"
    crowd = maps._machine(rows, x, {f"{i}": i for i in range(1200)}, {})
    assert crowd["shown"] == [0, 100] and len(set(crowd["test"])) == 100


def test_what_is_not_there_is_said(tmp_path):
    experiment = Experiment(tmp_path, sets=("dev",), machines=("fan",))
    (experiment.data / "dev_test" / "ref.tsv").unlink()
    page = page_of(experiment, "--clips", "0")
    assert set(page["sets"]["dev"]["condition"]) == {"-"} and page["maps"]["sets"]["dev"]
    assert page["curves"] == {"seeds": {}, "rows": 1, "said": ""} and page["steps"] == {
        "rows": [],
        "said": "",
        "chosen": {},
    }
    shutil.rmtree(experiment.exp / "seed0" / "embed")
    page = page_of(experiment, "--clips", "0", scored=False)
    assert page["maps"]["sets"] == {} and page["maps"]["said"].startswith("No embeddings to show: ")
    experiment.run(report)
    assert told(experiment.exp)["maps"] is None


def test_attributes_of_test_clips_need_the_truth(tmp_path):
    experiment = Experiment(tmp_path, sets=("dev",), machines=("fan",))
    path = experiment.data / "dev_test" / "manifest.tsv"
    rows = read_manifest(path)
    for i, row in enumerate(rows):
        row["wav"] = f"dev/section_00_source_test_normal_{i:04d}_spd_{i % 2}.wav"
    write_manifest(path, rows)
    own = page_of(experiment, "--clips", "0")["maps"]["sets"]["dev"]["fandev"]["attr"]
    assert own["names"] == ["-", "spd_0", "spd_1"] and own["of"] == [0] * 40 + [1, 2] * 20
    (experiment.data / "dev_test" / "ref.tsv").unlink()
    own = page_of(experiment, "--clips", "0", scored=False)["maps"]["sets"]["dev"]["fandev"]["attr"]
    assert own["names"] == ["-"]


def test_codes_are_those_that_the_loss_would_choose(recipe):
    experiment = Opened.open(recipe / "exp/x", data=recipe / "data", device="cpu")
    codes = assigned(experiment)
    objective = experiment.system.objective
    rows, x = zip(*[experiment.load(name, zeros=True) for name in ("dev_train", "eval_train")], strict=True)
    with torch.no_grad():
        seen = objective.norm.train()(torch.from_numpy(np.concatenate(x)).double().float())
        similar = (
            torch.nn.functional.normalize(seen, dim=1) @ torch.nn.functional.normalize(objective.dlcl.codes, dim=1).T
        )
    best = similar.sort(dim=1, descending=True).values
    utts = [row["utt"] for own in rows for row in own]
    for utt, code, gap in zip(utts, similar.argmax(1).tolist(), (best[:, 0] - best[:, 1]).tolist(), strict=True):
        assert codes.of[utt] == code or gap < 1e-4
    told_all = told(recipe / "exp/x")["codes"]
    assert told_all == usage(experiment, codes) and told_all["codes"] == 4
    without = {row["machine"] for own in rows for row in own if row["attr"] == "-"}
    assert {one["machine"] for one in told_all["machines"]} == without and without
    assert sum(told_all["all"]["counts"]) == sum(row["attr"] == "-" for own in rows for row in own)
    shown = told(recipe / "exp/x")["maps"]["sets"]["dev"]["fan"]
    assert len(shown["code"]) == sum(shown["shown"])


def test_how_evenly_codes_are_used():
    assert told_of(np.array([5, 5, 0, 5])) == {"counts": [5, 5, 0, 5], "used": 3, "even": 3.0}
    assert told_of(np.array([9, 0]))["even"] == 1.0 and told_of(np.zeros(3, int))["even"] == 0.0
    assert told_of(np.array([3, 1]))["even"] == pytest.approx(np.exp(0.75 * np.log(4 / 3) + 0.25 * np.log(4)), abs=1e-3)


def test_curves(recipe, tmp_path):
    found = told(recipe / "exp/x")["curves"]
    assert found["seeds"]["0"]["step"] == [2, 4, 6] and set(found["seeds"]["0"]) == {
        "step",
        "lr",
        "loss",
        "aam",
        "dlcl",
    }
    rows = [{"step": str(50 * i), "loss": "nan" if i == 5 else str(1000 - i)} for i in range(1, 601)]
    (tmp_path / "seed3").mkdir()
    write_table(tmp_path / "seed3" / "train.tsv", ("step", "loss"), rows)
    (tmp_path / "seed4").mkdir()
    (tmp_path / "seed4" / "train.tsv").write_text("step\tloss\n1\n")
    found = curves(tmp_path)
    own = found["seeds"]["3"]
    assert found["rows"] == 4 and len(own["step"]) == POINTS and "not a training curve" in found["said"]
    assert own["step"][0] == 200 and own["loss"][:3] == [997.5, 993.0, 989.5]
    for path, parts in (("one", {"aam": "2.5"}), ("two", {"aam": "2.0", "dlcl": "0.5"})):
        (tmp_path / path / "seed0").mkdir(parents=True)
        row = {"step": "50", "lr": "0.1", "loss": "2.5"} | parts
        write_table(tmp_path / path / "seed0/train.tsv", tuple(row), [row])
        assert ("loss" in curves(tmp_path / path)["seeds"]["0"]) == (path == "two")


def test_scores_over_steps(tmp_path):
    assert scores_over_steps(tmp_path) == {"rows": [], "said": "", "chosen": {}}
    one = {"step": 40, "seed": 0, "score": "knn", "set": "dev", "official": 0.75, "more": 1}
    write_json(tmp_path / "steps.json", [one])
    assert scores_over_steps(tmp_path) == {"rows": [[40, 0, "knn", "dev", 0.75]], "said": "", "chosen": {}}
    write_json(
        tmp_path / "steps.json", [one | {"pseudo_auc": 0.9, "chosen": True}, one | {"step": 80, "chosen": False}]
    )
    assert scores_over_steps(tmp_path)["chosen"] == {"0": 40}
    write_json(tmp_path / "steps.json", [one])
    write_json(tmp_path / "steps.json", [one | {"official": None}])
    assert scores_over_steps(tmp_path)["rows"] == [] and "not known" in scores_over_steps(tmp_path)["said"]
    for wrong in ([{}], {"a": 1}, [one | {"step": "x"}]):
        write_json(tmp_path / "steps.json", wrong)
        assert "cannot be read" in scores_over_steps(tmp_path)["said"]


def rig(experiment, machines):
    """Let every group adapter choose group 0 for clips of the first machine, 1 for the other's, by their mean token."""
    rows = [row for own in machines for row in own]
    wanted = np.repeat([0.0, 1.0], [len(own) for own in machines])
    for adapter in (module for module in experiment.system.modules() if isinstance(module, GroupAdapter)):
        brought = []
        hook = adapter.register_forward_hook(lambda _, given, __, own=brought: own.append(given[0].mean(1)[0].numpy()))
        list(group_weights(experiment, rows))
        hook.remove()
        tokens = np.column_stack([brought, np.ones(len(rows))])  # fewer clips than dimensions: told apart exactly
        *direction, offset = np.linalg.lstsq(tokens, wanted, rcond=None)[0]
        first, _, last = adapter.decide
        with torch.no_grad():
            for p in (*first.parameters(), *last.parameters()):
                p.zero_()
            first.weight[0] = torch.tensor(direction)
            first.bias[0] = offset
            last.weight[1, 0], last.bias[0] = 20.0, 10.0


def test_two_machines_made_to_differ_have_other_weights(recipe):
    experiment = Opened.open(recipe / "exp/x", data=recipe / "data", device="cpu")
    before = groups._made(experiment, {("dev", m): rows for m, rows in clips_of(experiment).items()})
    fan, valve = clips_of(experiment)["fan"], clips_of(experiment)["valve"]
    rig(experiment, (fan, valve))
    after = groups._made(experiment, {("dev", "fan"): fan, ("dev", "valve"): valve})
    for layer, (one, other) in enumerate(zip(*[m["weights"] for m in after["machines"]], strict=True)):
        assert sum(one) == pytest.approx(1, abs=0.01) and sum(other) == pytest.approx(1, abs=0.01)
        assert one[0] > 0.9 and other[1] > 0.9, layer
    assert min(after["between"]) > 0.9 > max(before["between"]) and len(after["between"]) == 2
    assert max(after["within"]) < 0.1


def clips_of(experiment):
    found = {}
    for row in experiment.rows("dev_test"):
        found.setdefault(row["machine"], []).append(row)
    return found


def test_weights_of_group_adapters_are_kept(recipe, monkeypatch):
    page = told(recipe / "exp/x")
    own = page["groups"]["machines"]
    assert {(one["set"], one["machine"]) for one in own} == {
        (name, machine) for name, test in page["sets"].items() for machine in test["machine"]
    }
    weights = np.array([one["weights"] for one in own])
    assert weights.shape == (len(own), 2, 3) and weights.sum(axis=-1) == pytest.approx(1, abs=0.01)
    monkeypatch.setattr(groups, "_made", lambda *_: pytest.fail("the network was opened again"))
    assert again(recipe)["groups"] == page["groups"]
    config = Opened.open(recipe / "exp/x").config.model_dump(mode="json")
    assert all(keys <= config[part].keys() for part, keys in groups.HEARD.items())


def test_a_recording_that_is_gone_is_left_out(recipe):
    experiment = Opened.open(recipe / "exp/x", data=recipe / "data", device="cpu")
    fan = clips_of(experiment)["fan"]
    found = groups._made(experiment, {("dev", "fan"): [*fan[:2], fan[2] | {"wav": "gone.wav"}]})
    assert found["machines"][0]["clips"] == 2 and "gone.wav" in found["said"] and found["between"] is None
    with pytest.raises(ValueError, match="no clip could be heard"):
        groups._made(experiment, {("dev", "fan"): [fan[2] | {"wav": "gone.wav"}]})


@needs_browser
@pytest.mark.parametrize("width", [1200, 390])
def test_the_parts_are_drawn(recipe, width):
    with Browser(width, 900) as browser:
        browser.open(recipe / "exp/x" / "report" / "index.html")
        for tint in ("condition", "domain", "attr", "code"):
            browser.run(
                f"(s => {{ s.value = '{tint}'; s.onchange({{ target: s }}); }})(document.getElementById('tint'))"
            )
            assert browser.run("document.querySelectorAll('#planes svg').length") == 2
            named = browser.run("[...document.querySelectorAll('#map-key small')].map(e => Number(e.textContent))")
            own = told(recipe / "exp/x")["maps"]["sets"]["dev"]["fan"]
            assert sum(named) == sum(own["shown"]), tint
        browser.click("#map-key button")
        assert browser.run("document.querySelector('#map-key button').getAttribute('aria-pressed')") == "true"
        assert browser.run("document.querySelectorAll('#planes .faint').length") > 0
        for part in ("curves", "groups", "codes"):
            assert browser.run(f"document.querySelectorAll('#{part} svg').length") > 0, part
        assert "no exp/x/steps.json" in browser.run("document.getElementById('steps').textContent")
        browser.click("#groups [data-layer='1']")
        assert "Layer 2" in browser.run("document.getElementById('group-told').textContent")
        text = browser.run("document.body.innerText")
        assert not any(word in text for word in ("NaN", "undefined", "Infinity", "[object"))
        assert browser.run("document.documentElement.scrollWidth") <= width and browser.errors == []


@needs_browser
def test_a_point_leads_to_its_clip(tmp_path):
    experiment = Experiment(tmp_path, sets=("dev",), machines=("fan",))
    page = page_of(experiment, "--clips", "0")
    own, test = page["maps"]["sets"]["dev"]["fandev"], page["sets"]["dev"]
    at = own["shown"][0] + 5
    with Browser(1200, 900) as browser:
        browser.open(experiment.exp / "report" / "index.html")
        browser.run("document.getElementById('planes').scrollIntoView({block: 'center', behavior: 'instant'})")
        browser.run(
            f"(p => {{ const [x, y] = p.placeOf({at}), b = p.getBoundingClientRect(), k = b.width / 460;"
            "p.dispatchEvent(new MouseEvent('click', { clientX: b.x + k * x, clientY: b.y + k * y })); })"
            "(document.querySelector('#planes svg'))"
        )
        assert test["file"][own["test"][5]] in browser.run("document.getElementById('map-told').textContent")
        browser.click("#map-told button")
        assert browser.run("document.querySelectorAll('#table tbody tr').length") == 1
        assert browser.errors == []
