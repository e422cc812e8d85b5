"""Lists of clips to train on and to embed, and what stage 2 writes: labels, Kaldi's view of the recordings."""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from asdkit.config import Config
from asdkit.corpus.description import Dataset, load_dataset, present_sets
from asdkit.corpus.manifest import Row, digest, lengths_digest, read_measured
from asdkit.corpus.names import UNKNOWN, split_set
from asdkit.utils.done import Done
from asdkit.utils.files import read_scp, read_table, read_text, sha256_file, write_text

T = TypeVar("T")

LABEL_COLUMNS = ("utt", "label", "attributed")


@dataclass(frozen=True)
class Clip:
    """A clip to train on or to embed.

    path: its recording; samples: the recording's length; machine: its machine type. feats: `ark:offset` of its dumped
    features where data.feats_type is fbank. To train on: label: class; attributed: its attribute is known.
    """

    utt: str
    path: str
    samples: int
    machine: str
    feats: str | None = None
    label: int | None = None
    attributed: bool | None = None


def training_sets(config: Config, data_dir: str | Path) -> list[str]:
    """Those of data.sets that the corpus has, in that order; raises ValueError when it has none of them."""
    present = present_sets(data_dir)
    sets = [name for name in config.data.sets if name in present]
    if not sets:
        raise ValueError(f"{data_dir} has none of data.sets = {config.data.sets}. It has: {', '.join(present)}")
    return sets


def assign_labels(rows: list[Row], scheme: str) -> tuple[list[str], dict[str, tuple[int, bool]]]:
    """Classes of training clips from the manifest columns that `scheme` joins with `+`.

    Returns the sorted class names (`fan/00/spd_1`) and {utt: (label, attributed)}. A clip without attribute is in the
    class with attribute `-`; attributed is False for it where the scheme holds attr, True for all clips elsewhere.
    Raises ValueError for one id in two sets.
    """
    columns = scheme.split("+")
    names: dict[str, str] = {}
    for row in rows:
        if row["utt"] in names:
            raise ValueError(
                f"two training clips with one id {row['utt']!r}; the second is {row['wav']}. Rename one, or give ids "
                "in the column 'id' of a CSV file"
            )
        names[row["utt"]] = "/".join(row[column] for column in columns)
    classes = sorted(set(names.values()))
    index = {name: label for label, name in enumerate(classes)}
    without = {row["utt"] for row in rows if "attr" in columns and row["attr"] == "-"}
    return classes, {utt: (index[name], utt not in without) for utt, name in names.items()}


def check_attributed(config: Config, labels: dict[str, tuple[int, bool]]) -> None:
    """Raise ValueError when loss.dlcl has no attributed clip to learn from; log when it has nothing to do."""
    known = sum(attributed for _, attributed in labels.values())
    if config.loss.dlcl and known == 0:
        raise ValueError(
            "loss.dlcl: no training clip has an attribute. Set data.label to machine+section, or drop loss.dlcl"
        )
    if config.loss.dlcl and known == len(labels):
        logging.info("loss.dlcl has nothing to do: every training clip has an attribute")


def read_labels(exp_dir: str | Path) -> dict[str, tuple[int, bool]]:
    """Read exp/<tag>/labels.tsv: {utt: (label, attributed)}; raises ValueError naming file and clip."""
    path = Path(exp_dir) / "labels.tsv"
    labels = {}
    for row in read_table(path, LABEL_COLUMNS):
        if not row["label"].isdigit() or row["attributed"] not in ("0", "1"):
            raise ValueError(f"{path}: clip {row['utt']!r}: label must be a class number, attributed 0 or 1, got {row}")
        labels[row["utt"]] = (int(row["label"]), row["attributed"] == "1")
    return labels


def read_classes(exp_dir: str | Path) -> list[str]:
    """Read exp/<tag>/classes.txt: the name of each class."""
    text = read_text(Path(exp_dir) / "classes.txt")
    return text.removesuffix("\n").split("\n") if text else []


def recorded_clips(data_dir: str | Path, set_name: str) -> list[Clip]:
    """The clips of a set, sorted by utt.

    Raises ValueError when stage 1 has not been run, or an older version wrote the manifest.
    """
    root = load_dataset(data_dir).root
    rows = read_measured(data_dir, set_name)
    return [Clip(row["utt"], os.path.join(root, row["wav"]), int(row["samples"]), row["machine"]) for row in rows]


def input_clips(config: Config, data_dir: str | Path, dump_dir: str | Path, set_name: str) -> list[Clip]:
    """The clips of a set, sorted by utt, with their dumped features where data.feats_type is fbank.

    Raises ValueError as `recorded_clips` does, and when a clip's features have not been dumped.
    """
    clips = recorded_clips(data_dir, set_name)
    if config.data.feats_type == "raw":
        return clips
    feats = read_feats(dump_dir, config.encoder.frontend, set_name)
    if missing := [clip.utt for clip in clips if clip.utt not in feats]:
        raise ValueError(f"{set_name}: no dumped features of clip {missing[0]!r}: run stage 2 again")
    return [replace(clip, feats=feats[clip.utt]) for clip in clips]


def read_feats(dump_dir: str | Path, frontend: str, set_name: str) -> dict[str, str]:
    """{utt: `ark:offset`} of a set's dumped features; raises ValueError when they have not been dumped."""
    return read_scp(Path(dump_dir) / frontend / set_name / "feats.scp")


def training_clips(config: Config, data_dir: str | Path, dump_dir: str | Path, exp_dir: str | Path) -> list[Clip]:
    """All training clips of an experiment, sets in the order of data.sets, each sorted by utt.

    Raises ValueError as `input_clips` does, and where labels.tsv holds other clips.
    """
    labels, path = read_labels(exp_dir), Path(exp_dir) / "labels.tsv"
    clips = [c for name in training_sets(config, data_dir) for c in input_clips(config, data_dir, dump_dir, name)]
    if other := sorted(labels.keys() ^ {clip.utt for clip in clips}):
        raise ValueError(
            f"{path}: made of other clips: {other[0]!r} is in it or in the manifests alone: run stage 2 again"
        )
    return [replace(c, label=label, attributed=known) for c in clips for label, known in [labels[c.utt]]]


def training_inputs(config: Config, data_dir: str | Path, exp_dir: str | Path) -> dict[str, str | int | bool | None]:
    """What training is made from, for its done marker: hashes of clips, lengths and labels, and how to read."""
    dataset = load_dataset(data_dir)
    inputs = {f"dataset.{key}": getattr(dataset, key) for key in ("sample_rate", "channel", "resample")}
    for name in training_sets(config, data_dir):
        rows = read_measured(data_dir, name)
        inputs[f"{name}.manifest"] = digest(rows)
        inputs[f"{name}.utt2num_samples"] = lengths_digest(rows)
    return inputs | {"labels": sha256_file(Path(exp_dir) / "labels.tsv")}


def shard(items: list[T], num_jobs: int, job: int) -> list[T]:
    """Part `job` (from 1) of `num_jobs` consecutive parts of nearly equal length; raises ValueError for a job outside.

    The parts of all jobs in order are the whole list.
    """
    if not 1 <= job <= num_jobs:
        raise ValueError(f"--job {job} lies outside 1..{num_jobs} (--num-jobs)")
    return items[len(items) * (job - 1) // num_jobs : len(items) * job // num_jobs]


def write_recordings(
    dataset: Dataset, data_dir: str | Path, dump_dir: str | Path, set_name: str, force: bool = False
) -> None:
    """Check that a set's recordings are there and write dump/raw/<set>/wav.scp, a view for Kaldi's programs.

    Raises ValueError for a clip that is not on disk, or of another size than stage 1 found (where it told the sizes).
    """
    folder = Path(dump_dir) / "raw" / set_name
    rows = read_measured(data_dir, set_name)
    inputs = {"manifest": digest(rows), "root": dataset.root, **vars(dataset.reader())}
    done = Done(folder / ".done", inputs, force, "other --data and --dump folders")
    paths = {row["utt"]: _checked(row, dataset, set_name) for row in rows}
    if done.is_done():
        logging.info("%s: already done", folder)
        return
    write_text(folder / "wav.scp", "".join(f"{utt} {path}\n" for utt, path in paths.items()))
    done.finish()


def _checked(row: Row, dataset: Dataset, set_name: str) -> Path:
    path, split = Path(dataset.root, row["wav"]), split_set(set_name)[1]
    if not path.is_file():
        raise ValueError(f"{set_name}: {split} clip missing on disk: {path}. Put it back, or run stage 1 again")
    size = path.stat().st_size
    if row["bytes"] not in (UNKNOWN, str(size)):
        raise ValueError(
            f"{set_name}: {split} clip has changed: {path} has {size} bytes, stage 1 found {row['bytes']}. Put the old "
            "one back, or run stages 1 and later again with --force true"
        )
    return path
