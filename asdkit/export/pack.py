"""From an experiment to a bundle: what is put in, and that it gives what the experiment gives."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.config import Config, ScoreConfig
from asdkit.config.identity import score_identity
from asdkit.corpus.manifest import Row
from asdkit.data.chain import check_filter
from asdkit.detectors import DETECTORS
from asdkit.detectors.folder import read_made_from
from asdkit.detectors.scoring import title
from asdkit.export.card import card
from asdkit.export.machines import Sources, machine_part
from asdkit.infer.experiment import Experiment
from asdkit.models.system import System
from asdkit.monitor.bundle import write_bundle
from asdkit.monitor.detector import Detector
from asdkit.utils.files import atomic_path
from asdkit.utils.provenance import source

MEMORY = (10, 30, 60, 120, 300, 600, 1200, 3600)  # seconds for which the memory that clips need is told
PROBES = 3  # training clips of each machine whose arrays are compared with stage 4's
EQUAL, CLOSE = 1e-4, 1e-2  # of an array's largest number: the same up to rounding; the same network

Arrays = dict[str, np.ndarray]


def export_detector(
    experiment: Experiment,
    out: Path,
    name: str,
    machines: Sequence[str] = (),
    graph: bool = True,
    recordings: str | None = None,
    precision: str = "auto",
) -> dict[str, Any]:
    """Write the bundle of an experiment's score `name`, for these machines (none: all); returns its header.

    graph: put the network in as an ONNX graph of this `precision` (`precision.PRECISIONS`), else as weights for torch.
    With int8 the training clips are embedded again, for scores compare with arrays of the same network. recordings: a
    regular expression whose match in a training clip's file name tells the recording that it is cut from.
    Raises ValueError for an experiment that is not finished, or cannot be put into a bundle, and where the bundle would
    not give what the experiment gives.
    """
    settings = _settings(experiment, name)
    config = _config(experiment, settings)
    experiment.check_trained()
    check_filter(experiment.dataset, experiment.seed_dir)
    system = _system(experiment, config)
    sources = Sources(experiment, name, settings, list(machines), recordings and _pattern(recordings))
    header: dict[str, Any] = {
        "made_by": {"version": source()["asdkit"], "commit": source()["git"]},
        "card": card(experiment, name),
        "reading": _reading(experiment, config),
        "score": {
            "name": name,
            "detector": settings.detector,
            "arrays": settings.arrays,
            "non_negative": settings.normalise in ("none", "median")
            and DETECTORS[settings.detector](settings).non_negative,
            "percentile": settings.threshold_percentile,
            "settings": score_identity(settings),
        },
        "machines": [],
    }
    header["network"], network = _network(system, config, precision if graph else None, sources)
    arrays: Arrays = {}
    for number, key in enumerate(sources.keys):
        part, own = machine_part(sources, key, f"m{number}")
        header["machines"].append(part)
        arrays |= own
        logging.info("%s: %d training clips, threshold %.6g", title(key), len(part["clips"]["utt"]), part["threshold"])
    with atomic_path(out) as temporary:
        write_bundle(temporary, header, arrays | network)
        _compare(temporary, sources)
    return header


def check_member(exp: Path, seed: int) -> None:
    """Raise ValueError for a folder that holds no experiment but a fusion of several."""
    for folder in sorted((exp / f"seed{seed}" / "score").glob("*")) if not (exp / "config.yaml").exists() else ():
        told = read_made_from(folder).model_extra or {}
        if members := told.get("members"):
            which = "; ".join(str(member["folder"]) for member in members)
            raise ValueError(
                f"{exp} is a fusion of several scores, and a bundle holds one. Export its members, each to a file of "
                f"its own, or the best of them: {which}"
            )


def _settings(experiment: Experiment, name: str) -> ScoreConfig:
    settings = experiment.settings(name)
    if settings.normalise == "test_zscore":
        raise ValueError(
            f"score.{name}.normalise is test_zscore: such a score needs a whole test set, new clips have none. Take "
            f"another score (--score): {', '.join(experiment.config.score)}"
        )
    folder = experiment.seed_dir / "score" / name
    made = (read_made_from(folder).model_extra or {}).get("settings")
    if made is None:
        raise ValueError(f"{folder}: not scored by this version: run stage 5 (score) first")
    if made != score_identity(settings):
        raise ValueError(
            f"{folder}: scored with other settings than {experiment.exp}/config.yaml has: run stage 5 again"
        )
    return settings


def _config(experiment: Experiment, settings: ScoreConfig) -> Config:
    """The experiment's configuration with those arrays alone that the score reads."""
    config = experiment.located
    arrays = {name: how for name, how in config.embed.arrays.items() if name in settings.arrays}
    return config.model_copy(update={"embed": config.embed.model_copy(update={"arrays": arrays, "chunks": False})})


def _system(experiment: Experiment, config: Config) -> System:
    import torch

    from asdkit.infer.network import load_system

    return load_system(config, experiment.checkpoint, torch.device("cpu"))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"--recordings {text!r}: no regular expression: {error}") from None


def _reading(experiment: Experiment, config: Config) -> dict[str, Any]:
    dataset = experiment.dataset
    return {
        "rate": dataset.sample_rate,
        "channel": dataset.channel,
        "resample": dataset.resample,
        "signal": dataset.signal and dict(vars(dataset.signal)),
        "reference": config.data.reference,
        "reference_channel": dataset.reference_channel,
        "level": config.data.level,
    }


def _network(system: System, config: Config, precision: str | None, sources: Sources) -> tuple[dict[str, Any], Arrays]:
    """The header's part of the network, and its arrays; precision: of a graph, None: for torch."""
    from asdkit.data.batches import Framing

    framing = Framing(system.sample_rate, system.window, system.hop)
    shortest = round(config.data.chunk_seconds * framing.rate)
    told: dict[str, Any] = {
        "kind": "onnx" if precision else "torch",
        "precision": config.embed.precision,
        "window": max(1, system.window),
        "hop": system.hop,
        "shortest": shortest,
        "segment": config.embed.segment,
        "chunk": framing.frames(shortest),
        "chunk_hop": max(1, round(config.embed.hop_seconds * framing.rate / framing.hop)),
        "arrays": {name: list(shape) for name, shape in sources.shapes.items()},
        "memory": [] if config.embed.segment == "chunk" else _memory(system, config),
    }
    if precision:
        from asdkit.export import precision as graphs
        from asdkit.monitor.session import Session

        made = graphs.make_graph(system, config, sources.sounds(5), precision)
        if precision != "float32":
            logging.info(graphs.told(made))
        told |= {"precision": made.precision, "graphs": {"-": "graph"}, "settings": {"proven": made.report}}
        own, weights = {"graph": np.frombuffer(made.graph, np.uint8)}, made.weights
        if made.precision != "float32":
            sources.embed_again(Session(made.graph, weights).run, shortest)
    else:
        from asdkit.infer.unpacked import packed

        told["settings"], weights = packed(system, config)
        told["graphs"], own = {}, {}
    names = {name: f"w{number}" for number, name in enumerate(weights)}
    told["weights"] = names
    return told, own | {names[name]: weight for name, weight in weights.items()}


def _memory(system: System, config: Config) -> list[list[int]]:
    rate, precision = system.sample_rate, config.embed.precision
    found = [[seconds * rate, int(system.memory(seconds * rate, 1, "cpu", precision))] for seconds in MEMORY]
    return [pair for pair in found if pair[1] > 0]


def _compare(path: Path, sources: Sources) -> None:
    """Tell how the bundle's arrays differ from stage 4's, of some clips of each machine.

    Raises ValueError where they are another network's.
    """
    detector, found = Detector.open(path), {}
    for machine in detector.machines:
        rows: list[Row] = sources.rows[machine.name, machine.section]
        for number in np.unique(np.linspace(0, len(rows) - 1, PROBES).round().astype(int)):
            arrays = detector.embed(detector.read(sources.path(rows[number])), machine)
            for name in sources.shapes:
                expected = sources.array(name, rows[number])
                off = float(np.abs(arrays[name] - expected).max() / max(np.abs(expected).max(), 1e-30))
                found[name] = max(found.get(name, 0.0), off)
                if off > CLOSE:
                    raise ValueError(
                        f"{rows[number]['utt']}: the bundle's {name} differs from stage 4's by {off:.1e} of its "
                        "largest number: has the recording changed since? Run stage 4 again"
                    )
    for name, off in found.items():
        told = "the same up to rounding" if off <= EQUAL else "computed in another precision"
        logging.info("%s: differs from the training clips' by %.1e of its largest number: %s", name, off, told)
