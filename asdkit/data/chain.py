"""Whether what stages made was made from what is there now. Each check names the first stage that is needed."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from asdkit.config import Config
from asdkit.config.identity import embedding_identity, reread_embedding, reread_score
from asdkit.corpus.description import Dataset, load_dataset, present_sets
from asdkit.corpus.manifest import (
    Row,
    digest,
    folders_digest,
    labels_digest,
    lengths_digest,
    measured,
    read_earlier,
    read_manifest,
    recording_difference,
)
from asdkit.corpus.names import UNKNOWN, sets_of
from asdkit.data.chosen import as_chosen
from asdkit.utils.done import check_written, compare
from asdkit.utils.files import read_json, read_table, sha256_file, sha256_text, write_table

TRAINED = "trained.tsv"  # beside a checkpoint: the clips that it was trained on
SIZE = "size.json"  # beside a checkpoint: parameters and multiply-accumulates of its network
TRAINED_ON = "trained_on.json"  # of an experiment whose network was trained on other data than it is used on: where
TRAINED_COLUMNS = ("utt", "machine", "bytes", "digest")

Flat = dict[str, Any]


class Prepared:
    """What stage 1 wrote: rows and digests of its sets, each read once."""

    def __init__(self, data: str | Path) -> None:
        self.data = Path(data)
        self._rows: dict[str, list[Row]] = {}
        self._digests: dict[str, str] = {}

    def sets(self) -> list[str]:
        """Names of the sets; raises ValueError when there are none."""
        return present_sets(self.data)

    def rows(self, name: str) -> list[Row]:
        """The manifest of a set."""
        if name not in self._rows:
            self._rows[name] = read_manifest(self.data / name / "manifest.tsv")
        return self._rows[name]

    def digest(self, name: str) -> str:
        """What a set is made of, for markers."""
        if name not in self._digests:
            self._digests[name] = digest(self.rows(name))
        return self._digests[name]

    def today(self, marker: Flat) -> Flat:
        """A marker in which digests of earlier manifests of the same clips, which told less of them, are today's."""
        known = {old: self.digest(name) for name in self.sets() for old in read_earlier(self.data / name)}
        return {key: known.get(value, value) if isinstance(value, str) else value for key, value in marker.items()}

    def reading(self, config: Config) -> Flat:
        """How an experiment reads recordings, for markers."""
        reader = load_dataset(self.data).reader(config.data.reference)
        return {f"dataset.{key}": value for key, value in reader.identity().items()}

    def made_of(self, name: str) -> Flat:
        """Clips and lengths of a set, for markers; raises ValueError where an older version wrote the manifest."""
        rows = measured(self.rows(name), self.data / name / "manifest.tsv")
        return {"manifest": self.digest(name), "utt2num_samples": lengths_digest(rows)}


def training_sets(config: Config, data_dir: str | Path) -> list[str]:
    """Those of data.sets that the corpus has, in that order; raises ValueError when it has none of them."""
    present = present_sets(data_dir)
    sets = [name for name in config.data.sets if name in present]
    if not sets:
        raise ValueError(f"{data_dir} has none of data.sets = {config.data.sets}. It has: {', '.join(present)}")
    return sets


def label_inputs(config: Config, prepared: Prepared) -> Flat:
    """What labels are made from, for their marker."""
    sets = training_sets(config, prepared.data)
    hidden = {"hide_attributes": config.data.hide_attributes} if config.data.hide_attributes else {}
    made = {"label": config.data.label, **hidden, **{name: labels_digest(prepared.rows(name)) for name in sets}}
    if "folder" in config.data.label.split("+"):
        made |= {f"{name}.folders": folders_digest(prepared.rows(name)) for name in sets}
    return made


def reread_labels(marker: Flat, prepared: Prepared) -> Flat:
    """A marker of labels, of this version or an older one, in which the recordings counted, in today's terms."""
    today = prepared.today(marker)
    same = {name for name in prepared.sets() if today.get(name) == prepared.digest(name)}
    return today | {name: labels_digest(prepared.rows(name)) for name in same}


def check_labels(config: Config, prepared: Prepared, exp: Path) -> None:
    """Raise ValueError where labels.tsv was not made from the training clips that are there, or has changed since."""
    marker = exp / ".done.labels"
    if not marker.exists():
        raise ValueError(f"{exp}/labels.tsv: not there, or not finished: run stage 2 (make_lists) first")
    compare(marker, reread_labels(read_json(marker), prepared), label_inputs(config, prepared), again=_stage(2))
    check_written(marker, _stage(2))


def dump_folder(config: Config) -> str | None:
    """The folder below dump/ that an experiment reads, None where it reads the recordings themselves.

    Features: their front end, how loud that hears the clips, and how a second microphone was taken out. Otherwise
    recordings out of which it was taken.
    """
    treated = "" if config.data.reference == "none" else f"_reference_{config.data.reference}"
    if config.data.feats_type == "raw":
        return treated.removeprefix("_") or None
    return config.encoder.frontend + ("" if config.data.level == "keep" else f"_{config.data.level}") + treated


def check_dumped(config: Config, prepared: Prepared, folder: Path, name: str) -> None:
    """Raise ValueError where what stage 2 dumped of a set is not of the clips that are there: stage 2 is needed."""
    if not (folder / ".done").exists():
        what = "dumped features" if config.data.feats_type == "fbank" else "recordings without the second microphone"
        raise ValueError(f"{folder}: no {what}, or not all of them: run stage 2 first")
    made, now = prepared.today(read_json(folder / ".done")), dump_inputs(config, prepared, name)
    made = {key: made.get(key) for key in now}
    compare(folder / ".done", made, now, "other --data and --dump folders", _stage(2))
    check_written(folder / ".done", _stage(2))
    for marker in sorted(folder.glob("split*/.done.*")):
        check_written(marker, _stage(2), believe_time=True)


def dump_inputs(config: Config, prepared: Prepared, name: str) -> Flat:
    """What dumped features and treated recordings are made from, for their marker."""
    reader = load_dataset(prepared.data).reader(config.data.reference)
    return {"manifest": prepared.made_of(name)["manifest"], **reader.identity()}


def write_trained(seed_dir: Path, config: Config, prepared: Prepared, held: Collection[str] = ()) -> None:
    """Note the clips that a network is trained on, beside its checkpoint; `held`: ids of those that no batch got."""
    rows = [row for name in training_sets(config, prepared.data) for row in prepared.rows(name)]
    rows = [row for row in rows if row["utt"] not in held]
    write_table(seed_dir / "checkpoint" / TRAINED, TRAINED_COLUMNS, rows)


def check_network(config: Config, prepared: Prepared, exp: Path, seed_dir: Path) -> list[str] | None:
    """Machines that the network has not heard in training; None: it was trained on others, which is all that is known.

    Clips may have been added since. Raises ValueError where one that it was trained on is gone or has changed, or is
    read in another way now: stage 3 is needed, or stage 2 before it.
    """
    if (exp / TRAINED_ON).exists():
        joined = Prepared(exp / read_json(exp / TRAINED_ON)["data"])
        found = check_network(config, joined, (seed_dir / "checkpoint").resolve().parents[1], seed_dir)
        return None if found is None else _never_heard(config, prepared, seed_dir)
    marker, record = seed_dir / "checkpoint" / ".done", seed_dir / "checkpoint" / TRAINED
    if config.train.steps == 0 or not marker.exists():
        return []
    made, sets = prepared.today(read_json(marker)), training_sets(config, prepared.data)
    reading = {key: value for key, value in prepared.reading(config).items() if key in made}
    compare(marker, {key: made[key] for key in reading}, reading, again=_stage(3))
    if not record.exists():
        return [] if all(made.get(f"{name}.manifest") == prepared.digest(name) for name in sets) else None
    rows = {row["utt"]: row for name in sets for row in prepared.rows(name)}
    trained = read_table(record, TRAINED_COLUMNS)
    lost = [row["utt"] for row in trained if row["utt"] not in rows or recording_difference(row, rows[row["utt"]])]
    if lost:
        check_labels(config, prepared, exp)
        raise ValueError(
            f"{record}: {len(lost)} of the {len(trained)} recordings that the network was trained on are gone or have "
            f"changed since, the first {lost[0]}. Use another --tag, or {_stage(3)} to train it again"
        )
    return sorted({row["machine"] for row in rows.values()} - {row["machine"] for row in trained})


def _never_heard(config: Config, prepared: Prepared, seed_dir: Path) -> list[str]:
    """Machines none of whose training clips, by content, is among those that a network was trained on."""
    record = seed_dir / "checkpoint" / TRAINED
    if config.train.steps == 0 or not record.exists():
        return []
    heard = {row["digest"] for row in read_table(record, TRAINED_COLUMNS)}
    rows = [row for name in training_sets(config, prepared.data) for row in prepared.rows(name)]
    return sorted({row["machine"] for row in rows} - {row["machine"] for row in rows if row["digest"] in heard})


def check_seeds(inputs: Flat, prepared: Prepared, seed_dir: Path) -> None:
    """Raise ValueError where another seed was trained on other clips than `inputs`, those of this one, tell."""
    own = {key for key in inputs if key.endswith(".manifest")}
    for marker in sorted(seed_dir.parent.glob("seed*/checkpoint/.done")):
        other = marker.parents[1]
        if other == seed_dir:
            continue
        made = prepared.today(read_json(marker))
        keys = own | {key for key in made if key.endswith(".manifest")}
        if any(made.get(key) != inputs.get(key) for key in keys):
            raise ValueError(
                f"{marker}: {other.name} was trained on other clips than are there now, and the results of seeds are "
                f"averaged. Train it again first (--seeds {other.name.removeprefix('seed')} {_stage(3)}), or use "
                "another --tag"
            )


def trained_digest(config: Config, prepared: Prepared, seed_dir: Path) -> str | None:
    """SHA-256 over what a network was trained on; None where nothing was trained, or that is not known."""
    marker = seed_dir / "checkpoint" / ".done"
    if config.train.steps == 0 or not marker.exists():
        return None
    made = {key: value for key, value in prepared.today(read_json(marker)).items() if key.endswith(".manifest")}
    return sha256_text(json.dumps(made, sort_keys=True)) if made else None


def check_embedded(
    config: Config, seed_dir: Path, name: str, prepared: Prepared | None, weights: Path | None = None
) -> None:
    """Raise ValueError where stage 4 made a set's arrays with other weights, settings or clips than there are.

    prepared: what stage 1 wrote, None where its clips do not count. weights: the checkpoint, where that counts.
    """
    marker = seed_dir / "embed" / name / ".done"
    if not marker.exists():
        return
    made, wanted = reread_embedding(read_json(marker)), dict(embedding_identity(as_chosen(config, seed_dir)))
    if weights and weights.exists():
        wanted["checkpoint"] = sha256_file(weights)
    if prepared:
        made = prepared.today(made)
        reading = {key: value for key, value in prepared.reading(config).items() if key in made}
        wanted |= {"manifest": prepared.digest(name)} | reading
    compare(marker, {key: made.get(key) for key in wanted}, wanted, again=_stage(4))


def check_filter(dataset: Dataset, seed_dir: Path) -> None:
    """Raise ValueError where stages 3 and 4 resampled recordings by another filter than is there now."""
    wanted = dataset.reader().identity().get("filter")
    for marker in [seed_dir / "checkpoint" / ".done", *sorted(seed_dir.glob("embed/*/.done"))]:
        made = read_json(marker) if marker.exists() else {}
        if made.get("dataset.resample") and made.get("dataset.filter") != wanted:
            raise ValueError(
                f"{marker}: of recordings that were resampled by the filter of an older version; what is read now "
                f"would not compare (docs/upgrading.md). Use another --tag, or {_stage(3)} to train it again"
            )


def reread_scores(marker: Flat, inputs: Flat, prepared: Prepared) -> Flat:
    """A marker of scores, of this version or an older one, in today's terms. inputs: what they would be made from now.

    Older ones tell of embeddings alone what recordings they were made from; and where a recording lies does not count.
    """
    made = prepared.today(reread_score(marker))
    for name in prepared.sets():
        clips, listed = f"{name}.clips", f"{name}.manifest"
        if clips not in made and listed in made:
            made[clips] = inputs.get(clips)
        elif clips in made and made[clips] == inputs.get(clips):
            made[listed] = inputs.get(listed)
    return made


def content_digest(prepared: Prepared) -> str | None:
    """SHA-256 over all clips and their content, training and test; None where no content is known."""
    sets = prepared.sets()
    known = [row["digest"] != UNKNOWN for name in sets for row in prepared.rows(name)]
    if not all(known) or not sets_of("train", sets):
        return None
    return sha256_text(json.dumps({name: prepared.digest(name) for name in sets}, sort_keys=True))


def _stage(number: int) -> str:
    return f"--stage {number} --force true"
