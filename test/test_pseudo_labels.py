"""Static pseudo-labels: clusters as classes, in rounds inside a training (paper Table XI, PL)."""

import shutil

import numpy as np
import pytest
from recipe import make_corpus
from test_distributed import killed
from test_pipeline import CONFIG, MINI

from asdkit.bin import make_lists, prepare_data, train
from asdkit.config import Config, PseudoLabelsConfig
from asdkit.models.checkpoint import read_checkpoint
from asdkit.train.pseudo_labels import ClassesOfClusters, cluster, matched
from asdkit.utils.files import read_table
from asdkit.utils.typed_yaml import validate

SETTINGS = (
    *("loss.dlcl=null", "train.steps=8", "train.log_every=1", "data.balance=class"),
    "train.pseudo_labels={steps: [0, 3, 6], most: 3}",
)
COLUMNS = ("utt", "label", "class")


def blobs(count, kinds=3, dims=8):
    """Points around `kinds` directions, and which."""
    rng = np.random.default_rng(0)
    kind = np.arange(count) % kinds
    return (np.eye(dims)[kind] + 0.02 * rng.normal(size=(count, dims))).astype(np.float32), kind


def same_parts(one, other):
    return len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one)) == len(set(other))


@pytest.mark.parametrize("method", ["kmeans", "agglomerative"])
def test_clusters_are_found_and_counted(method):
    x, kind = blobs(60)
    found, silhouette = cluster(x * np.linspace(1, 9, 60)[:, None], PseudoLabelsConfig(method=method), 0)
    assert same_parts(found, kind) and silhouette > 0.9  # whatever their lengths
    found, _ = cluster(x, PseudoLabelsConfig(method=method, fewest=5, most=5), 0)
    assert len(set(found)) == 5
    wide, kind = blobs(150, dims=100)  # through principal components
    assert same_parts(cluster(wide, PseudoLabelsConfig(method=method), 0)[0], kind)


def test_what_cannot_be_clustered_is_one_cluster():
    for x in (np.ones((7, 4), np.float32), np.eye(4, dtype=np.float32)[:2], np.ones((1, 4), np.float32)):
        found, silhouette = cluster(x, PseudoLabelsConfig(), 0)
        assert found.tolist() == [0] * len(x) and silhouette == 0.0
    few, kind = blobs(6)  # not more clusters than there are clips
    assert len(set(cluster(few, PseudoLabelsConfig(fewest=16, most=16), 0)[0])) == 5


def test_clusters_keep_the_labels_of_those_that_they_share_most_with():
    before = np.array([4, 4, 4, 9, 9, 12])
    found = np.array([1, 1, 0, 0, 0, 2])
    assert matched(found, before, [4, 9, 12]).tolist() == [4, 4, 9, 9, 9, 12]
    first = matched(np.array([0, 1, 1, 1]), np.array([4, 4, 4, 4]), [4, 9, 12])
    assert first[1:].tolist() == [4, 4, 4] and first[0] in (9, 12)  # the largest takes the class that there was


def test_classes_of_clusters_stand_at_the_end():
    classes = ClassesOfClusters(["fan/00/-", "fan/00/v1", "pump/00/-"], [2, 0], 3)
    assert classes.names[3:] == ["fan/00/-/2", "fan/00/-/3", "pump/00/-/2", "pump/00/-/3"]
    assert classes.labels == {0: [0, 3, 4], 2: [2, 5, 6]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": {"pseudo_labels": {}, "steps": 9}, "loss": {"dlcl": {}}}, "loss.dlcl has a loss of its own"),
        ({"train": {"pseudo_labels": {}, "steps": 9}, "data": {"label": "machine"}}, "needs attributes in the labels"),
        ({"train": {"pseudo_labels": {"steps": [9]}, "steps": 9}}, r"\[9\] lie outside 0..8"),
        ({"train": {"pseudo_labels": {"steps": [3, 3]}, "steps": 9}}, r"\[3, 3\]: ascending numbers"),
        ({"train": {"pseudo_labels": {"fewest": 5, "most": 4}, "steps": 9}}, "fewest 5 lies above most 4"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        validate(Config, settings, "x.yaml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training with rounds after steps 0, 3 and 6; its folder, and how to train in another copy of its lists."""
    root = tmp_path_factory.mktemp("pseudo")
    corpus = str(make_corpus(root / "corpus", clips=4, seconds=1))
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(root / "data")])
    (root / "conf.yaml").write_text(CONFIG)
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    work = ["--data", str(root / "data"), "--dump", str(root / "dump")]
    make_lists.main(["--config", str(root / "conf.yaml"), *sets, *work, "--exp", str(root / "exp")])
    shutil.copytree(root / "exp", root / "fresh")

    def run(name):
        if not (root / name).exists():
            shutil.copytree(root / "fresh", root / name)
        train.main([*work, "--exp", str(root / name), "--device", "cpu"])

    run("exp")
    return root, run


def test_each_round_is_kept_and_is_what_the_network_is_trained_on(trained):
    root, _ = trained
    labels = {row["utt"]: row for row in read_table(root / "exp/labels.tsv", ("utt", "label", "attributed"))}
    open_clips = {utt for utt, row in labels.items() if row["attributed"] == "0"}
    final = read_checkpoint(root / "exp/seed0/checkpoint/final.pt")
    for step in (0, 3, 6):
        rows = read_table(root / f"exp/seed0/pseudo_labels/step{step}.tsv", COLUMNS)
        assert {row["utt"] for row in rows} == open_clips
        assert {final["classes"][int(row["label"])] for row in rows} == {row["class"] for row in rows}
        groups = {row["class"].partition("/-")[0] for row in rows}
        assert len(groups) == 2 and len({row["class"] for row in rows}) >= 2 * len(groups)
        for row in rows:  # no class of another machine
            assert row["class"].startswith(final["classes"][int(labels[row["utt"]]["label"])])
    assert len(final["classes"]) == len((root / "exp/classes.txt").read_text().splitlines()) + 2 * 2
    assert final["objective"]["aam.weight"].shape[0] == len(final["classes"])
    head = (root / "exp/seed0/train.tsv").read_text().splitlines()[0].split("\t")
    assert {"pseudo_clusters", "pseudo_changed"} <= set(head)


@pytest.mark.parametrize("step", [2, 5, 7])
def test_a_killed_training_goes_on_with_its_labels(trained, step):
    root, run = trained
    name = f"killed{step}"
    killed(lambda: run(name), step)
    run(name)
    one, two = (read_checkpoint(root / folder / "seed0/checkpoint/final.pt") for folder in ("exp", name))
    for part in ("model", "objective"):
        assert all(np.array_equal(one[part][key], two[part][key]) for key in one[part]), part
    for table in ("pseudo_labels/step6.tsv", "train.tsv"):
        assert (root / "exp/seed0" / table).read_bytes() == (root / name / "seed0" / table).read_bytes()


def test_labels_that_are_gone_or_foreign_are_told(trained):
    root, run = trained
    killed(lambda: run("gone"), 5)
    path = root / "gone/seed0/pseudo_labels/step3.tsv"
    text = path.read_text()
    path.unlink()
    with pytest.raises(ValueError, match=r"step3\.tsv is not there: the training cannot go on .* --force true"):
        run("gone")
    lines = text.splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match="other clips than those without attributes"):
        run("gone")
    utt = lines[1].split("\t")[0]
    path.write_text(text.replace(lines[1], f"{utt}\t999\tx"))
    with pytest.raises(ValueError, match=f"clip '{utt}': label 999 is no class of its machine"):
        run("gone")


def test_readers_in_other_processes_see_the_labels(trained):
    root, run = trained
    shutil.copytree(root / "fresh", root / "workers")
    settings = root / "workers/config.yaml"
    settings.write_text(settings.read_text().replace("workers: 0", "workers: 1"))
    run("workers")
    assert (root / "exp/seed0/train.tsv").read_bytes() == (root / "workers/seed0/train.tsv").read_bytes()
