"""The folders of scores of one seed of an experiment, evaluated."""

import logging
from pathlib import Path

from asdkit.config import open_config
from asdkit.report.evaluation import check_scores, config_digest, evaluate_folder
from asdkit.report.results import score_folders


def evaluate_seed(exp: Path, seed: int, data: Path, names: list[str] | None = None, force: bool = False) -> None:
    """Evaluate the folders of scores of exp/<tag>/seed<K>: all of them, or those of the given names.

    Raises ValueError when there are none, or one was made with other settings or embeddings than those that are there.
    """
    seed_dir, config = exp / f"seed{seed}", open_config(exp / "config.yaml")
    folders = score_folders(seed_dir, names)
    if missing := sorted(set(names or ()) - {folder.name for folder in folders}):
        raise ValueError(f"{seed_dir}/score/{missing[0]} does not exist: run stage 5 first, or see --score")
    if not folders:
        raise ValueError(f"{seed_dir}/score holds no scores: run stage 5 first")
    for folder in folders:
        check_scores(folder, config, data, seed_dir / "embed")
        about = {"tag": exp.resolve().name, "seed": seed, "score": folder.name, "config": str(exp / "config.yaml")}
        about["config_sha256"] = config_digest(config, folder)
        written = evaluate_folder(folder, data, about, force)
        logging.info("%s: %s", folder / "results.json", "written" if written else "already done")
