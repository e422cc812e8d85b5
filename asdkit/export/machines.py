"""What a bundle keeps of each machine: its training clips, what its detectors learnt, what is normal for its sensor."""

import os
import re
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asdkit.config import ScoreConfig
from asdkit.corpus.manifest import Row
from asdkit.detectors import DETECTORS
from asdkit.detectors.domains import PerDomain
from asdkit.detectors.scoring import Key, groups, recordings_of, title
from asdkit.detectors.tables import side_by_side
from asdkit.detectors.threshold import threshold
from asdkit.export.learnt import learnt
from asdkit.infer.experiment import Experiment
from asdkit.monitor import evidence
from asdkit.monitor.recorded import recorded
from asdkit.monitor.sensors import BAND_NAMES, NAMES, measure
from asdkit.signals.audio import AudioReader
from asdkit.signals.heard import at_level, tile
from asdkit.utils.cli import progress
from asdkit.utils.files import read_table
from asdkit.utils.names import choose

CALIBRATION = 20000  # training clips of a machine whose own scores are kept
Arrays = dict[str, np.ndarray]


class Sources:
    """The training clips that a bundle is made from, by machine (and section); raises ValueError for unknown machines.

    keys: those that are exported. pattern: what in a file name tells the recording that a clip is cut from.
    """

    def __init__(
        self,
        experiment: Experiment,
        name: str,
        settings: ScoreConfig,
        machines: list[str],
        pattern: re.Pattern[str] | None,
    ) -> None:
        self.experiment, self.name, self.settings, self.pattern = experiment, name, settings, pattern
        self.rows: dict[Key, list[Row]] = defaultdict(list)
        self._place: dict[str, tuple[str, int]] = {}  # utt -> set, row
        self.own_network = False  # whether arrays are those of a network that is not stage 4's
        self.loaded = {
            array: experiment.training(array, zeros=settings.zeros or len(settings.arrays) > 1)
            for array in settings.arrays
        }
        self._join()
        known = {key[0] for key in self.rows}
        failure = f"--machines: {experiment.exp} has no training clips of"
        chosen = choose(machines, known, failure) if machines else known
        self.keys = sorted(key for key in self.rows if key[0] in chosen)

    def _join(self) -> None:
        """Rows and arrays, side by side, by machine (and section)."""
        settings, parts = self.settings, defaultdict(list)
        self.rows.clear()
        for found, (rows, _) in self.loaded[settings.arrays[0]].items():
            x = side_by_side([self.loaded[array][found][1] for array in settings.arrays])
            self._place |= {row["utt"]: (found, number) for number, row in enumerate(rows)}
            for key, chosen in groups(settings, rows).items():
                self.rows[key] += [rows[i] for i in chosen]
                parts[key].append(x[chosen])
        self.x = {key: np.concatenate(found) for key, found in parts.items()}

    def embed_again(self, run: Callable[[np.ndarray], Arrays], shortest: int) -> None:
        """Take arrays of the training clips that another network makes: with those of stage 4, its scores would be off.

        run: samples [1, T] -> name -> [1, ...].
        """
        self.own_network, reader = True, self.reader()
        level = self.experiment.config.data.level
        for array, sets in self.loaded.items():
            self.loaded[array] = {found: (rows, np.array(x)) for found, (rows, x) in sets.items()}
        rows = [row for key in self.keys for row in self.rows[key]]
        for row in progress(rows, "training clips in 8 bits", len(rows)):
            wav = reader.read(self.path(row), length=int(row["samples"]))
            rms = self.levels.get(row["machine"], 0.0)
            if level == "clip_rms" or rms:
                wav = at_level(wav, rms)
            made = run(tile(wav, max(shortest, len(wav)))[None])
            found, number = self._place[row["utt"]]
            for array, sets in self.loaded.items():
                sets[found][1][number] = made[array][0]
        self._join()

    def reader(self) -> AudioReader:
        """What reads the recordings."""
        return self.experiment.dataset.reader(self.experiment.config.data.reference)

    def threshold(self, key: Key, detector: PerDomain) -> float:
        """Stage 5's threshold, or by its rule, where the arrays are not stage 4's."""
        if not self.own_network:
            return self.experiment.threshold(self.name, *_named(key))
        settings = self.settings
        scale_free = settings.normalise in ("none", "median")
        non_negative = scale_free and DETECTORS[settings.detector](settings).non_negative
        return threshold(detector.self_scores()[1], settings.threshold_percentile, non_negative)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The arrays that the score reads, and the shape of one clip's."""
        return {name: next(iter(sets.values()))[1].shape[1:] for name, sets in self.loaded.items()}

    def array(self, name: str, row: Row) -> np.ndarray:
        """A clip's array as stage 4 wrote it."""
        found, number = self._place[row["utt"]]
        return self.loaded[name][found][1][number]

    def path(self, row: Row) -> Path:
        """A clip's recording."""
        return Path(self.experiment.dataset.root, row["wav"])

    def sounds(self, count: int) -> list[np.ndarray]:
        """Samples of some clips as the network reads them, of as many machines as there are: float32 [T] each."""
        rows = [self.rows[self.keys[i % len(self.keys)]] for i in range(count)]
        reader = self.reader()
        return [reader.read(self.path(own[(7 * i) % len(own)])) for i, own in enumerate(rows)]

    @cached_property
    def levels(self) -> dict[str, float]:
        """RMS of machines, where data.level is machine_rms."""
        if self.experiment.config.data.level != "machine_rms":
            return {}
        table = read_table(self.experiment.exp / "levels.tsv", ("machine", "rms"))
        return {row["machine"]: float(row["rms"]) for row in table}


def machine_part(sources: Sources, key: Key, prefix: str) -> tuple[dict[str, Any], Arrays]:
    """The header's part of a machine, and its arrays, whose names begin with `prefix`.

    Raises ValueError naming a recording that cannot be read, and a machine whose training clips are too few.
    """
    rows, x = sources.rows[key], sources.x[key]
    copies = recordings_of(rows, x)
    detector = PerDomain(sources.settings).fit(x, [row["domain"] for row in rows], copies)
    detectors, arrays = {}, {}
    for domain in detector.detectors:
        settings, own = learnt(detector, domain)
        low, width = detector.scale.get(domain, (0.0, 1.0))
        names = {name: f"{prefix}.{domain}.{name}" for name in own}
        arrays |= {names[name]: array for name, array in own.items()}
        detectors[domain] = {"low": low, "width": width, "settings": settings, "arrays": names}
    limit = sources.threshold(key, detector)  # before clips of one recording count as one: as stage 5 does
    recordings = together(copies, rows, sources.pattern)
    detector.count_as(recordings)
    numbers, scores = detector.self_scores(CALIBRATION)
    arrays[f"{prefix}.recordings"] = recordings.astype(np.int64)
    arrays[f"{prefix}.self_rows"], arrays[f"{prefix}.self_scores"] = numbers.astype(np.int64), scores
    sound, own = _sound(sources, rows, title(key))
    arrays |= {f"{prefix}.{name}": array for name, array in own.items()}
    rms, rate = sources.levels.get(key[0]), sources.experiment.dataset.sample_rate
    part = {
        "machine": key[0],
        "section": key[1],
        "rms": rms or None,
        "threshold": limit,
        "seconds": float(np.median([int(row["samples"]) for row in rows])) / rate,
        "clips": {
            "utt": [row["utt"] for row in rows],
            "name": [row["wav"] for row in rows],
            **{column: [row[column] for row in rows] for column in ("domain", "attr", "section")},
        },
        "recordings": f"{prefix}.recordings",
        "self_rows": f"{prefix}.self_rows",
        "self_scores": f"{prefix}.self_scores",
        "detectors": detectors,
        "sensors": {"names": sound["names"], "values": f"{prefix}.sensors"},
        "spectra": {
            "edges": sound["edges"],
            "seconds": sound["seconds"],
            "mean": f"{prefix}.spectra",
            "deviation": f"{prefix}.spread",
        },
    }
    return part, arrays


def _named(key: Key) -> tuple[str, str]:
    return key[0], "00" if key[1] == "-" else key[1]


def together(copies: np.ndarray, rows: list[Row], pattern: re.Pattern[str] | None) -> np.ndarray:
    """A number for each clip, the same for copies [N] and for clips whose names hold one match of `pattern`: [N].

    The whole match, or its groups where it has some. Raises ValueError for a name without a match.
    """
    if pattern is None:
        return copies
    matches = []
    for row in rows:
        if not (match := pattern.search(Path(row["wav"]).name)):
            raise ValueError(f"--recordings {pattern.pattern!r}: no match in {row['wav']}")
        matches.append(str(Path(row["wav"]).parent) + "/" + repr(match.groups() or match.group()))
    number = np.arange(len(rows))
    labels = [copies, np.unique(matches, return_inverse=True)[1]]
    while True:
        before = number
        for label in labels:
            least = np.full(label.max() + 1, len(rows))
            np.minimum.at(least, label, number)
            number = least[label]
        if (number == before).all():
            return np.unique(number, return_inverse=True)[1]


def _sound(sources: Sources, rows: list[Row], what: str) -> tuple[dict[str, Any], Arrays]:
    """What is normal for a machine's sensor and spectrum, from its recordings."""
    experiment = sources.experiment
    reader, rate = sources.reader(), experiment.dataset.sample_rate

    def one(row: Row) -> tuple[list[float], np.ndarray, np.ndarray]:
        path = sources.path(row)
        raw = recorded(reader, path)
        found = measure(raw.samples, raw.rate, raw.subtype, raw.channels)
        course = evidence.levels(reader.read(path, length=int(row["samples"])), rate)
        return [found[name] for name in (*NAMES, *BAND_NAMES)], *evidence.summary(course)

    found = _each(one, rows, f"sound of {what}")
    told = {
        "names": [*NAMES, *BAND_NAMES],
        "edges": evidence.band_edges(rate).tolist(),
        "seconds": evidence.step(rate),
    }
    sensors, means, spread = zip(*found, strict=True)
    arrays = {"sensors": np.array(sensors, np.float64)}
    return told, arrays | {"spectra": np.float32(np.stack(means)), "spread": np.float32(np.stack(spread))}


def _each(work: Callable[[Row], Any], rows: list[Row], what: str) -> list[Any]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(progress(pool.map(work, rows), what, len(rows)))
