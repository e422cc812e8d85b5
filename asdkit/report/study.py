"""A study: experiments that make one table or figure, of a publication with its numbers beside ours, or of our own."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asdkit.config import Config, load_config, open_config
from asdkit.config.identity import experiment_identity
from asdkit.report.published import System, load_published
from asdkit.report.schema import TagResult, read_results
from asdkit.report.tables import cell, table
from asdkit.utils.files import read_json
from asdkit.utils.typed_yaml import Section, read_yaml, validate

TOTALS = {"auc_source": "AUC source", "auc_target": "AUC target", "official": "official"}
SETS = ("dev", "eval", "all")


class Row(Section):
    """One row of the table: an experiment, and the name of the published system beside it."""

    model: str = Field(min_length=1, description="what the table calls it")
    cells: list[str] = Field([], description="what the table prints in the columns `labels`, instead of `model`")
    here: list[str] = Field([], description="what stands there in our line, where it is something else")
    size: str = Field("-", description="parameters, as printed")
    published: str = Field("", description="name of the system in the file of published figures; empty: none")
    missing: str = Field("", description="why there is no experiment; the published figures stand alone")
    config: str = Field("", description="configuration file, from the recipe's folder")
    set: list[str] = Field([], description="changes of its values, section.key=value")
    tag: str = Field("", pattern=r"^([A-Za-z0-9][A-Za-z0-9._+-]{0,199})?$", description="name of the experiment")
    score: str = Field("knn", description="which of its scores")
    machines: list[str] = Field([], description="of a figure: those that it shows")
    colour: Literal["machine", "attribute"] = Field("machine", description="of a picture of embeddings")
    get: str = Field("", description="name of its weights for tools/get_checkpoint.py")


class Study(Section):
    """A table or a figure: what it shows, where the published figures are, and its rows."""

    title: str
    figure: Literal["steps", "groups", "maps"] | None = Field(
        None, description="a figure instead of a table: scores over steps, weights of group adapters, embeddings"
    )
    columns: Literal["dev", "eval", "sets"] = Field("sets", description="machines of a set, or the sets")
    labels: list[str] = Field([], description="columns before the figures (default: model and parameters)")
    published: str = Field("", description="file of published figures, from the recipe's folder; empty: our own rows")
    source: str = Field("", description="`source` of the figures in that file")
    note: str = Field("", description="what a reader has to know, above the table")
    rows: list[Row]


def load_study(path: str | Path) -> Study:
    """Read a study's file; raises ValueError naming file, key, what was got and what is allowed."""
    study = validate(Study, read_yaml(path), str(path))
    if bool(study.published) != bool(study.source) or (study.figure and study.published):
        raise ValueError(f"{path}: published and source belong together, and a figure has neither")
    if not study.published and (beside := [row.model for row in study.rows if row.published]):
        raise ValueError(f"{path}: rows: {beside[0]!r} names a published system, but published names no file of them")
    for row in study.rows:
        if bool(row.missing) == bool(row.tag) or bool(row.config) != bool(row.tag):
            raise ValueError(f"{path}: rows: {row.model!r} needs config and tag, or says in missing why it has none")
        if any(len(cells) not in (0, len(study.labels)) for cells in (row.cells, row.here)):
            raise ValueError(f"{path}: rows: {row.model!r}: cells and here hold one text for each of labels")
    tags = [f"{row.tag}: {row.score}" for row in study.rows if row.tag]
    if twice := [tag for tag in tags if tags.count(tag) > 1]:
        raise ValueError(f"{path}: rows: {twice[0]!r} is there twice")
    changes = {(row.tag, row.config, *row.set) for row in study.rows if row.tag}
    if len(changes) > len({row.tag for row in study.rows if row.tag}):
        raise ValueError(f"{path}: rows: one tag with different settings")
    return study


def why_not(row: Row, changes: Sequence[str] = ()) -> str:
    """Why an experiment cannot be run here: its weights or a library are not there; empty when it can."""
    config = load_config(row.config, [*row.set, *changes])
    path = config.encoder.checkpoint
    if path and not path.startswith("hub:") and not Path(path).exists():
        return f"no {path}" + (f" (../../.venv/bin/python ../../tools/get_checkpoint.py {row.get})" if row.get else "")
    if not config.encoder.spectrogram and not _has_transformers():
        return "transformers is not installed (../../tools/setup_env.sh hf)"
    return ""


def is_finished(row: Row, exp: Path, seeds: Sequence[int], changes: Sequence[str] = ()) -> bool:
    """Whether the experiment is there with these settings, all of them with `changes`, and has results of all seeds."""
    folder = exp / row.tag
    if not (folder / "results.json").exists() or not (folder / "config.yaml").exists():
        return False
    wanted: Config = load_config(row.config, [*row.set, *changes])
    if experiment_identity(open_config(folder / "config.yaml")) != experiment_identity(wanted):
        return False
    found = read_results(folder / "results.json", TagResult)["scores"].get(row.score)
    return found is not None and set(seeds) <= set(found["seeds"])


def study_table(study: Study, exp: Path) -> str:
    """The table as Markdown: for each row the published figures and, where the experiment has results, ours.

    Without published ones: each row's figures, and how far they lie from those of the first row with the same seeds.
    """
    if not study.published:
        return _own_table(study, exp)
    systems = [one for one in load_published(study.published) if one.source == study.source]
    rows: list[list[str]] = []
    columns = _columns(study, systems)
    for row in study.rows:
        theirs = {one.set: one for one in systems if one.name == row.published}
        if not theirs:
            raise ValueError(f"{study.published}: no system {row.published!r} of {study.source}")
        first = [*(row.cells or [row.model]), "paper", *([] if study.labels else [row.size])]
        rows.append([*first, *(_published(theirs, study.columns, name) for name in columns)])
        rows.append(_ours_line(study, row, columns, _results(exp / row.tag, row.score) if row.tag else None))
    named = [TOTALS.get(name, name) for name in columns]
    intro = (
        f"# {study.title}\n\nIn percent. paper: as printed, {study.source}; here: mean ± sample standard deviation "
        "over seeds.\n"
    )
    intro += f"{study.note.rstrip()}\n" if study.note else ""
    if study.labels:
        return f"{intro}\n" + table([*study.labels, "from", *named], rows)
    intro += "Parameters here are those of encoder and what is put around it.\n\n"
    return intro + table(["model", "from", "parameters", *named], rows)


def _own_table(study: Study, exp: Path) -> str:
    found = [_results(exp / row.tag, row.score) if row.tag else None for row in study.rows]
    columns = list(SETS)
    if study.columns != "sets":
        sets = [one["sets"][study.columns] for one in found if one and study.columns in one["sets"]]
        machines = dict.fromkeys(row["machine"] for one in sets for row in one["machines"])
        columns = [*machines, "official"]
    labels = study.labels or ["model"]
    rows = []
    for row, own in zip(study.rows, found, strict=True):
        cells = [*(row.cells or [row.model]), str(len(own["seeds"])) if own else "-"]
        for name in columns:
            gains = [] if row is study.rows[0] else _gains(own, found[0], study.columns, name)
            cells += [cell(_value(own, study.columns, name)), _signed(gains)]
        rows.append(cells)
    heads = [head for name in columns for head in (name, "over the first")]
    note = f"{study.note.rstrip()}\n" if study.note else ""
    intro = (
        f"# {study.title}\n\nIn percent: mean ± sample standard deviation over seeds; over the first: what each seed "
        f"gains over the first row.\n{note}\n"
    )
    return intro + table([*labels, "seeds", *heads], rows)


def _gains(own: dict[str, Any] | None, first: dict[str, Any] | None, columns: str, name: str) -> list[float]:
    """What each seed that both rows have gains over the first row, in percent."""
    by_seed = []
    for found in (own, first):
        value = _value(found, columns, name)
        by_seed.append(dict(zip(found["seeds"], value["seeds"], strict=True)) if found and value else {})
    return [100 * (value - by_seed[1][seed]) for seed, value in by_seed[0].items() if seed in by_seed[1]]


def _signed(gains: list[float]) -> str:
    if not gains:
        return "-"
    return f"{statistics.mean(gains):+.2f}" + (f" ± {statistics.stdev(gains):.2f}" if len(gains) > 1 else "")


def _ours_line(study: Study, row: Row, columns: list[str], found: dict[str, Any] | None) -> list[str]:
    """The line below the published one."""
    first = row.here or [""] * max(1, len(study.labels))
    if found is None:
        label = f"here: {row.missing}" if row.missing else "here"
        return [*first, label, *([] if study.labels else ["-"]), *("-" for _ in columns)]
    size = f"{found['size']['parameters'] / 1e6:.1f}M" if found.get("size") else "-"
    label = f"here, {len(found['seeds'])} seed{'s' if len(found['seeds']) > 1 else ''}"
    return [*first, label, *([] if study.labels else [size]), *(_ours(found, study.columns, name) for name in columns)]


def _columns(study: Study, systems: list[System]) -> list[str]:
    if study.columns == "sets":
        return list(SETS)
    own = [one for one in systems if one.set == study.columns]
    return [*dict.fromkeys(machine for one in own for machine in one.machines), *TOTALS]


def _published(theirs: dict[str, System], columns: str, name: str) -> str:
    if columns == "sets":
        value = theirs[name].official if name in theirs else None
    elif columns not in theirs:
        value = None
    elif name in TOTALS:
        value = getattr(theirs[columns], name)
    else:
        figures = theirs[columns].machines.get(name)
        value = figures and figures.hmean
    return "-" if value is None else f"{value:.2f}"


def _ours(found: dict[str, Any], columns: str, name: str) -> str:
    return cell(_value(found, columns, name))


def _value(found: dict[str, Any] | None, columns: str, name: str) -> dict[str, Any] | None:
    """{mean, std, seeds} of a column; None where the experiment has none."""
    if found is None:
        return None
    if columns == "sets":
        return found["all"] if name == "all" else found["sets"].get(name, {}).get("official")
    own = found["sets"].get(columns)
    if own is None:
        return None
    if name in TOTALS:
        return own["official"] if name == "official" else own["values"].get(name)
    return next((row["score"] for row in own["machines"] if row["machine"] == name), None)


def _results(folder: Path, score: str) -> dict[str, Any] | None:
    path = folder / "results.json"
    if not path.exists():
        return None
    read_results(path, TagResult)
    return read_json(path)["scores"].get(score)


def _has_transformers() -> bool:
    from importlib.util import find_spec

    return find_spec("transformers") is not None
