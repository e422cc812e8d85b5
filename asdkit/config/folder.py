"""The configuration in the folder of an experiment, exp/<tag>/config.yaml."""

from pathlib import Path
from typing import Any

from asdkit.config.experiment import Config, open_config
from asdkit.config.identity import CHECKPOINT, experiment_identity, reread_score, score_identity
from asdkit.config.scoring import another_name
from asdkit.utils.done import TAG, compare
from asdkit.utils.files import read_json, write_text
from asdkit.utils.hub import sha256_weights, weights_path
from asdkit.utils.typed_yaml import dump_yaml


def settle(
    config: Config,
    exp: Path,
    elsewhere: str = TAG,
    force: bool = False,
    scores_only: bool = False,
    chosen: list[str] | None = None,
) -> Config:
    """What exp/<tag>/config.yaml has to hold when an experiment is run with `config`.

    Scores that have been made stay beside those of `config`. Raises ValueError, naming the first key that differs
    and what to do (`elsewhere`), when the folder was made with another training or embedding, or a score of that name
    was made with other settings. force: replace them; scores_only: the scores alone, chosen: those of these names.
    """
    path = exp / "config.yaml"
    if not path.exists():
        return config
    old = open_config(path)
    if not force or scores_only:
        again = "--stage 2 --force true" if scores_only else "--force true"
        compare(path, experiment_identity(old), _unmoved(experiment_identity(config), old, exp), elsewhere, again)
    for name, settings in config.score.items():
        forced = force and (chosen is None or name in chosen)
        for marker in () if forced else sorted(exp.glob(f"seed*/score/{name}/.done")):
            made, wanted = (_named(flat, name) for flat in (reread_score(read_json(marker)), score_identity(settings)))
            compare(marker, made, wanted, another_name(name), "--stage 5 --force true")
    made_before = {name: own for name, own in old.score.items() if any(exp.glob(f"seed*/score/{name}/.done"))}
    return config.model_copy(update={"score": {**made_before, **config.score}})


def _named(flat: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings in a flat identity of a score, under the keys that a user writes."""
    own = {key.removeprefix("score."): value for key, value in flat.items() if key.startswith("score.")}
    return {f"score.{name}.{key}": value for key, value in own.items()}


def _unmoved(identity: dict[str, Any], old: Config, exp: Path) -> dict[str, Any]:
    """The identity with the old path of the pre-trained weights where the new one holds those that were trained on."""
    path, before = identity.get(CHECKPOINT), old.encoder.checkpoint
    made = [read_json(marker).get(f"{CHECKPOINT}.sha256") for marker in sorted(exp.glob("seed*/checkpoint/.done"))]
    if (
        path
        and before
        and path != before
        and made
        and weights_path(path).exists()
        and set(made) == {sha256_weights(path)}
    ):
        return identity | {CHECKPOINT: before}
    return identity


def write(config: Config, exp: Path, command: str) -> bool:
    """Write exp/<tag>/config.yaml, headed by the command that made it, unless it holds that; returns whether it did."""
    path = exp / "config.yaml"
    if path.exists() and open_config(path) == config:
        return False
    head = "\n# ".join(f"# made by: {command}".splitlines()) + "\n"
    write_text(path, head + dump_yaml(config))
    return True
