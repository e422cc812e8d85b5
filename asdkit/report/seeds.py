"""The folders of scores of one seed of an experiment, evaluated."""

import logging
from pathlib import Path
from typing import Any

from asdkit.config import Config, open_config
from asdkit.data.chain import SIZE, Prepared, check_embedded, check_network, content_digest, trained_digest
from asdkit.detectors.folder import MADE_FROM
from asdkit.detectors.members import check_members
from asdkit.report.evaluation import check_scores, config_digest, evaluate_folder
from asdkit.report.results import score_folders, seed_folders
from asdkit.utils.cli import progress
from asdkit.utils.files import read_json


def evaluate_seed(exp: Path, seed: int, data: Path, names: list[str] | None = None, force: bool = False) -> None:
    """Evaluate the folders of scores of exp/<tag>/seed<K>: all of them, or those of the given names.

    Raises ValueError when there are none, or one was not made from the settings, clips, network and embeddings that are
    there, naming the first stage that is needed.
    """
    seed_dir, config, prepared = exp / f"seed{seed}", _config(exp), Prepared(data)
    folders = score_folders(seed_dir, names)
    if missing := sorted(set(names or ()) - {folder.name for folder in folders}):
        raise ValueError(f"{seed_dir}/score/{missing[0]} does not exist: run stage 5 first, or see --score")
    if not folders:
        raise ValueError(f"{seed_dir}/score holds no scores: run stage 5 first")
    own = {folder for folder in folders if config and _ours(config, folder)}
    origin: dict[str, Any] = {"clips_sha256": content_digest(prepared)}
    size = seed_dir / "checkpoint" / SIZE
    if config and own:
        origin["unheard"] = check_network(config, prepared, exp, seed_dir)
        origin["trained_sha256"] = trained_digest(config, prepared, seed_dir)
        for name in prepared.sets():
            check_embedded(config, seed_dir, name, prepared)
    for folder in progress(folders, f"evaluate {seed_dir.name}", unit="score"):
        if config and folder in own:
            check_scores(folder, config, prepared, seed_dir / "embed")
        else:
            check_members(folder)
        about = {"tag": exp.resolve().name, "seed": seed, "score": folder.name}
        about["config"] = str(exp / "config.yaml") if config else str(folder / MADE_FROM)
        about |= {"config_sha256": config_digest(config, folder), **origin}
        about["size"] = read_json(size) if folder in own and size.exists() else None
        written = evaluate_folder(folder, data, about, force, config is not None and folder.name in config.score)
        logging.info("%s: %s", folder / "results.json", "written" if written else "already done")


def evaluate_seeds(exp: Path, data: Path, names: list[str] | None = None, force: bool = False) -> None:
    """Evaluate the folders of scores of all seeds. One in which stage 5 has not ended is left out, with a warning.

    Raises ValueError for a name that no seed has, and when stage 5 has ended nowhere.
    """
    config = _config(exp)
    known = config.score if config else {}
    folders = {seed: score_folders(folder, names) for seed, folder in seed_folders(exp).items()}
    if missing := sorted(set(names or ()) - {path.name for paths in folders.values() for path in paths}):
        raise ValueError(f"--score {missing[0]}: no seed has such scores: run stage 5 first")
    late = {path for paths in folders.values() for path in paths if path.name in known and not _has_ended(path)}
    if folders and all(path in late for paths in folders.values() for path in paths):
        raise ValueError(f"{exp}: no scores to evaluate: run stage 5 first")
    for seed, paths in folders.items():
        if there := [path.name for path in paths if path not in late]:
            evaluate_seed(exp, seed, data, there, force)
    for path in sorted(late):
        (path / "results.json").unlink(missing_ok=True)  # of scores that are not there any more
        logging.warning("%s: left out: stage 5 has not ended there, run it again for this seed", path)


def _config(exp: Path) -> Config | None:
    """The experiment's configuration; None for a fusion, which was not trained."""
    path = exp / "config.yaml"
    fused = not path.exists() and any(exp.glob(f"seed*/score/*/{MADE_FROM}"))
    return None if fused else open_config(path)


def _ours(config: Config, folder: Path) -> bool:
    return folder.name in config.score or (folder / ".done").exists()


def _has_ended(folder: Path) -> bool:
    return (folder / ".done").exists()
