"""Lists that stage 2 writes and later stages read: recordings, lengths, labels."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from asdkit.config import Config
from asdkit.corpus.description import Dataset, load_dataset, present_sets
from asdkit.corpus.manifest import SIZES, Row, digest, read_manifest
from asdkit.utils.files import read_scp, read_table, read_text, sha256_file

T = TypeVar("T")

LABEL_COLUMNS = ("utt", "label", "attributed")


@dataclass(frozen=True)
class Clip:
    """A training clip.

    path: recording; frames: its length in samples; label: class; attributed: its attribute is known; machine: its
    machine type; feats: `ark:offset` of its dumped features where data.feats_type is fbank.
    """

    utt: str
    path: str
    frames: int
    label: int
    attributed: bool
    machine: str
    feats: str | None = None


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
            raise ValueError(f"two training clips with one id {row['utt']!r}; the second is {row['wav']}")
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


def list_clips(dump_dir: str | Path, set_name: str) -> list[tuple[str, str, int]]:
    """(utt, path of the recording, its samples) of each clip of a set, sorted by utt.

    Raises ValueError when stage 2 has not been run.
    """
    folder = Path(dump_dir) / "raw" / set_name
    lengths, paths = read_scp(folder / "utt2num_samples"), read_scp(folder / "wav.scp")
    if lengths.keys() != paths.keys():
        raise ValueError(f"{folder}: wav.scp and utt2num_samples list different clips: run stage 2 again")
    return [(utt, path, int(lengths[utt])) for utt, path in paths.items()]


def read_feats(dump_dir: str | Path, frontend: str, set_name: str) -> dict[str, str]:
    """{utt: `ark:offset`} of a set's dumped features; raises ValueError when they have not been dumped."""
    return read_scp(Path(dump_dir) / frontend / set_name / "feats.scp")


def training_clips(config: Config, data_dir: str | Path, dump_dir: str | Path, exp_dir: str | Path) -> list[Clip]:
    """All training clips of an experiment, sets in the order of data.sets, each sorted by utt.

    Raises ValueError when a list is missing or a clip has no label.
    """
    labels = read_labels(exp_dir)
    clips = []
    for name in training_sets(config, data_dir):
        machines = {row["utt"]: row["machine"] for row in read_manifest(Path(data_dir) / name / "manifest.tsv")}
        feats = read_feats(dump_dir, config.encoder.frontend, name) if config.data.feats_type == "fbank" else {}
        for utt, path, frames in list_clips(dump_dir, name):
            if utt not in labels or utt not in machines or (feats and utt not in feats):
                raise ValueError(f"{name}: clip {utt!r} is in wav.scp but not in all lists: run stage 2 again")
            label, attributed = labels[utt]
            clips.append(Clip(utt, path, frames, label, attributed, machines[utt], feats.get(utt)))
    if missing := sorted(labels.keys() - {clip.utt for clip in clips}):
        raise ValueError(f"{exp_dir}/labels.tsv: {missing[0]!r} is in no wav.scp: run stage 2 again")
    return clips


def training_inputs(
    config: Config, data_dir: str | Path, dump_dir: str | Path, exp_dir: str | Path
) -> dict[str, str | int | bool | None]:
    """What training is made from, for its done marker: hashes of manifests, lengths and labels, and how to read."""
    dataset = load_dataset(data_dir)
    inputs = {f"dataset.{key}": getattr(dataset, key) for key in ("sample_rate", "channel", "resample")}
    for name in training_sets(config, data_dir):
        inputs[f"{name}.manifest"] = digest(data_dir, name)
        inputs[f"{name}.utt2num_samples"] = sha256_file(Path(dump_dir) / "raw" / name / "utt2num_samples")
    return inputs | {"labels": sha256_file(Path(exp_dir) / "labels.tsv")}


def shard(items: list[T], num_jobs: int, job: int) -> list[T]:
    """Part `job` (from 1) of `num_jobs` consecutive parts of nearly equal length; raises ValueError for a job outside.

    The parts of all jobs in order are the whole list.
    """
    if not 1 <= job <= num_jobs:
        raise ValueError(f"--job {job} lies outside 1..{num_jobs} (--num-jobs)")
    return items[len(items) * (job - 1) // num_jobs : len(items) * job // num_jobs]


def recordings(dataset: Dataset, data_dir: str | Path, set_name: str) -> dict[str, str]:
    """{utt: absolute path} of a set's manifest, sorted by utt.

    Raises ValueError for a clip that is not on disk, or of another size than stage 1 found (where it told the sizes).
    """
    folder = Path(data_dir) / set_name
    sizes = read_scp(folder / SIZES) if (folder / SIZES).exists() else {}
    split = set_name.partition("_")[2]
    paths = {}
    for row in read_manifest(folder / "manifest.tsv"):
        path = Path(dataset.root, row["wav"])
        if not path.is_file():
            raise ValueError(f"{set_name}: {split} clip missing on disk: {path}. Put it back, or run stage 1 again")
        size = path.stat().st_size
        expected = int(sizes.get(row["utt"], size))
        if size != expected:
            raise ValueError(
                f"{set_name}: {split} clip has changed: {path} has {size} bytes, stage 1 found {expected}. Put the old "
                "one back, or run stages 1 and later again with --force true"
            )
        paths[row["utt"]] = str(path)
    return paths
