"""Only the score is changed: what is said names ways that train nothing, and they work as they are written."""

import re

import pytest
from experiments import Experiment

from asdkit.bin import configure, evaluate, report, score
from asdkit.config import open_config
from asdkit.detectors.folder import read_scores, read_thresholds

CHANGES = {"k": ("k: 3", "score.knn.k=3", "1, now 3"), "percentile": (
    "threshold_percentile: 95.0", "score.knn.threshold_percentile=95.0", "90.0, now 95.0")}  # fmt: skip


@pytest.fixture
def experiment(tmp_path):
    made = Experiment(tmp_path, sets=("dev",))
    (tmp_path / "plain.yaml").write_text("score: {knn: {k: 1}}\n")
    made.run_all()
    return made


def driver(experiment, config, *options):
    """What run.sh does from stage 5 on."""
    own = [word for word in options if word not in ("--force", "true")]
    forced = ["--force", "true"] if "--force" in options else []
    settings = ["--config", str(config), "--exp", str(experiment.exp), *own]
    configure.main([*settings, "--must-exist", "true", *forced])
    experiment.run(score, *forced)
    report.main(["--data", str(experiment.data), "--exp", str(experiment.exp), *forced])


@pytest.mark.parametrize("way", ["file", "set"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_score_is_refused_with_ways_that_train_nothing(experiment, change, way):
    text, setting, now = CHANGES[change]
    changed = experiment.root / "changed.yaml"
    changed.write_text(f"score: {{knn: {{{text}}}}}\n" if way == "file" else "{}\n")
    options = [] if way == "file" else ["--set", setting]
    before, folder = experiment.stamps(), experiment.exp / "seed0/score"
    whole = read_scores(folder / "knn/dev_test.tsv"), read_thresholds(folder / "knn/threshold.tsv")
    for stage in ("false", "true"):  # the whole command, and --stage 5
        with pytest.raises(
            ValueError, match=rf"made with score.knn.{setting.split('.')[2].split('=')[0]} = {now}"
        ) as said:
            configure.main(
                ["--config", str(changed), *options, "--exp", str(experiment.exp), "--must-exist", stage]
            )  # fmt: skip
        assert "--tag" not in str(said.value) and "nothing is trained" in str(said.value)
        assert "score.NEW.KEY=VALUE in place of score.knn.KEY" in str(said.value)
        assert str(said.value).endswith("or --stage 5 --force true to make it again")
    assert experiment.stamps() == before
    # another name, in the file or by --set
    if way == "file":
        changed.write_text(f"score: {{new: {{{text}}}}}\n")
    driver(experiment, changed, *(word.replace("score.knn", "score.new") for word in options))
    assert (read_scores(folder / "knn/dev_test.tsv"), read_thresholds(folder / "knn/threshold.tsv")) == whole
    found = read_scores(folder / "new/dev_test.tsv"), read_thresholds(folder / "new/threshold.tsv")
    assert (found[0] == whole[0], found[1] == whole[1]) == (change == "percentile", False)
    assert set(open_config(experiment.exp / "config.yaml").score) == {"knn", "new"}
    # in its place
    changed.write_text(f"score: {{knn: {{{text}}}}}\n" if way == "file" else "{}\n")
    driver(experiment, changed, *options, "--force", "true")
    assert (read_scores(folder / "knn/dev_test.tsv"), read_thresholds(folder / "knn/threshold.tsv")) == found
    after = experiment.stamps()
    assert not [path for path in before if re.search("embed|checkpoint", str(path)) and after[path] != before[path]]


def test_later_stages_name_the_same_ways(experiment):
    config = experiment.exp / "config.yaml"
    config.write_text("score: {knn: {k: 3}}\n")
    for program in (score, evaluate):
        with pytest.raises(
            ValueError, match="score.k = 1, now 3. Use another name: .*nothing is trained, or --stage 5"
        ):
            experiment.run(program)
