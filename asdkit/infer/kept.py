"""Weights that a training kept on its way (`train.save_steps`): scores of all clips by each of them."""

from pathlib import Path

import numpy as np

from asdkit.config import Config
from asdkit.corpus.manifest import Row
from asdkit.corpus.names import sets_of
from asdkit.detectors.scoring import Scored, score_sets
from asdkit.detectors.tables import side_by_side
from asdkit.infer.experiment import Experiment
from asdkit.utils.ark import check_directions
from asdkit.utils.cli import progress

Arrays = dict[str, dict[str, np.ndarray]]  # set -> array -> [clips, ...]


def kept_steps(config: Config) -> list[int]:
    """The steps whose weights there are, the last one of the training too.

    Raises ValueError for a training of which none were kept.
    """
    if not config.train.save_steps:
        raise ValueError(
            "train.save_steps is empty: this training kept no weights on its way. Train under another --tag with "
            f"--set train.save_steps=[{config.train.steps // 2}], for example"
        )
    return sorted({*config.train.save_steps, config.train.steps})


def experiment_at(exp: str | Path, seed: int, data: str | Path, step: int, device: str = "auto") -> Experiment:
    """The experiment with the weights of a step, whole clips alone. Raises ValueError for a step that was not kept."""
    experiment = Experiment.open(exp, seed, data, device)
    config = experiment.config
    if step not in kept_steps(config):
        raise ValueError(f"step {step}: {exp} kept weights of the steps {', '.join(map(str, kept_steps(config)))}")
    checkpoint = "final" if step == config.train.steps else f"step{step}"
    embed = config.embed.model_copy(update={"checkpoint": checkpoint, "chunks": False})
    experiment.config = config.model_copy(update={"embed": embed})
    return experiment


def arrays_of(experiment: Experiment, dump: str | Path) -> Arrays:
    """The network's arrays of all clips, sets in the order of the corpus, clips in that of their manifest.

    The same numbers as stage 4's, which writes them. Raises ValueError as stage 4 does.
    """
    from asdkit.data.chain import dump_folder
    from asdkit.data.levels import at_level
    from asdkit.data.lists import check_recordings, input_clips
    from asdkit.infer.clips import arrays, batches_of

    config, prepared = experiment.config, experiment.prepared
    assert prepared
    found: Arrays = {}
    for name in prepared.sets():
        if dump_folder(config) is None:
            check_recordings(prepared.rows(name), experiment.dataset, name)
        clips = at_level(input_clips(config, prepared.data, dump, name), config, experiment.exp)
        batches = batches_of(clips, config.embed.batch_size)
        made = arrays(experiment.system, config, batches, experiment.dataset.reader(), experiment.device)
        table = dict(progress(made, f"embed {name}", len(clips)))
        utts = [row["utt"] for row in prepared.rows(name)]
        found[name] = {array: np.stack([table[utt][array] for utt in utts]) for array in table[utts[0]]}
    return found


def scores_of(experiment: Experiment, made: Arrays, name: str) -> Scored:
    """The scores that score.<name> gives, as stage 5 does; raises ValueError as stage 5 does."""
    settings = experiment.settings(name)

    def embedded(found: str) -> tuple[list[Row], np.ndarray]:
        rows = experiment.rows(found)
        if unknown := [array for array in settings.arrays if array not in made[found]]:
            raise ValueError(f"score.{name}.array: no array {unknown[0]!r}; there are {', '.join(made[found])}")
        for array in settings.arrays:
            if not settings.zeros:
                check_directions(f"{found}, {array}", [row["utt"] for row in rows], made[found][array])
        return rows, side_by_side([made[found][array] for array in settings.arrays])

    train, tests = ({one: embedded(one) for one in sets_of(split, list(made))} for split in ("train", "test"))
    return score_sets(settings, train, tests)
