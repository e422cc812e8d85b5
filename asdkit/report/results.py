"""Results of one seed, and their mean and spread over seeds."""

import math
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asdkit.corpus.manifest import read_manifest, read_ref
from asdkit.protocols import ScoredClip, combine, evaluate
from asdkit.report.schema import SeedResult, read_results
from asdkit.utils.files import read_scp

UNLABELLED = "test clips without labels (no ref.tsv): scores, but no metrics"


def read_scores(path: str | Path) -> dict[str, float]:
    """Read `utt score`; raises ValueError, naming the clip, for a score that is not a finite number."""
    scores = {}
    for utt, text in read_scp(path).items():
        try:
            scores[utt] = float(text)
        except ValueError:
            raise ValueError(f"{path}: score of {utt!r} is {text!r}, not a number") from None
        if not math.isfinite(scores[utt]):
            raise ValueError(f"{path}: score of {utt!r} is {text}, expected a finite number")
    return scores


def evaluate_set(folder: str | Path, scores: str | Path, protocol: str) -> dict[str, Any]:
    """Metrics of one test set as `protocols.evaluate` returns them; without metrics when it has no ref.tsv.

    folder: data/<set> with manifest.tsv and perhaps ref.tsv; scores: its `utt score` file.
    Raises ValueError when score file, manifest and reference do not hold the same clips.
    """
    folder, found = Path(folder), read_scores(scores)
    rows = {row["utt"]: row for row in read_manifest(folder / "manifest.tsv")}
    _same_clips(found, str(scores), rows, str(folder / "manifest.tsv"))
    if not (folder / "ref.tsv").exists():
        return {**evaluate([], protocol), "clips": len(found), "notes": [UNLABELLED]}
    ref = read_ref(folder / "ref.tsv")
    _same_clips(found, str(scores), ref, str(folder / "ref.tsv"))
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


def over_seeds(exp: str | Path) -> dict[str, Any]:
    """Gather exp/<tag>/seed<K>/results.json: every number becomes {mean, std, seeds} (std: sample, None for one seed).

    Raises ValueError when no seed has results, a file is broken, or two seeds differ in protocol, backend,
    configuration or data.
    """
    exp = Path(exp)
    folders = {int(p.name[4:]): p for p in exp.glob("seed*") if re.fullmatch(r"seed\d+", p.name)}
    paths = {seed: folders[seed] / "results.json" for seed in sorted(folders)}
    results = {seed: read_results(path, SeedResult) for seed, path in paths.items() if path.exists()}
    if not results:
        raise ValueError(f"{exp}: no seed<K>/results.json; run stage 6 (evaluate) first")
    seeds = list(results)
    first = results[seeds[0]]
    for key in ("protocol", "backend", "config_sha256", "data_sha256", "revealed_attributes"):
        for seed in seeds[1:]:
            if results[seed].get(key) != first.get(key):
                raise ValueError(
                    f"{paths[seed]}: {key} is {results[seed].get(key)}, in seed{seeds[0]} it is {first.get(key)}. "
                    "Run stages 5 and 6 again for all seeds"
                )
    return {
        "tag": exp.resolve().name,
        "seeds": seeds,
        "pending": [seed for seed in paths if seed not in results],
        **{key: first[key] for key in ("protocol", "normalise", "backend", "config", "config_sha256", "data_sha256")},
        "revealed_attributes": first.get("revealed_attributes"),
        "git": list(dict.fromkeys(result["git"] for result in results.values())),
        "sets": _spread([result["sets"] for result in results.values()], f"{exp}: sets"),
        "all": _spread([result["all"] for result in results.values()], f"{exp}: all"),
    }


def _spread(items: list[Any], where: str) -> Any:
    """Nested values of several seeds as one: numbers become mean and deviation, text and counts must agree."""
    first = items[0]
    shapes = {
        tuple(item) if isinstance(item, dict) else len(item) if isinstance(item, list) else None for item in items
    }
    if len({type(item) for item in items}) > 1 or len(shapes) > 1:
        raise ValueError(f"{where}: not the same in all seeds. Run stages 5 and 6 again for all seeds")
    if isinstance(first, dict):
        return {key: _spread([item[key] for item in items], f"{where}.{key}") for key in first}
    if isinstance(first, list):
        return [_spread(list(item), where) for item in zip(*items, strict=True)]
    if isinstance(first, float):
        return {
            "mean": statistics.fmean(items),
            "std": statistics.stdev(items) if len(items) > 1 else None,
            "seeds": items,
        }
    return first


def _same_clips(a: Iterable[str], name_a: str, b: Iterable[str], name_b: str) -> None:
    a, b = set(a), set(b)
    for names, present, absent in ((a - b, name_a, name_b), (b - a, name_b, name_a)):
        if names:
            some = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise ValueError(f"{absent}: {len(names)} clips of {present} are not in it: {some}")
