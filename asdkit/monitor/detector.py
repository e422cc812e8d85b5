"""A bundle, used: recordings in, arrays, scores and what they were compared with out."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from asdkit.detectors.tables import side_by_side
from asdkit.monitor.bundle import Bundle
from asdkit.monitor.faults import Faults
from asdkit.monitor.learnt import Learnt
from asdkit.signals.audio import AudioReader
from asdkit.signals.heard import at_level, tile
from asdkit.signals.recording import Signal
from asdkit.signals.reference import TreatedReader
from asdkit.utils.memory import total_memory
from asdkit.utils.names import composed

SURE = 30.0  # seconds: shorter clips need no more than a GB or two of any encoder


class Network(Protocol):
    """What makes arrays of samples."""

    def run(self, wav: np.ndarray, machine: str) -> dict[str, np.ndarray]:
        """wav float32 [B, T] -> name -> [B, ...]."""


class Scored(NamedTuple):
    """One clip's score, and what it was compared with.

    anomalous: above stage 5's threshold; None: there is none. domain: whose detector gave the smallest score (`all`:
    one detector serves all). nearest: number of the training clip that is nearest by that detector, at `distance`;
    None: it keeps no clips. copy: as good as that clip's own sound: the score says nothing. fault: name of the known
    fault that it sounds like, and its recording.
    """

    score: float
    anomalous: bool | None
    domain: str
    nearest: int | None
    distance: float | None
    copy: bool
    fault: tuple[str, str] | None = None


class Machine:
    """What a bundle holds of a machine, or of one of its sections where these have detectors of their own.

    clips: {utt, name, domain, attr, section}, lists over the training clips. Raises ValueError for what does not fit.
    """

    def __init__(self, bundle: Bundle, told: dict[str, Any]) -> None:
        self.bundle, self.told = bundle, told
        self.name, self.section, self.threshold = told["machine"], told["section"], told["threshold"]
        self.rms, self.seconds, self.clips = told["rms"], told["seconds"], told["clips"]

    @property
    def title(self) -> str:
        """Its name and, where it has one, section."""
        return f"{self.name} {self.section}".removesuffix(" -")

    @cached_property
    def recordings(self) -> np.ndarray:
        """A number for each training clip, the same for those of one recording: int64 [N]."""
        return self.bundle.array(self.told["recordings"])

    @cached_property
    def calibration(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores [R] of training clips, none compared with its own recording, and their recordings [R]."""
        rows = self.bundle.array(self.told["self_rows"])
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.recordings)):
            raise ValueError(f"{self.bundle.path}: {self.title}: self_rows: there is no such training clip")
        return self.bundle.array(self.told["self_scores"]), self.recordings[rows]

    @cached_property
    def sensors(self) -> tuple[list[str], np.ndarray] | None:
        """Names [K] and values [N, K] of statistics of the training clips' samples."""
        found = self.told["sensors"]
        return found and (found["names"], self.bundle.array(found["values"]))

    @cached_property
    def spectra(self) -> dict[str, Any] | None:
        """Spectra of the training clips, as the bundle's header tells of them, with the arrays in place of names."""
        found = self.told["spectra"]
        arrays = ("mean", "deviation")
        return found and {key: self.bundle.array(value) if key in arrays else value for key, value in found.items()}

    @cached_property
    def faults(self) -> Faults | None:
        """What is known of faults; None: nothing."""
        told = self.told.get("faults")
        if not told:
            return None
        with _fitting(self.bundle, f"{self.title}, faults"):
            x, radii = self.bundle.array(told["x"]), self.bundle.array(told["radii"])
            return Faults(next(iter(self.domains.values()))[0], told["names"], x, radii)

    @cached_property
    def domains(self) -> dict[str, tuple[Learnt, float, float]]:
        """Domain -> its detector, and what its scores are lowered and divided by."""
        kind, found = self.bundle.header["score"]["detector"], {}
        for domain, told in self.told["detectors"].items():
            arrays = {name: self.bundle.array(array) for name, array in told["arrays"].items()}
            with _fitting(self.bundle, f"{self.title}, {domain}"):
                found[domain] = Learnt(kind, told["settings"], arrays), told["low"], told["width"]
        return found

    def joined(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The arrays that `Detector.embed` gives of one clip as the detectors read them: [1, ...]."""
        return side_by_side([arrays[name][None] for name in self.bundle.header["score"]["arrays"]])

    def score(self, arrays: dict[str, np.ndarray]) -> Scored:
        """Score the arrays that `Detector.embed` gives of one clip; raises ValueError for others."""
        x = self.joined(arrays)
        scores, learnt = {}, {domain: found[0] for domain, found in self.domains.items()}
        with _fitting(self.bundle, self.title):
            for domain, (one, low, width) in self.domains.items():
                scores[domain] = (float(one.score(x)[0]) - low) / width
            domain = min(scores, key=scores.__getitem__)
            if not np.isfinite(scores[domain]):
                raise ValueError(f"the score is {scores[domain]}")
            near, fault = learnt[domain].nearest(x), self.faults and self.faults.match(x)
        nearest, distance = (int(near[1][0]), float(near[0][0])) if near else (None, None)
        if nearest is not None and not 0 <= nearest < len(self.recordings):
            raise ValueError(f"{self.bundle.path}: {self.title}: rows: there is no such training clip")
        above = None if self.threshold is None else scores[domain] > self.threshold
        copy = distance is not None and distance <= learnt[domain].nothing
        named = fault and (fault[0], self.told["faults"]["clips"][fault[1]])
        return Scored(scores[domain], above, domain, nearest, distance, copy, named)


class Detector:
    """An open bundle that embeds and scores recordings.

    detector = Detector.open("press.asdkit")
    samples = detector.read("new.wav")
    detector.score(samples, "press").score       # higher = more anomalous
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.bundle, self.header, self.threads = bundle, bundle.header, threads
        self.machines = [Machine(bundle, told) for told in bundle.header["machines"]]

    @classmethod
    def open(cls, path: str | Path, threads: int = 0) -> "Detector":
        """Open a bundle; threads: of the network, 0: as many as there are cores. Errors as for `Bundle.open`."""
        return cls(Bundle.open(path), threads)

    @property
    def names(self) -> list[str]:
        """The machines, each once."""
        return list(dict.fromkeys(machine.name for machine in self.machines))

    @property
    def rate(self) -> int:
        """Hz, at which samples are heard."""
        return self.header["reading"]["rate"]

    def machine(self, name: str | None = None, section: str | None = None) -> Machine:
        """A machine by its name, in either Unicode form; it may be left out where there is one alone.

        section counts where sections have detectors of their own. Raises ValueError for one that is not there.
        """
        known = ", ".join(machine.title for machine in self.machines)
        if name is None and len(self.names) > 1:
            raise ValueError(f"{self.bundle.path} holds several machines, name one: {known}")
        found = [one for one in self.machines if name is None or composed(one.name) == composed(name)]
        if not found:
            raise ValueError(f"{self.bundle.path}: got machine {name!r}; it holds {known}")
        if len(found) == 1 and (section is None or found[0].section == "-"):
            return found[0]
        found = [one for one in found if one.section == section]
        if not found:
            raise ValueError(f"{self.bundle.path}: got section {section!r} of machine {name!r}; it holds {known}")
        return found[0]

    @cached_property
    def reader(self) -> AudioReader:
        """Reads recordings as those of the training were read."""
        told = self.header["reading"]
        signal = told["signal"] and Signal(**told["signal"])
        near = told["rate"], told["channel"], told["resample"]
        if told["reference"] == "none":
            return AudioReader(*near, signal=signal)
        if told["channel"] is None or told["reference_channel"] is None:
            raise ValueError(f"{self.bundle.path}: reading: a reference without channels")
        return TreatedReader(*near, told["reference_channel"], told["reference"], signal=signal)

    def read(self, path: str | Path) -> np.ndarray:
        """A recording's samples at `rate`, float32 [T], as they are embedded; raises ValueError naming it."""
        return self.reader.read(path)

    @cached_property
    def network(self) -> Network:
        """Raises ValueError where the package that it needs is not installed, or refuses what is in the bundle."""
        told = self.header["network"]
        weights = {name: self.bundle.array(array) for name, array in told["weights"].items()}
        with _fitting(self.bundle, "network"):
            if told["kind"] == "onnx":
                return _Graphs(self.bundle, weights, self.threads)
            return _torch(told["settings"], weights)

    def embed(self, samples: np.ndarray, machine: Machine) -> dict[str, np.ndarray]:
        """The network's arrays of one clip's samples, float32 [T] at `rate`: name -> [D] or [bands, D].

        Raises ValueError for samples that are none, and clips that are too long for the memory.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise ValueError(f"expected finite samples of one channel, got {samples.shape}")
        self._check_room(len(samples))
        level, told = self.header["reading"]["level"], self.header["network"]
        if level != "keep" and not (level == "machine_rms" and not machine.rms):
            samples = at_level(samples, machine.rms if level == "machine_rms" else 0.0)
        wav = tile(samples, max(told["shortest"], len(samples)))[None]
        self.bundle.check_unchanged()
        with _fitting(self.bundle, "network"):
            found = {name: array[0] for name, array in self.network.run(wav, machine.name).items()}
            for name in self.header["score"]["arrays"]:
                if list(found[name].shape) != told["arrays"][name] or not np.isfinite(found[name]).all():
                    raise ValueError(f"{name} of {len(samples)} samples is not finite, or of another shape")
        return found

    def score(self, samples: np.ndarray, machine: str | None = None, section: str | None = None) -> Scored:
        """Score one clip's samples, float32 [T] at `rate`. Errors as for `machine` and `embed`."""
        found = self.machine(machine, section)
        return found.score(self.embed(samples, found))

    def _check_room(self, samples: int) -> None:
        needs = self.header["network"]["memory"]
        if samples <= SURE * self.rate or not needs or not needs[-1][1]:
            return
        lengths, sizes = np.array([pair[0] for pair in needs], float), np.array([pair[1] for pair in needs], float)
        need = float(np.interp(samples, lengths, sizes)) * max(1.0, samples / lengths[-1]) ** 2
        if need > (there := total_memory()):
            raise ValueError(
                f"{samples / self.rate:.0f} s long: as a whole it needs about {need / 1e9:.1f} GB of memory, there are "
                f"{there / 1e9:.1f}: cut it into clips of {self.machines[0].seconds:g} s, as in training"
            )


class _Graphs:
    """Graphs in onnxruntime; `-`: of all machines."""

    def __init__(self, bundle: Bundle, weights: dict[str, np.ndarray], threads: int) -> None:
        from asdkit.monitor.session import Session

        graphs = bundle.header["network"]["graphs"]
        self.session = Session(bundle.array(graphs["-"]).tobytes(), weights, threads)
        bundle.check_unchanged(named=True)  # weights were read again, by the file's name

    def run(self, wav: np.ndarray, machine: str) -> dict[str, np.ndarray]:
        return self.session.run(wav)


def _torch(settings: dict[str, Any], weights: dict[str, np.ndarray]) -> Network:
    try:
        from asdkit.infer.unpacked import Unpacked
    except ImportError as error:
        raise ValueError(
            f"the bundle was exported without a graph (--onnx false) and needs torch, which cannot be used here "
            f"({error}): install the whole package, or export the bundle again with a graph"
        ) from None
    return Unpacked(settings, weights)


class _fitting:
    """What a bundle tells in settings and arrays of free form may not fit: then a ValueError says where."""

    def __init__(self, bundle: Bundle, where: str) -> None:
        self.where = f"{bundle.path}: {where}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyError | IndexError | TypeError | AttributeError):
            raise ValueError(f"{self.where}: does not fit together: {type(error).__name__}: {error}") from None
        if isinstance(error, ValueError) and not str(error).startswith(self.where.partition(": ")[0]):
            raise ValueError(f"{self.where}: {error}") from None
