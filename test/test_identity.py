"""What done markers hold: what an older version made stays valid, and what changes no result does not count."""

import re
import shutil
from pathlib import Path

import pytest
from experiments import Experiment
from pydantic import Field

from asdkit.bin import configure, evaluate, report, score
from asdkit.config import Config, TrainConfig, load_config, open_config
from asdkit.config.identity import (
    embedding_identity,
    experiment_identity,
    reread_embedding,
    reread_score,
    reread_training,
    score_identity,
    training_identity,
)
from asdkit.pretrain.config import load_pretrain_config, pretrain_identity, reread_pretrain
from asdkit.report.evaluation import config_digest
from asdkit.utils.done import compare
from asdkit.utils.files import read_json, read_text, write_text
from asdkit.utils.typed_yaml import dump_yaml

OLD = Path(__file__).parent / "golden/experiment_0.1.0"  # of egs/mini, as 0.1.0 wrote it


def marker(name):
    return read_json(OLD / f"{name}.json")


def load(tmp_path, text, *settings):
    write_text(tmp_path / "x.yaml", text)
    return load_config(tmp_path / "x.yaml", settings)


def test_markers_of_an_older_version_say_the_same_as_todays():
    config = open_config(OLD / "config.yaml")
    digest = marker("train")["encoder.checkpoint.sha256"]
    made = reread_training(marker("train"))
    wanted = training_identity(config, digest) | {key: made[key] for key in made if key in marker("train")}
    assert made == wanted and made["train.lr"] == 1e-4 and made["seed"] == 0 and "data.workers" not in made
    made = reread_embedding(marker("embed"))
    assert {**made, **embedding_identity(config)} == made and made["embed.precision"] == "float32"
    made = reread_score(marker("score"))
    assert {**made, **score_identity(config.score["knn"])} == made and made["score.detector"] == "knn"
    assert "dev_test.embedding" in made


def test_an_old_configuration_is_todays_recipe():
    """The recipe that made it may have been written anew since; what it trains is the same, and the embeddings are."""
    old = open_config(OLD / "config.yaml")
    now = load_config(Path(__file__).parents[1] / "egs/mini/conf/default.yaml")
    assert training_identity(old, "-") == training_identity(now, "-")
    more = {"embed.chunks": True, "embed.hop_seconds": 0.5}  # archives beside those of the clips
    assert embedding_identity(old) | more == embedding_identity(now)


class _Ahead(TrainConfig):
    lookahead: float = Field(0.0, description="a field that an older version did not know")


class _AheadOn(TrainConfig):
    lookahead: float = Field(0.5, json_schema_extra={"absent": 0.0}, description="on by default, not done before")


class _ConfigAhead(Config):
    train: _Ahead = _Ahead()


class _ConfigAheadOn(Config):
    train: _AheadOn = _AheadOn()


@pytest.mark.parametrize("whole", [_ConfigAhead, _ConfigAheadOn])
def test_a_new_field_leaves_finished_experiments_as_they_are(monkeypatch, whole):
    monkeypatch.setattr("asdkit.config.experiment.Config", whole)
    config = open_config(OLD / "config.yaml")
    digest = marker("train")["encoder.checkpoint.sha256"]
    assert config.train.lookahead == 0.0
    made = reread_training(marker("train"))
    assert made["train.lookahead"] == 0.0
    compare("x", {k: v for k, v in made.items() if k.startswith("train.")}, _part(training_identity(config, digest)))
    other = config.model_copy(update={"train": config.train.model_copy(update={"lookahead": 0.9})})
    with pytest.raises(ValueError, match="made with train.lookahead = 0.0, now 0.9"):
        compare("x", {k: v for k, v in made.items() if k.startswith("train.")}, _part(training_identity(other, digest)))


def _part(identity):
    return {key: value for key, value in identity.items() if key.startswith("train.")}


def test_a_default_that_changed_is_seen_in_new_experiments_alone(monkeypatch, tmp_path):
    monkeypatch.setattr("asdkit.config.experiment.Config", _ConfigAheadOn)
    write_text(tmp_path / "old/config.yaml", dump_yaml(Config()))
    old, new = open_config(tmp_path / "old/config.yaml"), load(tmp_path, "", "train.steps=60000")
    assert (old.train.lookahead, new.train.lookahead) == (0.0, 0.5)
    with pytest.raises(ValueError, match="made with train.lookahead = 0.0, now 0.5"):
        compare("x", _part(training_identity(old)), _part(training_identity(new)))


@pytest.mark.parametrize(
    ("text", "change", "same"),
    [
        ("", "data.workers=3", True),
        ("", "train.log_every=7", True),
        ("", "train.checkpoint_every=7", True),
        ("", "score.k=5", True),
        ("", "score.other.k=5", True),
        ("", "encoder.arch={}", True),  # the size that null stands for
        ("", "encoder.arch.encoder_layers=3", False),
        ("model: {lora: {}}", "model.lora.targets=[q_proj, k_proj, v_proj, out_proj, fc1, fc2]", True),
        ("model: {lora: {}}", "model.lora.targets=[q_proj]", False),
        ("", "encoder.layers=3", False),
        ("", "train.lr=1.0", False),
        ("", "embed.precision=bfloat16", False),
        ("", "embed.hop_seconds=0.5", True),
        ("embed: {segment: chunk}", "embed.hop_seconds=0.5", False),
        ("embed: {chunks: true}", "embed.hop_seconds=0.5", False),
        ("", "model.layers_dim=7", True),
        ("encoder: {layers: concatenated}", "model.layers_dim=7", False),
        ("", "model.attention_dim=7", False),
        ("model: {pooling: mean}", "model.attention_dim=7", True),
        ("train: {steps: 0}", "train.lr=1.0", True),
        ("train: {steps: 0}", "loss.aam.scale=1.0", True),
        ("train: {steps: 0}", "data.balance=machine", True),
        ("train: {steps: 0}", "model.embedding_dim=7", False),
    ],
)
def test_a_key_counts_where_it_can_change_the_bits(tmp_path, text, change, same):
    a, b = load(tmp_path, text), load(tmp_path, text, change)
    assert (experiment_identity(a) == experiment_identity(b)) is same


@pytest.mark.parametrize(("old", "new"), [({"a": 1}, {}), ({}, {"a": 1})])
def test_a_key_of_one_side_alone_counts_unless_it_is_null(old, new):
    with pytest.raises(ValueError, match=f"x: made with a = {old.get('a')}, now {new.get('a')}. Use another --tag"):
        compare("x", old, new)
    compare("x", dict.fromkeys(old), dict.fromkeys(new))


def test_the_file_of_the_weights_counts_and_not_its_place(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (training_identity(load(tmp_path, f"encoder: {{checkpoint: {tmp_path}/{name}}}")) for name in "abc")
    assert a == b and a != c and str(tmp_path) not in str(a)


def test_old_keys_are_read_and_both_at_once_are_refused(tmp_path):
    config = load(tmp_path, "score: {backend: knn, k: 3}\nembed: {amp: none}")
    assert config.score["knn"].k == 3 and config.embed.precision == "float32"
    assert load(tmp_path, "", "embed.amp=bfloat16").embed.precision == "bfloat16"
    with pytest.raises(ValueError, match="embed: 'amp' is the old name of 'precision': give 'precision' alone"):
        load(tmp_path, "embed: {amp: none, precision: float32}")


def test_score_is_a_mapping_and_a_bare_one_is_knn(tmp_path):
    assert list(load(tmp_path, "").score) == ["knn"]
    assert load(tmp_path, "score: {per_section: true}").score["knn"].per_section
    both = load(tmp_path, "score: {per_section: true, three: {k: 3}}", "score.k=2").score
    assert (both["knn"].k, both["knn"].per_section, both["three"].k, both["three"].per_section) == (2, True, 3, False)
    assert list(load(tmp_path, "score: {three: {k: 3}, plain: null}").score) == ["three", "plain"]
    own = load(tmp_path, "score: {lof: {}, gmm: {detector: knn}, other: null}").score
    assert [settings.detector for settings in own.values()] == ["lof", "knn", "knn"]
    own = load(tmp_path, "score: {ae: {detector: given, array: score.mse}}").score["ae"]
    assert (own.detector, own.array, own.per_domain) == ("given", "score.mse", False)
    for text, message in [
        ("score: {a: {detector: svm}}", "score.a.detector: there is no 'svm'. Allowed: knn, given, kmeans, lof, gmm, "),
        ("score: {a: {per_domain: false, rescale: {kind: ratio, k_target: 2}}}", "k_target is for per_domain: true"),
        ("score: {a: {kk: 3}}", "unknown key 'score.a.kk'. Did you mean 'k'"),
        ("score: {a: {detector: given, array: score.x, k: 3}}", "unknown key 'score.a.k'. Allowed: array, "),
        ("score: {a: {detector: given}}", "score.a.array: Field required"),
        ("score: {../a: {k: 3}}", "score"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            load(tmp_path, text)


def test_another_detector_on_a_network_that_is_there(tmp_path):
    experiment = Experiment(tmp_path, seeds=(0, 1))
    write_text(tmp_path / "x.yaml", "{}")
    write_text(experiment.exp / "config.yaml", dump_yaml(Config()))
    experiment.run_all((0, 1))
    before = experiment.stamps()
    words = ["--config", str(tmp_path / "x.yaml"), "--exp", str(experiment.exp), "--must-exist", "true"]
    configure.main([*words, "--set", "score.three.k=3"])
    assert list(open_config(experiment.exp / "config.yaml").score) == ["knn", "three"]
    for seed in (0, 1):
        experiment.run(score, "--score", "three", seed=seed)
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp)])
    after = experiment.stamps()
    changed = {path.name for path in before if after[path] != before[path]}
    assert changed == {"config.yaml", "results.json", "RESULTS.md", "index.html"}  # of the tag: no score, no array
    one, three = ((experiment.exp / f"seed0/score/{name}/dev_test.tsv").read_text() for name in ("knn", "three"))
    assert one != three
    rows = re.findall(r"^\| tag +\| +(\w+) \| dcase2022", read_text(tmp_path / "exp/RESULTS.md"), re.M)
    assert rows == ["knn", "three"] and "| three |" in read_text(experiment.exp / "RESULTS.md")
    with pytest.raises(
        ValueError, match=r"three/\.done: made with score.three.k = 3, now 4\. Use another name.*--stage 5"
    ):
        configure.main([*words, "--set", "score.three.k=4"])
    configure.main(words)  # scores that have been made stay
    assert open_config(experiment.exp / "config.yaml").score["three"].k == 3
    configure.main([*words, "--set", "score.tried.k=5"])
    configure.main(words)  # one that has not been made, for it failed, say, is forgotten
    assert list(open_config(experiment.exp / "config.yaml").score) == ["knn", "three"]
    for seed in (0, 1):
        shutil.rmtree(experiment.exp / f"seed{seed}/score/three")
    configure.main(words)
    assert list(open_config(experiment.exp / "config.yaml").score) == ["knn"]
    with pytest.raises(ValueError, match="--score four: .*config.yaml has the scores knn; others are stage 6's"):
        experiment.run(score, "--score", "four")


def test_the_text_of_a_configuration_does_not_count(tmp_path):
    experiment = Experiment(tmp_path)
    experiment.run_all()
    before = experiment.stamps()
    write_text(experiment.exp / "config.yaml", "# another comment\nscore: {knn: {k: 1, per_domain: true}}\n")
    experiment.run(score)
    experiment.run(evaluate)
    after = experiment.stamps()
    assert {path.name for path in before if after[path] != before[path]} == {"config.yaml"}


def test_results_carry_all_that_they_were_made_with(tmp_path):
    settings = ["data.workers=0", "train.lr=0.5", "embed.segment=chunk", "score.knn.k=2", "data.workers=2"]
    digests = [config_digest(load(tmp_path, "", setting), tmp_path / "knn") for setting in settings]
    assert digests[0] == digests[-1] and len(set(digests)) == 4


def test_settings_that_change_no_result_may_change_on_the_way(tmp_path):
    experiment = Experiment(tmp_path)
    write_text(tmp_path / "x.yaml", "train: {checkpoint_every: 5}")
    write_text(experiment.exp / "config.yaml", dump_yaml(Config()))
    words = ["--config", str(tmp_path / "x.yaml"), "--exp", str(experiment.exp), "--must-exist", "true"]
    configure.main([*words, "--set", "data.workers=2"])
    found = open_config(experiment.exp / "config.yaml")
    assert (found.train.checkpoint_every, found.data.workers) == (5, 2)


def test_a_pre_training_made_by_an_older_version(tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    write_text(tmp_path / "p.yaml", f"init: {weights}\n")
    now = pretrain_identity(load_pretrain_config(tmp_path / "p.yaml"))
    moved = weights.rename(tmp_path / "moved.pt")
    write_text(tmp_path / "p.yaml", f"init: {moved}\ntrain: {{log_every: 7, checkpoint_every: 9}}\n")
    assert pretrain_identity(load_pretrain_config(tmp_path / "p.yaml")) == now and "train.log_every" not in now
    old = now | {
        "train.log_every": 50,
        "sound.cache_hours": 1.0,
        "init": "/gone/weights.pt",
        "seed": 3,
        "recordings": None,
    }
    assert reread_pretrain(old) == now | {"seed": 3, "recordings": None}
    assert reread_pretrain(old | {"train.lr": 0.5}) != reread_pretrain(old)


@pytest.mark.parametrize("must_exist", ["true", "false"])
def test_a_misspelt_score_is_found_before_the_stages(tmp_path, must_exist):
    write_text(tmp_path / "x.yaml", "score: {three: {k: 3}}")
    write_text(tmp_path / "exp/a/config.yaml", dump_yaml(load_config(tmp_path / "x.yaml")))
    words = ["--config", str(tmp_path / "x.yaml"), "--exp", str(tmp_path / "exp/a"), "--must-exist", must_exist]
    with pytest.raises(ValueError, match="--score thre: the experiment's scores are three"):
        configure.main([*words, "--score", "three,thre"])
    (tmp_path / "exp/a/seed0/score/mine").mkdir(parents=True)
    configure.main([*words, "--score", "three,mine"])
