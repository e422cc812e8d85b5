"""Several systems as one: scales, ranks, joins; members, seeds, provenance; pages and files to submit."""

import subprocess

import numpy as np
import pytest
from experiments import Experiment
from recipe import ROOT, environment

from asdkit.bin import fuse, report, score
from asdkit.detectors.folder import read_scores, write_scores
from asdkit.detectors.fusion import join, on_scale, ranks
from asdkit.utils.files import read_json


def test_stored_numbers(test_data):
    stored = np.load(test_data / "golden/detectors/domain_ensemble.npz")
    systems = stored["ensemble_systems"]
    for kind, scale in (("rank", ranks), ("minmax", None), ("zscore", None)):
        scaled = np.array([scale(x) if scale else on_scale(x, x, kind) for x in systems])
        np.testing.assert_allclose(scaled, stored[f"ensemble_{kind}"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(join(scaled, "mean"), stored[f"ensemble_{kind}_mean"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(join(scaled, "min"), stored["ensemble_zscore_min"], rtol=0, atol=1e-12)


def test_scales_in_closed_form():
    reference = np.array([1.0, 2, 3, 6, np.inf])
    assert on_scale(np.array([5.0]), reference, "zscore") == pytest.approx([2 / np.std([1, 2, 3, 6])])
    assert on_scale(np.array([5.0]), reference, "median") == [2.0]
    assert on_scale(np.array([11.0]), reference, "minmax") == [2.0]
    assert on_scale(np.array([5.0]), reference, "none") == [5.0]
    assert ranks(np.array([3.0, 1, 3, 0])).tolist() == [2.5 / 3, 1 / 3, 2.5 / 3, 0]
    systems = np.array([[1.0, 4], [3, 0]])
    assert join(systems, "mean", np.array([3.0, 1])).tolist() == [1.5, 3] and join(systems, "max").tolist() == [3, 4]
    for scores, kind, words in (
        ([1.0, 1, 1], "zscore", "all equal"),
        ([1.0, np.inf], "minmax", "two training clips or more, got 1"),
        ([-1.0, -2], "median", "is -1.5: take scale zscore"),
    ):
        with pytest.raises(ValueError, match=words):
            on_scale(np.ones(2), np.array(scores), kind)


@pytest.fixture
def two(tmp_path):
    """Experiments a and b, scored, and the options that fuse them."""
    for tag, number in (("a", 0), ("b", 50)):
        experiment = Experiment(tmp_path, tag=tag, seeds=(0, 1))
        for seed in (0, 1):
            for index, name in enumerate(("dev_train", "dev_test", "eval_train", "eval_test")):
                experiment.embed(name, seed, number + index)
            experiment.run(score, seed=seed)
    members = ["--members", str(tmp_path / "exp/a"), str(tmp_path / "exp/b")]
    return tmp_path, ["--data", str(experiment.data), "--exp", str(tmp_path / "exp/both"), *members]


def seed_scores(root, tag, name, seed=0, score="knn"):
    return read_scores(root / "exp" / tag / f"seed{seed}/score/{score}/{name}.tsv")


def test_members_pair_by_seed_and_make_an_experiment_of_their_own(two):
    root, options = two
    fuse.main(options)
    report.main(["--data", str(root / "data"), "--exp", str(root / "exp/both")])
    for seed in (0, 1):
        a, b = (seed_scores(root, tag, "dev_test", seed) for tag in "ab")
        own_a, own_b = (seed_scores(root, tag, "train", seed) for tag in "ab")
        fused = seed_scores(root, "both", "dev_test", seed, "fusion")
        for utt in list(a)[::7]:
            machine = utt.split("-")[0]
            parts = []
            for scores, own in ((a, own_a), (b, own_b)):
                mine = np.array([value for name, value in own.items() if name.split("-")[0] == machine])
                parts.append((scores[utt] - mine.mean()) / mine.std())
            assert fused[utt] == pytest.approx(np.mean(parts), rel=1e-12)
        folder = root / f"exp/both/seed{seed}/score/fusion"
        assert (folder / "threshold.tsv").exists() and any((folder / "submission/dev_test").iterdir())
        told = read_json(folder / "made_from.json")
        assert [member["folder"] for member in told["members"]] == [
            str(root / f"exp/{tag}/seed{seed}/score/knn") for tag in "ab"
        ]
    page = (root / "exp/both/RESULTS.md").read_text()
    assert "mean of 2 (zscore)" in page and "| both" in (root / "exp/RESULTS.md").read_text()


def test_weights_joins_and_all_seeds_in_one(two):
    root, options = two
    fuse.main([*options, "--scale", "none", "--weights", "3", "1"])
    a, b = (seed_scores(root, tag, "eval_test") for tag in "ab")
    fused = seed_scores(root, "both", "eval_test", score="fusion")
    assert all(fused[utt] == pytest.approx((3 * a[utt] + b[utt]) / 4) for utt in a)
    other = [word.replace("both", "seeds") for word in options]
    fuse.main([*other, "--scale", "none", "--join", "max", "--over-seeds", "true"])
    fused = seed_scores(root, "seeds", "eval_test", score="fusion")
    everything = [seed_scores(root, tag, "eval_test", seed) for tag in "ab" for seed in (0, 1)]
    assert all(fused[utt] == max(scores[utt] for scores in everything) for utt in fused)
    assert not (root / "exp/seeds/seed1").exists()


def test_ranks_are_transductive_and_give_nothing_to_submit(two):
    root, options = two
    fuse.main([*options, "--scale", "rank"])
    report.main(["--data", str(root / "data"), "--exp", str(root / "exp/both")])
    folder = root / "exp/both/seed0/score/fusion"
    assert not (folder / "train.tsv").exists() and not (folder / "submission").exists()
    assert "(transductive)" in (root / "exp/both/RESULTS.md").read_text()


def test_twice_is_done_and_a_change_is_refused_by_name(two):
    root, options = two
    fuse.main(options)
    file = root / "exp/both/seed0/score/fusion/dev_test.tsv"
    before = file.stat().st_mtime_ns
    fuse.main(options)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="made with scale = 'zscore', now 'median'.*--force true"):
        fuse.main([*options, "--scale", "median"])
    member = root / "exp/b/seed0/score/knn/dev_test.tsv"
    write_scores(member, {utt: value + 1 for utt, value in read_scores(member).items()})
    with pytest.raises(ValueError, match=r"fused from another .*exp/b/seed0/score/knn/dev_test.tsv.*fuse again"):
        report.main(["--data", str(root / "data"), "--exp", str(root / "exp/both")])
    fuse.main([*options, "--force", "true"])
    report.main(["--data", str(root / "data"), "--exp", str(root / "exp/both")])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--weights", "1"], "one for each of 2 members"),
        (["--weights", "1", "2", "--join", "max"], "with --join mean"),
        (["--threshold-percentile", "100"], "between 0 and 100, not 100"),
        (["--members", "{root}/exp/a"], "one member: name two"),
        (["--members", "{root}/exp/a", "{root}/exp/a"], "named twice"),
        (["--members", "{root}/exp/a", "{root}/exp/c"], "exp/c holds no seed<K>"),
        (["--members", "{root}/exp/a", "{root}/exp/b:lof"], "no score 'lof'; there: knn"),
        (["--exp", "{root}/exp/a"], "exp/a is a trained experiment"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(two, change, words):
    root, options = two
    with pytest.raises(ValueError, match=words):
        fuse.main([*options, *(word.format(root=root) for word in change)])
    assert not (root / "exp/both").exists()


def test_members_that_do_not_fit_are_named(two):
    root, options = two
    file = root / "exp/b/seed0/score/knn/dev_test.tsv"
    whole = read_scores(file)
    write_scores(file, {utt: value for utt, value in whole.items() if utt != min(whole)})
    with pytest.raises(ValueError, match=f"scores of other clips: {min(whole)}"):
        fuse.main(options)
    write_scores(file, whole)
    (root / "exp/b/seed0/score/knn/train.tsv").unlink()
    with pytest.raises(ValueError, match="exp/b/seed0/score/knn: it has no train.tsv.*--scale rank"):
        fuse.main(options)
    (root / "exp/a/seed1").rename(root / "exp/a/seed2")
    with pytest.raises(ValueError, match="exp/a has 0, 2; .*exp/b has 0, 1. .*--over-seeds true"):
        fuse.main(options)


def in_a_shell(root, *words):
    command = ["bash", ROOT / "utils/fuse.sh", *words]
    return subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, timeout=120)


def test_one_line_of_a_recipe_fuses_and_reports(two):
    root, _ = two
    done = in_a_shell(root, "--tag", "three", "--members", "a b:knn", "--scale", "median", "--weights", "2 1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("== results: exp/three/RESULTS.md\n") and "three: fusion" in done.stdout
    told = read_json(root / "exp/three/seed1/score/fusion/made_from.json")
    assert [(member["folder"], member["weight"]) for member in told["members"]] == [
        ("exp/a/seed1/score/knn", 2.0), ("exp/b/seed1/score/knn", 1.0)
    ]  # fmt: skip
    assert (
        "mean of 2 (median)" in (root / "exp/three/RESULTS.md").read_text()
        and "| three" in (root / "exp/RESULTS.md").read_text()
    )


def test_mistakes_in_the_line_are_told(two):
    root, _ = two
    for words, message in (
        (
            ["--tag", "x", "--members", "a", "b"],
            """unexpected word 'b': several members stand in one word, --members "a b""",
        ),
        (["--tag", "x", "--members", "a c:knn"], "there is no experiment exp/c; a member is TAG or TAG:SCORE"),
        (["--members", "a b"], "--tag '' has to be a folder's name"),
        (["--tag", "x"], "--members names the experiments to fuse"),
        (["--tag", "a", "--members", "a b"], "exp/a is a trained experiment"),
    ):
        done = in_a_shell(root, *words)
        assert done.returncode == 1 and message in done.stderr, done.stderr
    assert sorted(path.name for path in (root / "exp").iterdir()) == ["a", "b"]
    dry = in_a_shell(root, "--tag", "x", "--members", "a c", "--dry-run")
    assert [line.split()[2] for line in dry.stdout.splitlines()] == ["asdkit.bin.fuse", "asdkit.bin.report"]
