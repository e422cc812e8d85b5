"""Lists of clips to train on and to embed, and what stage 2 writes: labels, Kaldi's view of the recordings."""

import itertools
import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from asdkit.config import Config
from asdkit.corpus.description import Dataset, load_dataset
from asdkit.corpus.manifest import Row, digest, folder_of, read_earlier, read_measured
from asdkit.corpus.names import UNKNOWN, split_set
from asdkit.data.chain import Prepared, check_dumped, dump_folder, training_sets
from asdkit.signals.content import measure_all
from asdkit.utils.done import Done
from asdkit.utils.files import read_json, read_scp, read_table, read_text, sha256_file, write_text

T = TypeVar("T")

LABEL_COLUMNS = ("utt", "label", "attributed")


@dataclass(frozen=True)
class Clip:
    """A clip to train on or to embed.

    path: its recording; samples: the recording's length; machine: its machine type. feats: `ark:offset` of its dumped
    features where data.feats_type is fbank, treated: of its samples [T, 1] where a second microphone was taken out of
    them. To train on: label: class; attributed: its attribute is known. domain: source, target or `-`, of training
    clips alone. rms: what `asdkit.data.levels` scales it by; None: it is heard as it is.
    """

    utt: str
    path: str
    samples: int
    machine: str
    feats: str | None = None
    treated: str | None = None
    label: int | None = None
    attributed: bool | None = None
    rms: float | None = None
    domain: str = UNKNOWN


def assign_labels(rows: list[Row], scheme: str) -> tuple[list[str], dict[str, tuple[int, bool]]]:
    """Classes of training clips from what `scheme` joins with `+`: columns of the manifest, and `folder`.

    Returns the sorted class names (`fan/00/spd_1`) and {utt: (label, attributed)}. A clip without attribute is in the
    class with attribute `-`; attributed is False for it where the scheme holds attr, True for all clips elsewhere.
    Raises ValueError for one id in two sets, and for years of a corpus that has none.
    """
    columns = scheme.split("+")
    if "year" in columns and rows and "year" not in rows[0]:
        raise ValueError(
            f"data.label {scheme}: the recordings are of one corpus, which tells no years: leave 'year' out, or train "
            "on several years (egs/dcase_all)"
        )
    names: dict[str, str] = {}
    for row in rows:
        if row["utt"] in names:
            raise ValueError(
                f"two training clips with one id {row['utt']!r}; the second is {row['wav']}. Rename one, or give ids "
                "in the column 'id' of a CSV file"
            )
        names[row["utt"]] = "/".join(folder_of(row) if column == "folder" else row[column] for column in columns)
    classes = sorted(set(names.values()))
    index = {name: label for label, name in enumerate(classes)}
    without = {row["utt"] for row in rows if "attr" in columns and row["attr"] == "-"}
    return classes, {utt: (index[name], utt not in without) for utt, name in names.items()}


def hide_attributes(rows: list[Row], machines: list[str]) -> list[Row]:
    """The rows, those of the given machines without attribute. Raises ValueError for a machine that has no rows."""
    known = {row["machine"] for row in rows}
    if unknown := [machine for machine in machines if machine not in known]:
        raise ValueError(
            f"data.hide_attributes: no training clips of machine {unknown[0]!r}; there are some of "
            f"{', '.join(sorted(known))}"
        )
    return [{**row, "attr": UNKNOWN} if row["machine"] in machines else row for row in rows]


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
    train = split_set(set_name)[1] == "train"
    return [
        Clip(
            row["utt"],
            os.path.join(root, row["wav"]),
            int(row["samples"]),
            row["machine"],
            domain=row["domain"] if train else UNKNOWN,
        )
        for row in rows
    ]


def input_clips(config: Config, data_dir: str | Path, dump_dir: str | Path, set_name: str) -> list[Clip]:
    """The clips of a set, sorted by utt, with what stage 2 dumped for the experiment: features, or treated recordings.

    Raises ValueError as `recorded_clips` does, when that has not been dumped, or of other clips than there are.
    """
    clips, dumped = recorded_clips(data_dir, set_name), dump_folder(config)
    if dumped is None:
        return clips
    check_dumped(config, Prepared(data_dir), Path(dump_dir, dumped, set_name), set_name)
    found = read_feats(dump_dir, dumped, set_name)
    kind, what = ("feats", "features") if config.data.feats_type == "fbank" else ("treated", "recording")
    if missing := [clip.utt for clip in clips if clip.utt not in found]:
        raise ValueError(f"{set_name}: no dumped {what} of clip {missing[0]!r}: run stage 2 again")
    return [replace(clip, **{kind: found[clip.utt]}) for clip in clips]


def read_feats(dump_dir: str | Path, folder: str, set_name: str) -> dict[str, str]:
    """{utt: `ark:offset`} of what was dumped of a set; raises ValueError where nothing was."""
    return read_scp(Path(dump_dir) / folder / set_name / "feats.scp")


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


def training_inputs(config: Config, prepared: Prepared, exp_dir: str | Path) -> dict[str, str | int | bool | None]:
    """What training is made from, for its done marker: hashes of clips, lengths and labels, and how to read.

    Where nothing is trained, weights depend on none of it.
    """
    if config.train.steps == 0:
        return {}
    inputs = prepared.reading(config)
    for name in training_sets(config, prepared.data):
        inputs |= {f"{name}.{key}": value for key, value in prepared.made_of(name).items()}
    return inputs | {"labels": sha256_file(Path(exp_dir) / "labels.tsv")}


def shard(items: list[T], sizes: Sequence[int], num_jobs: int, job: int) -> list[T]:
    """Part `job` (from 1) of `num_jobs` consecutive parts whose `sizes`, such as samples, add up to nearly the same.

    The parts of all jobs in order are the whole list. Raises ValueError for a job outside.
    """
    if not 1 <= job <= num_jobs:
        raise ValueError(f"--job {job} lies outside 1..{num_jobs} (--num-jobs)")
    middles = [2 * end - size for end, size in zip(itertools.accumulate(sizes), sizes, strict=True)]  # doubled
    first, last = (bisect_right(middles, 2 * sum(sizes) * end // num_jobs) for end in (job - 1, job))
    return items[first:last]


def write_recordings(
    dataset: Dataset, data_dir: str | Path, dump_dir: str | Path, set_name: str, force: bool = False
) -> None:
    """Check that a set's recordings are there and write dump/raw/<set>/wav.scp, a view for Kaldi's programs.

    It is written anew when the corpus has moved or its clips are others. Raises ValueError as `check_recordings` does.
    """
    folder = Path(dump_dir) / "raw" / set_name
    rows = read_measured(data_dir, set_name)
    check_recordings(rows, dataset, set_name)
    inputs = {"manifest": digest(rows), "root": dataset.root, **dataset.reader().settings()}
    marker = folder / ".done"
    earlier = read_earlier(Path(data_dir) / set_name)
    old = read_json(marker) if marker.exists() and not force else {}
    if old | {"manifest": inputs["manifest"]} == inputs and old["manifest"] in {inputs["manifest"], *earlier}:
        logging.info("%s: already done", folder)
        return
    done = Done(marker, inputs, force=True)
    write_text(folder / "wav.scp", "".join(f"{row['utt']} {Path(dataset.root, row['wav'])}\n" for row in rows))
    done.finish()


def check_recordings(rows: Iterable[Row], dataset: Dataset, set_name: str) -> None:
    """Raise ValueError for a clip that is not on disk, or is not the recording that stage 1 found.

    Where size and time are those that stage 1 found, a recording is not read; where the time alone differs, it is.
    """
    touched = []
    for row in rows:
        path, split = Path(dataset.root, row["wav"]), split_set(set_name)[1]
        if not path.is_file():
            raise ValueError(f"{set_name}: {split} clip missing on disk: {path}. Put it back, or run stage 1 again")
        found = path.stat()
        if row["bytes"] not in (UNKNOWN, str(found.st_size)):
            raise ValueError(_changed(row, path, set_name, f"has {found.st_size} bytes, stage 1 found {row['bytes']}"))
        if row["mtime"] not in (UNKNOWN, str(found.st_mtime_ns)):
            touched.append((row, path))
    contents = measure_all([path for _, path in touched], 2, dataset.signal)
    for (row, path), content in zip(touched, contents, strict=True):
        if content.digest != row["digest"]:
            raise ValueError(_changed(row, path, set_name, "has another sound than stage 1 found"))


def _changed(row: Row, path: Path, set_name: str, what: str) -> str:
    return (
        f"{set_name}: {split_set(set_name)[1]} clip has changed: {path} {what}. Put the old one back, or run stage 1 "
        "alone with --force true; each later stage then says what it needs"
    )
