"""Metrics of one folder of scores."""

import json
from pathlib import Path
from typing import Any

from asdkit.config import Config
from asdkit.config.identity import experiment_identity, score_identity
from asdkit.config.scoring import another_name
from asdkit.corpus.description import load_dataset, present_sets
from asdkit.corpus.manifest import clips_digest, read_manifest, read_ref, sizes_digest
from asdkit.corpus.names import sets_of, split_set
from asdkit.data.chain import Prepared, reread_scores
from asdkit.detectors.folder import MADE_FROM, TRAIN, MadeFrom, read_made_from, read_scores, read_warnings
from asdkit.protocols import ScoredClip, combine, evaluate
from asdkit.report.decisions import complete, read_sets, same_clips
from asdkit.utils.done import Done, check_written, compare
from asdkit.utils.files import read_json, sha256_file, sha256_text, write_json
from asdkit.utils.provenance import source

ORIGIN = {"clips_sha256": None, "trained_sha256": None, "unheard": []}  # what a result tells of clips and network
UNLABELLED = "test clips without labels (no ref.tsv): scores, but no metrics"


def evaluate_folder(folder: Path, data: Path, about: dict[str, Any], force: bool = False, ours: bool = False) -> bool:
    """Write <folder>/results.json, unless it is there and made from the same; returns whether it was written.

    A folder that something else than stage 5 wrote is evaluated again when it has changed, and is given thresholds,
    tables and files to submit first. ours: its name is one of the experiment's scores. about: what the results are to
    say beside their numbers: tag, seed, score, config, config_sha256.
    Raises ValueError when scores, manifests and references do not hold the same clips.
    """
    sets, dataset = present_sets(data), load_dataset(data)
    tests, protocol, revealed = sets_of("test", sets), dataset.protocol, dataset.revealed_attributes
    tables = {}
    for name in tests:
        rows, ref = read_manifest(data / name / "manifest.tsv"), data / name / "ref.tsv"
        tables[f"{name}.manifest.tsv"] = clips_digest(rows)
        tables[f"{name}.utt2bytes"] = sizes_digest(rows) or "(absent)"
        tables[f"{name}.ref.tsv"] = sha256_file(ref) if ref.exists() else "(absent)"
    inputs = {"protocol": protocol, "revealed_attributes": revealed, "config": about["config_sha256"], **tables}
    inputs |= {key: about[key] for key in ORIGIN if about.get(key, ORIGIN[key]) != ORIGIN[key]}
    if missing := [name for name in tests if not (folder / f"{name}.tsv").exists()]:
        raise ValueError(f"{folder}: lacks {missing[0]}.tsv: a folder of scores has one for each of {', '.join(tests)}")
    files = [*(f"{name}.tsv" for name in tests), TRAIN, MADE_FROM]
    inputs |= {file: sha256_file(folder / file) for file in files if (folder / file).exists()}
    own, marker = ours and (folder / ".done").exists(), folder / ".done.evaluate"
    if own:
        check_written(folder / ".done", "--stage 5 --force true")
    before = any((folder / name).exists() for name in (".done", ".done.evaluate"))
    if marker.exists():
        force = force or _made_again(read_json(marker), inputs, own, folder)
    done = Done(marker, inputs, force, "another name for other scores")
    if done.is_done() and (folder / "results.json").exists():
        return False
    made_from = read_made_from(folder)
    if not own:
        complete(folder, read_sets(data, sets), dataset.name_style, before)
    found = {split_set(name)[0]: evaluate_set(data / name, folder / f"{name}.tsv", protocol) for name in tests}
    result = {
        **ORIGIN,
        **about,
        "protocol": protocol,
        "detector": made_from.detector,
        "made_by": made_from.made_by,
        "transductive": made_from.transductive,
        "revealed_attributes": revealed,
        "warnings": read_warnings(folder),
        "data_sha256": sha256_text(json.dumps(tables)),
        **source(),
        "all": over_sets(found, protocol),
        "sets": found,
    }
    write_json(folder / "results.json", result)
    done.finish()
    return True


def _made_again(made: dict[str, Any], inputs: dict[str, Any], own: bool, folder: Path) -> bool:
    """Whether a folder is evaluated again by itself: scores of stage 5, unless the protocol differs; others, unless
    nothing differs.

    Settings of stage 5 were compared before, in today's terms; the digest of all of them is another where a later
    version has more of them.

    Raises ValueError for scores of another program that are as they were, while the recordings are others.
    """
    different = {key for key in [*made, *inputs] if made.get(key) != inputs.get(key)}
    if own:
        moved = made.get("revealed_attributes") and inputs["revealed_attributes"]
        fixed = {"protocol", *(() if moved else ("revealed_attributes",))}
        return bool(different) and not different & fixed
    if (
        "clips_sha256" in made
        and "clips_sha256" in different
        and not any(key.endswith("_test.tsv") for key in different)
    ):
        raise ValueError(
            f"{folder}: the recordings have changed since these scores were evaluated, the scores have not. Make them "
            "again, or say that they are right: --stage 6 --force true"
        )
    return bool(different)


def check_scores(folder: Path, config: Config, prepared: Prepared, embed: Path) -> None:
    """Raise ValueError for scores of stage 5 that were made with other settings, clips or embeddings than those there.

    The folder's name is that of its settings. What something else wrote is not checked.
    """
    settings = config.score.get(folder.name)
    if settings is None and not (folder / ".done").exists():
        return
    sets = prepared.sets()
    clips = {f"{name}.manifest": clips_digest(prepared.rows(name)) for name in sets}
    clips |= {f"{name}.clips": prepared.digest(name) for name in sets}
    made = reread_scores(read_json(folder / ".done"), clips, prepared)
    arrays = settings.arrays if settings else ["embedding"]
    arks = {f"{name}.{array}": embed / name / f"{array}.ark" for name in sets for array in arrays}
    inputs = score_identity(settings) if settings else {}
    inputs |= {key: value for key, value in clips.items() if key in made}
    inputs |= {key: sha256_file(ark) for key, ark in arks.items() if ark.exists()}
    made = {key: value for key, value in made.items() if key in inputs or (settings and key.startswith("score."))}
    # Embeddings may be removed once they are scored.
    stage = 5 if all(ark.exists() for ark in arks.values()) else 4
    compare(folder / ".done", made, inputs, another_name(folder.name), f"--stage {stage} --force true")


def config_digest(config: Config | None, folder: Path) -> str:
    """SHA-256 of what a folder of scores was made with: parsed settings, not the text of a file."""
    settings = score_identity(config.score[folder.name]) if config and folder.name in config.score else {}
    told = read_made_from(folder).model_dump(include=set(MadeFrom.model_fields))
    whole = experiment_identity(config) if config else {}
    return sha256_text(json.dumps([whole, settings, told], sort_keys=True, default=str))


def evaluate_set(folder: str | Path, scores: str | Path, protocol: str) -> dict[str, Any]:
    """Metrics of one test set as `protocols.evaluate` returns them; without metrics when it has no ref.tsv.

    folder: data/<set> with manifest.tsv and perhaps ref.tsv; scores: its `utt score` file.
    Raises ValueError when score file, manifest and reference do not hold the same clips.
    """
    folder, found = Path(folder), read_scores(scores)
    rows = {row["utt"]: row for row in read_manifest(folder / "manifest.tsv")}
    same_clips(found, str(scores), rows, str(folder / "manifest.tsv"))
    if not (folder / "ref.tsv").exists():
        return {**evaluate([], protocol), "clips": len(found), "notes": [UNLABELLED]}
    ref = read_ref(folder / "ref.tsv")
    same_clips(found, str(scores), ref, str(folder / "ref.tsv"))
    clips = []
    for utt, score in found.items():
        condition, domain = ref[utt]
        clips.append(ScoredClip(rows[utt]["machine"], rows[utt]["section"], domain, condition, score))
    try:
        return evaluate(clips, protocol)
    except ValueError as error:
        raise ValueError(f"{scores}: {error}") from None


def over_sets(sets: dict[str, dict[str, Any]], protocol: str) -> float | None:
    """The paper's 'All', None unless both the development and the evaluation set have an official score."""
    official = [sets.get(name, {}).get("official") for name in ("dev", "eval")]
    return combine(*official, protocol)
