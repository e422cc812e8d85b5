"""Experiments and scores survive what people do to them."""

import contextlib
import re
import shutil

import pytest
from experiments import Experiment
from test_experiment import recipe, recordings  # noqa: F401 - a fixture

from asdkit.bin import configure, evaluate, extract_embeddings, make_lists, report, score, train
from asdkit.config import Config, load_config, open_config
from asdkit.config.identity import embedding_identity, reread_embedding
from asdkit.infer.experiment import Experiment as Opened
from asdkit.utils.files import read_json, write_json, write_text
from asdkit.utils.typed_yaml import dump_yaml


def copied(experiment, name, seeds=(0,), made_from=None):
    for seed in seeds:
        folder = experiment.exp / f"seed{seed}/score/{name}"
        folder.mkdir(parents=True)
        for path in (experiment.exp / f"seed{seed}/score/knn").glob("*_test.tsv"):
            shutil.copy(path, folder / path.name)
        if made_from is not None:
            write_json(folder / "made_from.json", made_from(seed))
    return experiment.exp / f"seed{seeds[0]}/score/{name}"


def test_an_old_marker_of_embeddings_of_a_kept_step(tmp_path):
    write_text(tmp_path / "x.yaml", "train: {save_steps: [4]}\nembed: {checkpoint: step4}")
    config = load_config(tmp_path / "x.yaml")
    old = {"embed.checkpoint": "step4", "embed.segment": "clip", "embed.hop_seconds": 1.0, "embed.batch_size": 8}
    old |= {"embed.amp": "none", "data.feats_type": "raw", "data.chunk_seconds": 2.0, "manifest": "m"}
    assert reread_embedding(old) == embedding_identity(config) | {"manifest": "m"}


def test_what_others_add_to_made_from_may_differ_between_seeds(tmp_path):
    experiment = Experiment(tmp_path, seeds=(0, 1))
    experiment.run_all((0, 1))
    copied(experiment, "mine", (0, 1), lambda seed: {"made_by": "fuse.py", "members": [f"seed{seed}/score/knn"]})
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp)])
    assert read_json(experiment.exp / "results.json")["scores"]["mine"]["seeds"] == [0, 1]


def test_evaluating_a_folder_removes_nothing_that_the_user_put_there(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    folder = copied(experiment, "mine")
    write_text(folder / "threshold.tsv", "machine\tsection\tthreshold\nfandev\t-\t0.5\n")
    write_text(folder / "submission/report.txt", "weeks of work")
    with contextlib.suppress(ValueError):  # to refuse would be fine
        evaluate.main(["--data", str(experiment.data), "--scores", str(folder)])
    assert (folder / "threshold.tsv").exists() and (folder / "submission/report.txt").exists()


def test_stage_5_leaves_scores_of_other_programs_alone_and_makes_what_is_gone(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    folder = copied(experiment, "mine")
    write_text(experiment.exp / "config.yaml", "score: {knn: {}, mine: {k: 2}}")
    before = (folder / "dev_test.tsv").read_text()
    with pytest.raises(ValueError, match="score.mine: .*mine holds scores of another program: take another name"):
        experiment.run(score)
    assert (folder / "dev_test.tsv").read_text() == before
    (experiment.exp / "seed0/score/knn/dev_test.csv").unlink()
    experiment.run(score, "--score", "knn")
    assert (experiment.exp / "seed0/score/knn/dev_test.csv").exists()


def test_recordings_that_changed_since_they_were_embedded_are_noticed(recipe, tmp_path):  # noqa: F811
    shutil.copytree(recipe / "exp/x", tmp_path / "x")
    shutil.copytree(recipe / "data", tmp_path / "data")
    path = tmp_path / "data/dev_test/manifest.tsv"
    path.write_text(re.sub(r"\t[0-9a-f]{64}\t", f"\t{'0' * 64}\t", path.read_text(), count=1))
    with pytest.raises(ValueError, match="dev_test/.done: made with manifest = .*--stage 4 --force true"):
        score.main(["--data", str(tmp_path / "data"), "--exp", str(tmp_path / "x")])


def test_a_copy_of_a_folder_of_scores_gets_decisions_of_its_own(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    folder = experiment.exp / "seed0/score/mine"
    shutil.copytree(experiment.exp / "seed0/score/knn", folder)
    lines = (folder / "dev_test.tsv").read_text().splitlines()
    write_text(folder / "dev_test.tsv", "".join(f"{line.split()[0]} {n}.5\n" for n, line in enumerate(lines)))
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp), "--force", "true"])
    assert ",7.5," in (folder / "dev_test.csv").read_text()


def test_a_seed_that_was_killed_in_stage_5_does_not_stop_the_report_of_others(tmp_path):
    experiment = Experiment(tmp_path, seeds=(0, 1))
    experiment.run_all((0, 1))
    (experiment.exp / "seed1/score/knn/.done").unlink()
    (experiment.exp / "seed1/score/knn/results.json").unlink()
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp)])
    found = read_json(experiment.exp / "results.json")["scores"]["knn"]
    assert (found["seeds"], found["pending"]) == ([0], [1])


def words(tmp_path, experiment, text="{}"):
    write_text(tmp_path / "x.yaml", text)
    return ["--config", str(tmp_path / "x.yaml"), "--exp", str(experiment.exp), "--must-exist", "true"]


def test_a_score_that_failed_does_not_stay(tmp_path):
    experiment = Experiment(tmp_path)
    write_text(experiment.exp / "config.yaml", dump_yaml(Config()))
    experiment.run_all()
    configure.main([*words(tmp_path, experiment), "--set", "score.bad.k=1000"])
    with pytest.raises(ValueError, match="bad"):  # the message names the score
        experiment.run(score)
    configure.main(words(tmp_path, experiment))
    experiment.run(score)


def test_a_score_that_is_asked_for_and_not_there_is_told(tmp_path):
    experiment = Experiment(tmp_path)
    write_text(experiment.exp / "config.yaml", dump_yaml(Config()))
    experiment.run_all()
    configure.main([*words(tmp_path, experiment), "--set", "score.three.k=3", "--score", "three"])
    with pytest.raises(ValueError, match="three"):
        report.main(["--data", str(experiment.data), "--exp", str(experiment.exp), "--score", "three"])


def test_force_for_one_score_leaves_the_settings_of_another(tmp_path):
    experiment = Experiment(tmp_path)
    write_text(experiment.exp / "config.yaml", dump_yaml(Config()))
    experiment.run_all()
    changes = ["--set", "score.three.k=3", "--set", "score.knn.k=2", "--score", "three", "--force", "true"]
    with pytest.raises(ValueError, match="score.knn.k = 1, now 2"):
        configure.main([*words(tmp_path, experiment), *changes])
    assert open_config(experiment.exp / "config.yaml").score["knn"].k == 1


def test_finished_training_with_a_long_warm_up_opens(tmp_path):
    text = "train: {steps: 3, warmup_steps: 20}"
    experiment = Experiment(tmp_path)
    write_text(experiment.exp / "config.yaml", text)
    configure.main(words(tmp_path, experiment, text))
    configure.main([*words(tmp_path, experiment, text)[:-2]])  # from stage 1
    assert open_config(experiment.exp / "config.yaml").train.warmup_steps == 20
    with pytest.raises(ValueError, match="train.warmup_steps 20 is longer than train.steps 3"):
        configure.main([*words(tmp_path, experiment, text)[:2], "--exp", str(tmp_path / "exp/new")])


def test_weights_may_be_moved(tmp_path):
    experiment = Experiment(tmp_path)
    (tmp_path / "b.pt").write_bytes(b"1")
    write_text(experiment.exp / "config.yaml", f"encoder: {{checkpoint: {tmp_path}/a.pt}}")
    digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    write_json(experiment.exp / "seed0/checkpoint/.done", {"encoder.checkpoint.sha256": digest})
    options = words(tmp_path, experiment, f"encoder: {{checkpoint: {tmp_path}/b.pt}}")
    configure.main(options)
    (tmp_path / "c.pt").write_bytes(b"2")
    options = words(tmp_path, experiment, f"encoder: {{checkpoint: {tmp_path}/c.pt}}")
    with pytest.raises(ValueError, match="made with encoder.checkpoint"):
        configure.main(options)


def retrained(recipe, tmp_path, monkeypatch, *settings, train_too=True):  # noqa: F811
    monkeypatch.chdir(recipe)
    shutil.copytree(recipe / "exp/x", tmp_path / "x")
    work = ["--data", "data", "--dump", "dump", "--exp", str(tmp_path / "x")]
    words = [word for setting in settings for word in ("--set", setting)]
    make_lists.main(["--config", "x.yaml", *words, *work, "--force", "true"])
    if train_too:
        train.main([*work, "--device", "cpu", "--force", "true"])
    return tmp_path / "x"


@pytest.mark.parametrize("setting", ["train.lr=1e-2", "embed.segment=chunk"])
def test_embeddings_of_another_training_are_noticed(recipe, tmp_path, monkeypatch, setting):  # noqa: F811
    exp = retrained(recipe, tmp_path, monkeypatch, setting)
    _, paths = recordings(recipe)
    with pytest.raises(ValueError, match="--stage 4 --force true"):
        Opened.open(exp, data="data", device="cpu").score(paths[:1], machine="fan")
    with pytest.raises(ValueError, match="--stage 4 --force true"):
        score.main(["--data", "data", "--exp", str(exp)])


def test_a_threshold_that_is_not_there_and_paths_of_any_kind(recipe, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(recipe)
    shutil.copytree(recipe / "exp/x", tmp_path / "x")
    table = tmp_path / "x/seed0/score/knn/threshold.tsv"
    write_text(table, "".join(line for line in table.open() if not line.startswith("fan")))
    opened = Opened.open(tmp_path / "x", data="data", device="cpu")
    with pytest.raises(ValueError, match="threshold.tsv: no threshold of fan"):
        opened.threshold(machine="fan")
    assert len(opened.score((path for path in recordings(recipe)[1][:2]), machine="fan")) == 2


def test_the_losses_of_what_is_not_trained_may_change(recipe, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(recipe)
    settings = ["train.steps=0", "model.lora=null", "model.group_adapter=null"]
    exp = retrained(recipe, tmp_path, monkeypatch, *settings)
    work = ["--data", "data", "--dump", "dump", "--exp", str(exp)]
    words = [word for setting in [*settings, "loss.dlcl=null"] for word in ("--set", setting)]
    make_lists.main(["--config", "x.yaml", *words, *work])  # not refused: it changes nothing
    train.main([*work, "--device", "cpu"])
    extract_embeddings.main([*work, "--device", "cpu", "--force", "true"])
    extract_embeddings.main([*work, "--merge", "true"])
    assert open_config(exp / "config.yaml").loss.dlcl is None
    assert (exp / "seed0/embed/dev_test/embedding.scp").exists()


def test_a_linear_layer_named_twice(tmp_path):
    write_text(tmp_path / "x.yaml", "model: {lora: {targets: [q_proj, q_proj]}}")
    with pytest.raises(ValueError, match="model.lora.targets: 'q_proj' is named twice"):
        load_config(tmp_path / "x.yaml")
