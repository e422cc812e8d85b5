"""One network, trained on several corpora: an experiment of each that uses it."""

import os
from pathlib import Path

from asdkit.config import Config, ScoreConfig, open_config
from asdkit.config.folder import settle, write
from asdkit.corpus.description import load_dataset
from asdkit.corpus.names import sets_of
from asdkit.corpus.years import COPIES, COPIES_COLUMNS, label_of
from asdkit.data.chain import TRAINED_ON, Prepared
from asdkit.data.lists import LABEL_COLUMNS, read_labels
from asdkit.utils.files import read_table, read_text, write_json, write_table, write_text

COPIED = ("env.txt", "levels.tsv", "classes.txt")
LINKED = ("checkpoint", "train.tsv", "tensorboard")


def share(trained: Path, joined: Path, exp: Path, year: str, data: Path, command: str, force: bool = False) -> None:
    """Make `exp`, an experiment on one year's `data`, of the one that was `trained` on several, `joined`.

    Weights are linked, so that there is one copy; settings are those of `trained`, but a year without domains has
    detectors for each section. Labels are those that the year's training clips, or their copies, were trained with.
    Raises ValueError where `trained` has no labels yet, and as `settle` for scores that were made with other settings.
    """
    config = for_protocol(open_config(trained / "config.yaml"), load_dataset(data).protocol)
    labels = read_labels(trained)
    write(settle(config, exp, force=force, scores_only=True), exp, command)
    for name in COPIED:
        if (trained / name).exists():
            _keep(exp / name, read_text(trained / name))
    _keep(exp / "dataset.yaml", read_text(data / "dataset.yaml"))
    write_json(exp / TRAINED_ON, {"data": os.path.relpath(joined, exp)})
    prepared = Prepared(data)
    copies = label_of(read_table(joined / COPIES, COPIES_COLUMNS), set(labels))
    own = []
    for name in sets_of("train", prepared.sets()):
        for row in prepared.rows(name):
            known = labels.get(copies.get(utt := f"{year}-{row['utt']}", utt))
            if known:
                own.append({"utt": row["utt"], "label": str(known[0]), "attributed": str(int(known[1]))})
    if not (exp / "labels.tsv").exists() or read_table(exp / "labels.tsv", LABEL_COLUMNS) != own:
        write_table(exp / "labels.tsv", LABEL_COLUMNS, own)
    for folder in sorted(trained.glob("seed*")):
        for name in LINKED:
            if (folder / name).exists():
                _link(exp / folder.name / name, folder / name)


def for_protocol(config: Config, protocol: str) -> Config:
    """The configuration with the scores that a year's protocol asks for: machine ids and no domains."""
    if protocol != "dcase2020":
        return config
    return config.model_copy(update={"score": {name: _by_section(one) for name, one in config.score.items()}})


def _by_section(settings: ScoreConfig) -> ScoreConfig:
    changes: dict[str, object] = {"per_section": True, "per_domain": False}
    if rescale := getattr(settings, "rescale", None):
        changes["rescale"] = rescale.model_copy(update={"k_target": None})
    return settings.model_copy(update=changes)


def _keep(path: Path, text: str) -> None:
    if not path.exists() or read_text(path) != text:
        write_text(path, text)


def _link(place: Path, target: Path) -> None:
    told = os.path.relpath(target, place.parent)
    if place.is_symlink() and os.readlink(place) == told:
        return
    if place.exists() and not place.is_symlink():
        raise ValueError(f"{place}: of a training of its own: use another --tag or --expdir")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(told)
