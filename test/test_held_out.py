"""Training clips that are held out, and the step of a training that is chosen by them: no label is read for it."""

import contextlib
import random
import re
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from browser import FOUND, Browser
from corpora import prepare, write_corpus
from stages import NETWORK

from asdkit.bin import extract_embeddings, make_lists, report, score, steps, train
from asdkit.config import Config, KnnConfig
from asdkit.corpus.manifest import read_manifest, read_ref, write_ref
from asdkit.data.batches import ChunkDataset
from asdkit.data.held_out import choose_held_out
from asdkit.detectors.knn import KNN
from asdkit.detectors.measured import best_step, over_machines, read_measured, write_measured
from asdkit.detectors.pseudo import Estimate, estimate, feature_pseudo_anomalies, pseudo_auc
from asdkit.detectors.scoring import recordings_of
from asdkit.infer.kept import arrays_of, experiment_at
from asdkit.models.checkpoint import read_checkpoint
from asdkit.report.steps import choices_table, read_steps
from asdkit.train.curve import Curve
from asdkit.utils.files import read_json, read_table
from asdkit.utils.typed_yaml import validate


def rows(count, machine="fan", domain="source", attributes=("a",), digest="", folder="x"):
    """Manifest rows of a machine."""
    return [
        {"utt": f"{machine}-{domain}-{i:03d}", "wav": f"{folder}/{i}.wav", "machine": machine, "section": "00"}
        | {"domain": domain, "attr": attributes[i % len(attributes)], "digest": digest or "-"}
        for i in range(count)
    ]


def count(held):
    return Counter(utt.rpartition("-")[0] for utt in held)


def test_a_share_of_each_machine_and_domain_is_held_out():
    clips = [*rows(100), *rows(10, domain="target"), *rows(30, "pump", attributes=("a", "b", "c"))]
    held = choose_held_out(clips, 0.1)
    assert count(held) == {"fan-source": 10, "fan-target": 1, "pump-source": 3}
    assert count(choose_held_out(clips, 0.5)) == {"fan-source": 50, "fan-target": 5, "pump-source": 15}
    assert count(choose_held_out(rows(5), 0.1)) == {"fan-source": 2}  # two of a machine at least
    assert count(choose_held_out([*rows(7), *rows(1, domain="target")], 0.1)) == {"fan-source": 2}
    assert count(choose_held_out([*rows(7), *rows(2, domain="target")], 0.1)) == {"fan-source": 1, "fan-target": 1}


def test_which_depends_on_the_ids_alone():
    clips = [*rows(100), *rows(10, domain="target")]
    held = choose_held_out(clips, 0.1)
    mixed = random.Random(0).sample(clips, len(clips))
    assert (
        choose_held_out(mixed, 0.1)
        == held
        == choose_held_out([*clips, *rows(9, "pump")], 0.1) - {*choose_held_out(rows(9, "pump"), 0.1)}
    )
    assert held < choose_held_out(clips, 0.3)
    assert held != {f"{utt}" for utt in sorted(row["utt"] for row in clips)[: len(held)]}


def test_something_is_left_of_every_attribute():
    clips = rows(40, attributes=[str(number) for number in range(20)])
    held = choose_held_out(clips, 0.9)
    left = {row["attr"] for row in clips if row["utt"] not in held}
    assert len(held) == 20 and len(left) == 20
    assert not choose_held_out(rows(3, attributes=("a", "b", "c")), 0.5)


def test_copies_and_folders_stay_together():
    copies = rows(4, digest="same") + rows(40, "pump")
    for number, row in enumerate(copies[4:]):
        row["digest"] = str(number // 2)
    held = choose_held_out(copies, 0.25)
    assert not {row["utt"] for row in copies[:4]} & held  # all that there is of it
    pairs = [{copies[i]["utt"], copies[i + 1]["utt"]} for i in range(4, 44, 2)]
    assert len(held) == 10 and all(len(pair & held) in (0, 2) for pair in pairs)
    clips = [row for day in range(10) for row in rows(100, folder=f"day{day}")[10 * day : 10 * day + 10]]
    held = choose_held_out(clips, 0.25, "folder")
    whole = Counter(row["wav"].split("/")[0] for row in clips if row["utt"] in held)
    assert sorted(whole.values()) == [10, 10]  # three would be more than a quarter
    assert len(choose_held_out(clips, 0.01, "folder")) == 10
    assert held != choose_held_out(clips, 0.25, "clip")


def test_an_estimate_on_clips_that_are_held_out_by_hand():
    x = np.array([[0.0], [1], [3], [10], [12], [2], [11]])
    held = np.array([False] * 5 + [True] * 2)
    clips = [
        {"utt": str(i), "domain": d, "attr": a} for i, (d, a) in enumerate(zip("ssstt" + "st", "aab--a-", strict=True))
    ]
    clips = [row | {"domain": {"s": "source", "t": "target"}[row["domain"]]} for row in clips]
    config, others = KnnConfig(distance="euclid"), np.array([[5.0]])
    found = estimate(config, clips, x, np.arange(7), others, held)
    assert found.parts == ("mixed features", "other machines", "other domain", "other attributes")
    mixed = KNN(1, "euclid").fit(x[:5]).anomaly_score(feature_pseudo_anomalies(x[5:]))
    # held out, by source (1 2 3 ...) and target (10 12); the target one by the source ones; the one of a by the others
    outside = np.concatenate([mixed, [2], [8], [1]])
    assert found.pseudo_auc == pytest.approx(pseudo_auc(np.array([1.0, 1.0]), outside))
    with pytest.raises(ValueError, match="1 training clips are held out, two are needed"):
        estimate(config, clips[:6], x[:6], np.arange(6), others, held[:6])


def test_the_best_of_several_steps():
    both = ("mixed features", "other machines")
    found = {
        10: {"fan": Estimate(0.7, 0.2, both), "pump": Estimate(0.9, 0.4, both)},
        20: {"fan": Estimate(0.9, 0.3, both), "pump": Estimate(0.9, 0.4, both)},
        30: {"fan": Estimate(1.0, 0.3, both), "pump": Estimate(0.8, 0.4, both)},
    }
    assert [round(one.pseudo_auc, 6) for one in over_machines(found).values()] == [0.8, 0.9, 0.9]
    assert best_step(found) == 20 and best_step({30: found[30], 20: found[20]}) == 20  # of equal ones the first
    alone = {step: {"fan": Estimate(a, b, both[:1])} for step, a, b in ((1, 0.9, 0.2), (2, 0.8, 0.3))}
    assert best_step(alone) == 2 and best_step({}) is None  # of mixed features alone the bound decides


def test_the_table_of_a_training(tmp_path):
    found = {3: {"fan": Estimate(0.123456789012345, 0.5, ("a b", "c"))}, 1: {"fan": Estimate(1.0, 0.0, ("a b",))}}
    write_measured(tmp_path, found)
    assert read_measured(tmp_path) == found and list(read_measured(tmp_path, 1)) == [1]
    assert read_measured(tmp_path / "none") == {}


SETTINGS = ("train.save_steps=[2,4]", "train.steps=6", "train.lr=1e-2", "train.checkpoint_every=3", "train.log_every=6")
HELD = (*SETTINGS, "data.held_out={fraction: 0.25}")


class Tiny:
    """A corpus of 36 training clips, and experiments on it, as programs in this process."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        write_corpus(folder / "corpus", 0.5, train=8)
        prepare(folder)
        (folder / "x.yaml").write_text(NETWORK)

    def work(self, name):
        return ["--data", str(self.data), "--dump", str(self.folder / "dump"), "--exp", str(self.folder / "exp" / name)]

    def lists(self, name, *settings):
        words = [word for setting in settings for word in ("--set", setting)]
        make_lists.main(["--config", str(self.folder / "x.yaml"), *words, *self.work(name)])
        return self.folder / "exp" / name

    def train(self, name, *settings):
        exp = self.lists(name, *settings)
        train.main([*self.work(name), "--device", "cpu"])
        return exp

    def embed(self, name):
        for merge in ("false", "true"):
            extract_embeddings.main([*self.work(name), "--device", "cpu", "--merge", merge])

    def rows(self):
        return [row for name in ("dev_train", "eval_train") for row in read_manifest(self.data / name / "manifest.tsv")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    made, drawn = Tiny(tmp_path_factory.mktemp("held")), []
    read = ChunkDataset.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkDataset, "__getitem__", lambda self, step: drawn.append(found := read(self, step)) or found)
        made.exp = made.train("held", *HELD)
    made.drawn = {utt for batch in drawn for utt in batch.utts}
    return made


def test_no_batch_gets_what_is_held_out(tiny):
    held = choose_held_out(tiny.rows(), 0.25)
    machines = Counter(row["machine"] for row in tiny.rows() if row["utt"] in held)
    assert machines == {"fan": 3, "pump": 3, "valve": 3} and not tiny.drawn & held
    noted = {
        row["utt"]
        for row in read_table(tiny.exp / "seed0/checkpoint/trained.tsv", ("utt", "machine", "bytes", "digest"))
    }
    assert noted == {row["utt"] for row in tiny.rows()} - held
    plain = tiny.train("plain", *SETTINGS)
    assert not (plain / "seed0/checkpoint/best.pt").exists() and not (plain / "seed0/pseudo_auc.tsv").exists()
    assert "pseudo" not in (plain / "seed0/train.tsv").read_text()


def test_the_numbers_are_those_of_each_steps_embeddings(tiny):
    found, held = read_measured(tiny.exp / "seed0"), choose_held_out(tiny.rows(), 0.25)
    assert list(found) == [2, 4, 6]
    for step, machines in found.items():
        experiment = experiment_at(tiny.exp, 0, tiny.data, step, "cpu")
        made, clips = arrays_of(experiment, tiny.folder / "dump"), tiny.rows()
        x = np.concatenate([made[name]["embedding"] for name in ("dev_train", "eval_train")])
        recordings, out = recordings_of(clips, x), np.array([row["utt"] in held for row in clips])
        for machine, told in machines.items():
            own = np.array([row["machine"] == machine for row in clips])
            chosen = [row for row, mine in zip(clips, own, strict=True) if mine]
            again = estimate(KnnConfig(), chosen, x[own], recordings[own], x[out & ~own], out[own])
            assert again.parts == told.parts and "other domain" in told.parts
            assert again.pseudo_auc == pytest.approx(told.pseudo_auc, abs=0.02)  # LoRA is merged in one of them
            assert again.bound == pytest.approx(told.bound, abs=1e-3)
    names, *lines = [line.split("\t") for line in (tiny.exp / "seed0/train.tsv").read_text().splitlines()]
    table = [dict(zip(names, map(float, line), strict=True)) for line in lines]
    assert [row["step"] for row in table] == [2, 4, 6]
    for row in table:
        mean = over_machines(found)[row["step"]]
        assert (row["pseudo_auc"], row["pseudo_bound"]) == (mean.pseudo_auc, mean.bound)


def weights(exp, name):
    return read_checkpoint(exp / f"seed0/checkpoint/{name}.pt")


def test_best_is_the_weights_of_the_best_step(tiny):
    step = best_step(read_measured(tiny.exp / "seed0"))
    assert weights(tiny.exp, "best")["step"] == step
    own = "final" if step == 6 else f"step{step}"
    assert (tiny.exp / "seed0/checkpoint/best.pt").samefile(tiny.exp / f"seed0/checkpoint/{own}.pt")


@pytest.mark.parametrize("best", [2, 4, 6])
def test_stage_4_takes_the_step_whatever_it_is(tiny, monkeypatch, best):
    """With numbers that are made up, so that each step is the best one in turn."""

    def made_up(self, x):
        step = self.seen = getattr(self, "seen", 0) + 2
        return {"fan": Estimate(0.9 if step == best else 0.5, 0.5, ("mixed features", "other machines"))}

    monkeypatch.setattr("asdkit.train.choice.PseudoAuc._estimates", made_up)
    name = f"best{best}"
    exp = tiny.train(name, *HELD, "embed.checkpoint=best")
    assert weights(exp, "best")["step"] == best
    tiny.embed(name)
    other = tiny.lists(f"step{best}", *HELD, *([] if best == 6 else [f"embed.checkpoint=step{best}"]))
    shutil.copytree(exp / "seed0/checkpoint", other / "seed0/checkpoint")
    tiny.embed(f"step{best}")
    for ark in ("dev_test", "eval_train"):
        one, two = (folder / f"seed0/embed/{ark}/embedding.ark" for folder in (exp, other))
        assert one.read_bytes() == two.read_bytes()


OPENED = []
sys.addaudithook(lambda event, told: OPENED.append(str(told[0])) if event == "open" else None)


def test_no_label_is_read_and_none_counts(tiny, tmp_path):
    """Stages 2 to 4 with embed.checkpoint best open no truth, and other truth changes nothing."""
    exp = tiny.lists("unread", *HELD, "embed.checkpoint=best")
    OPENED.clear()
    train.main([*tiny.work("unread"), "--device", "cpu"])
    tiny.embed("unread")
    assert any(path.endswith("best.pt") for path in OPENED)
    assert not [path for path in OPENED if "ref.tsv" in path or "ground_truth" in path]
    score.main(["--data", str(tiny.data), "--exp", str(exp)])
    OPENED.clear()
    for name in ("dev_test", "eval_test"):
        path = tiny.data / name / "ref.tsv"
        shutil.copy(path, tmp_path / f"{name}.tsv")
        turned = {"normal": "anomaly", "anomaly": "normal"}
        old = read_ref(path)
        write_ref(
            path, [{"utt": utt, "condition": turned[condition], "domain": d} for utt, (condition, d) in old.items()]
        )
        assert read_ref(path) != old
    try:
        again = tiny.train("turned", *HELD, "embed.checkpoint=best")
        tiny.embed("turned")
    finally:
        for name in ("dev_test", "eval_test"):
            shutil.copy(tmp_path / f"{name}.tsv", tiny.data / name / "ref.tsv")
    for made in ("pseudo_auc.tsv", "train.tsv", *(f"embed/{name}/embedding.ark" for name in ("dev_test", "eval_test"))):
        assert (exp / "seed0" / made).read_bytes() == (again / "seed0" / made).read_bytes(), made
    assert weights(exp, "best")["step"] == weights(again, "best")["step"]


def test_the_chosen_step_is_reported_beside_the_last_and_the_best_by_labels(tiny, capsys):
    where = tiny.work("held")
    for step in ("2", "4", "6"):
        steps.main([*where, "--step", step])
    steps.main([*where, "--gather", "true"])
    assert "The step with the highest Pseudo AUC" in capsys.readouterr().out
    found, means = read_steps(tiny.exp), over_machines(read_measured(tiny.exp / "seed0"))
    best = best_step(read_measured(tiny.exp / "seed0"))
    assert {row["step"] for row in found if row["chosen"]} == {best}
    assert all(row["pseudo_auc"] == means[row["step"]].pseudo_auc for row in found)
    own = {row["step"]: 100 * row["official"] for row in found if row["set"] == "all"}
    told = [f"{value:.2f}" for value in (own[best], own[6], max(own.values()), max(own.values()) - own[best])]
    lines = [re.split(r" *\| *", line.strip("| ")) for line in (tiny.exp / "STEPS.md").read_text().splitlines()]
    assert ["knn", "all", "1", str(best), *told] in lines


@pytest.mark.long
@pytest.mark.skipif(not FOUND, reason="needs Chromium (Debian: apt-get install chromium)")
def test_the_page_tells_the_chosen_step(tiny):
    """On an experiment of its own, whose rows of train.tsv are not all measured."""
    name = "shown"
    exp = tiny.train(name, *HELD, "train.log_every=1", "embed.checkpoint=best")
    tiny.embed(name)
    score.main(["--data", str(tiny.data), "--exp", str(exp)])
    for step in ("2", "4", "6"):
        steps.main([*tiny.work(name), "--step", step])
    steps.main([*tiny.work(name), "--gather", "true"])
    report.main(["--data", str(tiny.data), "--exp", str(exp)])
    best = best_step(read_measured(exp / "seed0"))
    with Browser(1200, 900) as browser:
        browser.open(exp / "report" / "index.html")
        told = browser.run("document.getElementById('steps').textContent")
        assert f"Chosen without labels, by Pseudo AUC (development and evaluation set): Seed 0: step {best}," in told
        shown = browser.run("document.getElementById('curves').textContent")
        assert "Pseudo AUC, held out" in shown and "bound of the Pseudo AUC" in shown
        assert not any(word in told + shown for word in ("NaN", "undefined", "no finite value"))
        assert browser.errors == []


def test_a_table_of_choices():
    values = {0: {10: 0.5, 20: 0.75, 30: 0.5}, 1: {10: 0.5, 20: 0.625, 30: 0.5}}
    rows = [
        {"step": step, "seed": seed, "score": "knn", "set": "dev", "official": value, "chosen": step == (10, 20)[seed]}
        for seed, own in values.items()
        for step, value in own.items()
    ]
    line = choices_table(rows).splitlines()[-1]
    cells = ["knn", "dev", "2", "10, 20", "56.25 ± 8.84", "50.00 ± 0.00", "68.75 ± 8.84", "12.50 ± 17.68"]
    assert re.split(r" *\| *", line.strip("| ")) == cells
    older = [{key: value for key, value in row.items() if key != "chosen"} for row in rows]
    assert choices_table(older) == "" and choices_table([row | {"official": None} for row in rows]) == ""


@pytest.mark.parametrize("step", [3, 4, 5])
def test_killed_and_resumed_it_is_the_same(tiny, step):
    """Killed before a step is measured, and after it."""
    exp, add = tiny.lists(f"killed{step}", *HELD), Curve.add

    def until(curve, now, *more):
        if now > step:
            raise KeyboardInterrupt
        add(curve, now, *more)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Curve, "add", until)
        train.main([*tiny.work(f"killed{step}"), "--device", "cpu"])
    assert (exp / "seed0/checkpoint/last.pt").exists() and not (exp / "seed0/checkpoint/final.pt").exists()
    train.main([*tiny.work(f"killed{step}"), "--device", "cpu"])
    for made in ("pseudo_auc.tsv", "train.tsv"):
        assert (exp / "seed0" / made).read_bytes() == (tiny.exp / "seed0" / made).read_bytes()
    for name in ("final", "best"):
        ours, theirs = weights(exp, name), weights(tiny.exp, name)
        assert ours["step"] == theirs["step"]
        assert all(torch.equal(ours["model"][key], tensor) for key, tensor in theirs["model"].items())


def test_what_cannot_be_measured_is_said(tiny, monkeypatch, caplog):
    def refused(*_):
        raise ValueError("a clip has an embedding of zeros")

    monkeypatch.setattr("asdkit.train.choice.estimate", refused)
    exp = tiny.train("zeros", *HELD)
    assert "step 4: no Pseudo AUC: fan: a clip has an embedding of zeros" in caplog.text
    assert "the last one counts as the best" in caplog.text and weights(exp, "best")["step"] == 6
    with pytest.raises(ValueError, match="no machine has two training clips that can be held out"):
        tiny.train("folder", *SETTINGS, "data.held_out={by: folder}")


def test_settings_that_contradict_one_another():
    def config(**raw):
        return validate(Config, raw, "test")

    with pytest.raises(ValueError, match="embed.checkpoint best: data.held_out is null"):
        config(embed={"checkpoint": "best"}, train={"save_steps": [5]})
    with pytest.raises(ValueError, match="embed.checkpoint best: train.save_steps is empty"):
        config(embed={"checkpoint": "best"}, data={"held_out": {}})
    with pytest.raises(ValueError, match="data.held_out: the autoencoder keeps no steps"):
        config(encoder={"name": "autoencoder"}, data={"held_out": {}})


def test_markers_of_stage_4_hold_what_best_stands_for(tiny):
    from asdkit.config.identity import reread_embedding

    tiny.lists("marker", *HELD, "embed.checkpoint=best")
    shutil.copytree(tiny.exp / "seed0/checkpoint", tiny.folder / "exp/marker/seed0/checkpoint")
    tiny.embed("marker")
    marker = read_json(tiny.folder / "exp/marker/seed0/embed/dev_test/.done")
    assert marker["embed.checkpoint"] == "best"
    older = {key: value for key, value in marker.items() if key != "embed.chunks"}
    assert reread_embedding(older) == marker
