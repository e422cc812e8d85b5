"""A trained experiment, opened from anywhere: embeds and scores recordings."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdkit.config import Config, ScoreConfig, open_config
from asdkit.config.identity import TRAINING, reread_training, training_identity
from asdkit.corpus.description import Dataset, load_dataset
from asdkit.corpus.manifest import Row, read_manifest
from asdkit.corpus.names import SETS, sets_of
from asdkit.data.chain import Prepared, check_embedded, check_filter, check_network
from asdkit.data.chosen import as_chosen
from asdkit.detectors.folder import read_thresholds
from asdkit.detectors.scoring import Embedded, Key, PerDomain, fit_detector, groups, title
from asdkit.detectors.tables import Together, side_by_side
from asdkit.utils.ark import CHUNKS, StoredArrays
from asdkit.utils.done import check_written, compare
from asdkit.utils.files import read_json, read_text, sha256_path
from asdkit.utils.hub import PREFIX, sha256_weights
from asdkit.utils.names import composed

if TYPE_CHECKING:
    import torch

    from asdkit.models.system import System


class Experiment:
    """exp/<tag>/seed<K>: its configuration, network, reader and detectors; each is loaded when it is first asked for.

    experiment = Experiment.open("egs/custom/exp/default")
    experiment.embed(["new.wav"])["embedding"]          # [1, D]
    experiment.score(["new.wav"], machine="press")      # [1], higher = more anomalous
    """

    def __init__(self, folder: Path, seed: int, data: Path | None, device: str) -> None:
        self.exp, self.seed, self.given_data, self.device_name = folder, seed, data, device
        self.data = data or folder.parent.parent / "data"
        self.seed_dir = folder / f"seed{seed}"
        self.config = as_chosen(open_config(folder / "config.yaml"), self.seed_dir)
        self._rows: dict[str, list[Row]] = {}
        self._loaded: dict[tuple[str, str], np.ndarray] = {}
        self._stored: dict[tuple[str, str], StoredArrays] = {}
        self._detectors: dict[tuple[str, Key], PerDomain] = {}

    @classmethod
    def open(
        cls, folder: str | Path, seed: int = 0, data: str | Path | None = None, device: str = "auto"
    ) -> "Experiment":
        """Open exp/<tag> from any working directory.

        data: what stage 1 wrote; by default what stages 2 and 4 noted of it, or, as older versions noted nothing, the
        folder `data` of the recipe. device: auto (a GPU if there is one), cpu or cuda. Raises ValueError when there is
        no such experiment.
        """
        exp = Path(folder).absolute()
        if not (exp / "config.yaml").exists():
            raise ValueError(f"{exp}: no experiment: it holds no config.yaml. Name the folder exp/<tag> of a recipe")
        return cls(exp, seed, Path(data).absolute() if data else None, device)

    @property
    def checkpoint(self) -> Path:
        """The trained weights that are used. Raises ValueError when the training has not ended."""
        path = self.seed_dir / "checkpoint" / f"{self.config.embed.checkpoint}.pt"
        if not path.with_name(".done").exists() or not path.exists():
            raise ValueError(f"{self.seed_dir}: training is not finished: run stage 3 first")
        return path

    def check_trained(self) -> None:
        """Raise ValueError when the weights that are there were trained with another configuration, or are damaged."""
        marker = self.checkpoint.with_name(".done")
        made = reread_training(read_json(marker))
        wanted = training_identity(self.located)
        settings = {key: value for key, value in made.items() if key.partition(".")[0] in TRAINING}
        compare(marker, settings, wanted, again="--stage 3 --force true")
        check_written(marker, "--stage 3 --force true", [self.checkpoint.name])

    def check_embedded(self, name: str) -> None:
        """Raise ValueError when stage 4 made a set's arrays with other weights, settings or clips than there are."""
        weights = self.seed_dir / "checkpoint" / f"{self.config.embed.checkpoint}.pt"
        check_embedded(self.config, self.seed_dir, name, self.prepared, weights)

    @cached_property
    def prepared(self) -> Prepared | None:
        """What stage 1 wrote, where it is given: what was made is then made from what is there now, or refused."""
        return Prepared(self.data) if self.given_data else None

    def unheard(self) -> list[str] | None:
        """Machines that the network has not heard in training, with a warning; None where that is not known.

        Raises ValueError when training clips have changed since.
        """
        assert self.prepared
        found = check_network(self.config, self.prepared, self.exp, self.seed_dir)
        if found is None:
            logging.warning("%s: the network was trained on other clips than those that are there now", self.seed_dir)
        elif found:
            logging.warning("%s: the network has not heard %s in training", self.seed_dir, ", ".join(found))
        return found

    @cached_property
    def located(self) -> Config:
        """The configuration with the pre-trained weights where they are found, known by their SHA-256.

        Looked for: as the configuration says, from the working directory, from the recipe's folder and from where stage
        2 was run; and beside config.yaml. Raises ValueError, naming the places, when they are at none of them; and as
        `weights_path`, for weights on a hub.
        """
        named = self.config.encoder.checkpoint
        if not named:
            return self.config
        known = read_json(self.checkpoint.with_name(".done")).get("encoder.checkpoint.sha256")
        if named.startswith(PREFIX) and sha256_weights(named) == known:
            return self.config
        noted = read_text(self.exp / "env.txt") if (self.exp / "env.txt").exists() else ""
        run_in = [line.removeprefix("folder: ") for line in noted.splitlines() if line.startswith("folder: ")]
        places = [Path(named), *(Path(folder, named) for folder in [self.exp.parent.parent, *run_in])]
        places = list(dict.fromkeys(place.absolute() for place in [*places, self.exp / Path(named).name]))
        there = [place for place in places if place.exists()]
        found = next((place for place in there if sha256_path(place) == known), None)
        if found is None:
            looked = ", ".join(map(str, [named, *places] if named.startswith(PREFIX) else places))
            other = f"; {there[0]} holds other weights" if there else ""
            raise ValueError(
                f"{self.exp}: the pre-trained weights with SHA-256 {str(known)[:16]}... are at none of "
                f"{looked}{other}. Put them into {self.exp}"
            )
        encoder = self.config.encoder.model_copy(update={"checkpoint": str(found)})
        return self.config.model_copy(update={"encoder": encoder})

    @cached_property
    def dataset(self) -> Dataset:
        """How recordings are read, and what the machines are."""
        noted = self.given_data is None and (self.exp / "dataset.yaml").exists()
        return load_dataset(self.exp if noted else self.data)

    @cached_property
    def device(self) -> "torch.device":
        """Where the network computes."""
        from asdkit.utils.device import choose_device

        return choose_device(self.device_name)

    @cached_property
    def system(self) -> "System":
        """The trained network, LoRA merged, ready for inference."""
        from asdkit.infer.network import load_system

        self.check_trained()
        check_filter(self.dataset, self.seed_dir)
        return load_system(self.located, self.checkpoint, self.device)

    def embed(self, paths: Sequence[str | Path], machine: str | None = None) -> dict[str, np.ndarray]:
        """The network's arrays of some recordings: name -> [N, D] or [N, bands, D], in the order of `paths`.

        A recording shorter than data.chunk_seconds is repeated to that length, as in training. machine: whose they are,
        needed where there are several and data.level is machine_rms or each has a network of its own. Raises ValueError
        naming a recording that cannot be read, and where recordings are resampled by another filter than in training.
        """
        from asdkit.data.levels import at_level
        from asdkit.data.lists import Clip
        from asdkit.data.reference import warn
        from asdkit.infer.clips import arrays, batches_of

        names = _names(paths)
        reader = self.dataset.reader(self.config.data.reference)
        if self.config.data.level == "machine_rms" or self.system.per_machine:
            machine = self._machine(machine)
        clips = [Clip(name, name, reader.length(name), machine or "-") for name in dict.fromkeys(names)]
        clips = at_level(clips, self.config, self.exp)
        batches = batches_of(clips, self.config.embed.batch_size)
        found = dict(arrays(self.system, self.config, batches, reader, self.device))
        warn(reader, clips, "new recordings")
        wholes = [key for key in next(iter(found.values()), {}) if not key.endswith(CHUNKS)]
        return {key: np.stack([found[name][key] for name in names]) for key in wholes}

    def score(
        self, paths: Sequence[str | Path], machine: str | None = None, section: str = "00", name: str = "knn"
    ) -> np.ndarray:
        """Anomaly scores [N] of recordings of one machine, by the detector of score.<name>: higher = more anomalous.

        machine may be left out where there is one alone; section counts where score.<name>.per_section is set. Raises
        ValueError for another name or machine, and for scores that are transductive.
        """
        settings, names = self.settings(name), _names(paths)
        if settings.normalise == "test_zscore":
            raise ValueError(f"score.{name}.normalise is {settings.normalise}: it scores whole test sets alone")
        detector, found = self.detector(name, machine, section), self.embed(names, machine) if names else {}
        return (
            detector.anomaly_score(side_by_side([found[array] for array in settings.arrays])) if names else np.empty(0)
        )

    def settings(self, name: str = "knn") -> ScoreConfig:
        """The settings of a score; raises ValueError for a name that the experiment does not have."""
        if name not in self.config.score:
            raise ValueError(f"{self.exp}/config.yaml has the scores {', '.join(self.config.score)}, not {name!r}")
        return self.config.score[name]

    def detector(self, name: str = "knn", machine: str | None = None, section: str = "00") -> PerDomain:
        """The detector of a machine, fitted on its training clips. Raises ValueError for another name or machine."""
        key = self._key(name, machine, section)
        if (name, key) not in self._detectors:
            settings = self.settings(name)
            self._detectors[name, key] = fit_detector(
                settings, self.training(*settings.arrays, zeros=settings.zeros), key
            )
        return self._detectors[name, key]

    def threshold(self, name: str = "knn", machine: str | None = None, section: str = "00") -> float:
        """The score above which a clip of the machine counts as anomalous, as stage 5 chose it."""
        key, path = self._key(name, machine, section), self.seed_dir / "score" / name / "threshold.tsv"
        limits = read_thresholds(path)
        if key not in limits:
            raise ValueError(f"{path}: no threshold of {title(key)}; there are some of {', '.join(map(title, limits))}")
        return limits[key]

    def training(self, *arrays: str, zeros: bool = False) -> dict[str, Embedded]:
        """Manifest rows and arrays of the training clips, by set. Errors as for `load`."""
        return {name: self.load(name, *arrays, zeros=zeros) for name in sets_of("train", self.sets())}

    def load(self, name: str, *arrays: str, zeros: bool = False) -> Embedded:
        """Manifest rows of a set and its arrays of stage 4, [N, D] or [N, bands, D], read once; several side by side.

        Raises ValueError for arrays that are not there or differ in shape, such as a row for each chunk, and unless
        `zeros` for one of zeros alone.
        """
        rows, stored = self.stored(name, *arrays, zeros=zeros)
        for array, one in zip(arrays or ("embedding",), stored.arrays, strict=True):
            if (name, array) not in self._loaded:
                self._loaded[name, array] = one[:]
        return rows, side_by_side([self._loaded[name, array] for array in arrays or ("embedding",)])

    def stored(self, name: str, *arrays: str, zeros: bool = False) -> tuple[list[Row], Together]:
        """As `load`, with arrays that are read row by row when they are asked for. Errors as there."""
        rows = self.rows(name)
        for array in arrays or ("embedding",):
            if (name, array) not in self._stored:
                self.check_embedded(name)
                ark = self.seed_dir / "embed" / name / f"{array}.ark"
                check_written(ark.with_name(".done"), "--stage 4 --force true", [ark.name])
                self._stored[name, array] = StoredArrays(ark, [row["utt"] for row in rows])
            if not zeros:
                self._stored[name, array].check_directions()
        return rows, Together([self._stored[name, array] for array in arrays or ("embedding",)])

    def rows(self, name: str) -> list[Row]:
        """Manifest rows of a set, read once."""
        if name not in self._rows:
            folder = self.seed_dir / "embed" / name
            noted = self.given_data is None and (folder / "manifest.tsv").exists()
            path = (folder if noted else self.data / name) / "manifest.tsv"
            self._rows[name] = self.prepared.rows(name) if self.prepared else read_manifest(path)
        return self._rows[name]

    def sets(self) -> list[str]:
        """The sets that stage 4 embedded; raises ValueError when there are none."""
        found = [name for name in SETS if (self.seed_dir / "embed" / name).is_dir()]
        if not found:
            raise ValueError(f"{self.seed_dir}: holds no embeddings: run stage 4 first")
        return found

    def _key(self, name: str, machine: str | None, section: str) -> Key:
        settings = self.settings(name)
        known = {key for found in sets_of("train", self.sets()) for key in groups(settings, self.rows(found))}
        key = (self._machine(machine), section if settings.per_section else "-")
        if key not in known:
            raise ValueError(
                f"{self.exp}: got machine {title(key)!r}; trained were {', '.join(map(title, sorted(known)))}"
            )
        return key

    def _machine(self, machine: str | None) -> str:
        """A machine's name as the manifests write it; it may be left out where there is one alone."""
        known = sorted({row["machine"] for name in sets_of("train", self.sets()) for row in self.rows(name)})
        if machine is not None:
            return next((name for name in known if composed(name) == composed(machine)), machine)
        if len(known) > 1:
            raise ValueError(f"{self.exp}: got no machine; trained were {', '.join(known)}")
        return known[0]


def _names(paths: Sequence[str | Path]) -> list[str]:
    if isinstance(paths, str | Path):
        raise ValueError(f"embed and score take a list of recordings: [{str(paths)!r}]")
    return [str(path) for path in paths]
