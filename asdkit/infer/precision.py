"""Which precision is the quickest here that keeps embeddings as they are: `embed.precision: auto`."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.config import Config
from asdkit.corpus.names import sets_of
from asdkit.data.chosen import CHOSEN, as_chosen, check_choice, choice_inputs
from asdkit.data.levels import at_level
from asdkit.data.lists import Clip, input_clips
from asdkit.infer.clips import arrays, batches_of
from asdkit.infer.experiment import Experiment
from asdkit.infer.network import has_int8, load_system
from asdkit.utils.files import locked, read_json, sha256_file, write_json

NEAR = 0.999  # cosine to float32 that each clip must keep
CLIPS = 50  # training clips that are compared
TIMED = 4  # of them, of equal length, that are timed together
TURNS = 3  # of which the quickest counts


def choose_precision(experiment: Experiment, dump: str | Path, force: bool = False) -> str:
    """The precision of this seed's network where the experiment says auto: noted beside it, and the same ever after.

    Whoever asks while another chooses waits for that answer. force: choose again. Raises ValueError where what was
    chosen was for other weights or settings, and for recordings that cannot be embedded.
    """
    folder = experiment.seed_dir
    with locked(folder / f".{CHOSEN}.lock"):
        checkpoint = sha256_file(experiment.checkpoint)
        if force:
            (folder / CHOSEN).unlink(missing_ok=True)
        check_choice(experiment.config, folder, checkpoint)
        if not (folder / CHOSEN).exists():
            config = _with(experiment.located, "auto")
            found = measure(config, experiment, _clips(experiment, config, dump))
            write_json(folder / CHOSEN, {**found, "made_from": choice_inputs(config, checkpoint)})
        logging.info("%s: embed.precision auto: %s", folder, read_json(folder / CHOSEN)["why"])
        return as_chosen(_with(experiment.config, "auto"), folder).embed.precision


def measure(config: Config, experiment: Experiment, clips: Sequence[Clip]) -> dict[str, Any]:
    """The quickest precision whose arrays of each of the clips are near float32's, and what it was chosen by."""
    device, checkpoint, reader = experiment.device, experiment.checkpoint, experiment.dataset.reader()
    config = config.model_copy(update={"data": config.data.model_copy(update={"workers": 0})})  # a few clips need none
    systems = {"float32": load_system(_with(config, "float32"), checkpoint, device)}
    others = ["tf32", "bfloat16"] if device.type == "cuda" else ["bfloat16"]
    others += ["int8"] if device.type == "cpu" and has_int8(systems["float32"]) else []
    systems |= {name: load_system(_with(config, name), checkpoint, device) for name in others}
    batches = batches_of(list(clips), config.embed.batch_size)

    def embed(name: str, chosen: list[list[Clip]]) -> dict[str, dict[str, np.ndarray]]:
        return dict(arrays(systems[name], _with(config, name), chosen, reader, device))

    timed = max(batches, key=lambda one: (min(len(one), TIMED), one[0].samples))[:TIMED]
    calls = [partial(embed, name, [timed]) for name in systems]
    seconds = dict(zip(systems, quickest(calls), strict=True))
    exact, cosines = embed("float32", batches), {}
    for name in sorted(seconds, key=seconds.__getitem__):
        if name == "float32":
            break
        try:
            found = embed(name, batches)
            cosines[name] = min(cosine(_single(found[utt]), _single(table)) for utt, table in exact.items())
        except ValueError as error:  # what float32 could embed
            logging.warning("embed.precision %s: %s", name, error)
            cosines[name] = 0.0
        if cosines[name] >= NEAR:
            break
    told = [f"{key} {value:.3g} s" for key, value in seconds.items()]
    kept = [f"{key} {value:.6f}" for key, value in cosines.items()]
    why = f"{name}; time for {len(timed)} clip(s): {', '.join(told)}"
    why += f"; smallest cosine to float32 over {len(clips)} training clips: {', '.join(kept)}" if kept else ""
    return {"precision": name, "why": f"{why}; at least {NEAR} is asked for", "seconds": seconds, "cosine": cosines}


def cosine(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The smallest cosine of an array's vectors (a matrix is one vector) to those expected, over clips and arrays.

    Of single numbers, such as scores, one less their relative difference.
    """
    cosines = []
    for name, array in expected.items():
        a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (found[name], array))
        tiny, same = np.finfo(np.float64).tiny, (a == b).all(1)
        if b.shape[1] == 1:
            near = 1 - np.abs(a - b)[:, 0] / np.maximum(np.abs(b)[:, 0], tiny)
        else:
            near = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), tiny)
        cosines.append(np.where(same, 1.0, near).min())
    return float(min(cosines))


def quickest(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Seconds of the quickest of several turns of each, taken by turns: what else a computer does is the same for all.

    The first turn makes room, and does not count.
    """
    found: list[list[float]] = [[] for _ in calls]
    for turn in range(TURNS + 1):
        for call, own in zip(calls, found, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                own.append(time.perf_counter() - start)
    return [min(own) for own in found]


def _clips(experiment: Experiment, config: Config, dump: str | Path) -> list[Clip]:
    """Training clips from all machines, evenly spread."""
    prepared = experiment.prepared
    assert prepared
    every = []
    for name in sets_of("train", prepared.sets()):
        every += at_level(input_clips(config, prepared.data, dump, name), config, experiment.exp)
    every.sort(key=lambda clip: (clip.machine, clip.utt))
    return [every[place] for place in np.unique(np.linspace(0, len(every) - 1, CLIPS).round().astype(int))]


def _single(table: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array[None] for name, array in table.items()}


def _with(config: Config, precision: str) -> Config:
    return config.model_copy(update={"embed": config.embed.model_copy(update={"precision": precision})})
