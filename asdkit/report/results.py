"""Results over seeds: mean and spread."""

import re
import statistics
from pathlib import Path
from typing import Any

from asdkit.report.schema import SeedResult, read_results

SAME = ("protocol", "detector", "config_sha256", "data_sha256", "revealed_attributes")
KNOWN = {"trained_sha256": ("trained on other clips", 3), "clips_sha256": ("scored with other clips", 4)}  # and stage


def seed_folders(exp: str | Path) -> dict[int, Path]:
    """exp/<tag>/seed<K> by K, ascending."""
    found = {int(path.name[4:]): path for path in Path(exp).glob("seed*") if re.fullmatch(r"seed\d+", path.name)}
    return dict(sorted(found.items()))


def score_folders(seed_dir: Path, names: list[str] | None = None) -> list[Path]:
    """The folders of scores of a seed, all of them or those of the given names."""
    found = sorted(path for path in (seed_dir / "score").glob("*") if path.is_dir() and not path.name.startswith("."))
    return [path for path in found if names is None or path.name in names]


def over_seeds(exp: str | Path) -> dict[str, Any]:
    """Gather exp/<tag>/seed<K>/score/<name>/results.json: {"tag", "scores": {name: values over seeds}}.

    Every number becomes {mean, std, seeds} (std: sample, None for one seed). Raises ValueError when no seed has
    results, a file is broken, or two seeds of one name differ in protocol, detector, configuration or data.
    """
    seeds = seed_folders(exp)
    names = sorted({path.parent.name for folder in seeds.values() for path in folder.glob("score/*/results.json")})
    if not names:
        raise ValueError(f"{exp}: no seed<K>/score/<name>/results.json; run stage 6 (evaluate) first")
    tag = Path(exp).resolve().name
    return {"tag": tag, "scores": {name: _one_score(tag, name, seeds, str(exp)) for name in names}}


def _one_score(tag: str, name: str, folders: dict[int, Path], exp: str) -> dict[str, Any]:
    paths = {seed: folder / "score" / name / "results.json" for seed, folder in folders.items()}
    results = {seed: read_results(path, SeedResult) for seed, path in paths.items() if path.exists()}
    seeds = list(results)
    first = results[seeds[0]]
    for key in SAME:
        for seed in seeds[1:]:
            if results[seed].get(key) != first.get(key):
                raise ValueError(
                    f"{paths[seed]}: {key} is {results[seed].get(key)}, in seed{seeds[0]} it is {first.get(key)}. "
                    "Run stages 5 and 6 again for all seeds"
                )
    for key, (what, stage) in KNOWN.items():
        told = {seed: result[key] for seed, result in results.items() if result.get(key)}
        for seed, value in told.items():
            if value != next(iter(told.values())):
                raise ValueError(
                    f"{paths[seed]}: {what} than seed{next(iter(told))}, and they are not averaged. Make the older one "
                    f"again (--seeds N --stage {stage} --force true), or use another --tag"
                )
    kept = ("protocol", "transductive", "detector", "config", "config_sha256", "data_sha256")
    return {
        "tag": tag,
        "score": name,
        "seeds": seeds,
        "pending": [seed for seed in paths if seed not in results],
        **{key: first[key] for key in kept},
        "revealed_attributes": first.get("revealed_attributes"),
        **{key: next((r[key] for r in results.values() if r.get(key)), None) for key in KNOWN},
        "unheard": _unheard(list(results.values())),
        "size": next((r["size"] for r in results.values() if r.get("size")), None),
        "asdkit": list(dict.fromkeys(result.get("asdkit", "unknown") for result in results.values())),
        "git": list(dict.fromkeys(result["git"] for result in results.values())),
        "warnings": _warnings({seed: result.get("warnings", []) for seed, result in results.items()}),
        "sets": _spread([result["sets"] for result in results.values()], f"{exp}: {name}: sets"),
        "all": _spread([result["all"] for result in results.values()], f"{exp}: {name}: all"),
    }


def _unheard(results: list[dict[str, Any]]) -> list[str] | None:
    """Machines that a network of these results has not heard in training; None where a result cannot tell."""
    found = [result.get("unheard", []) for result in results]
    return None if None in found else sorted({machine for one in found for machine in one})


def _warnings(found: dict[int, list[str]]) -> list[str]:
    """The warnings of all seeds; of several seeds with their numbers."""
    return [f"seed {seed}: {line}" if len(found) > 1 else line for seed, lines in found.items() for line in lines]


def _spread(items: list[Any], where: str) -> Any:
    """Nested values of several seeds as one: numbers become mean and deviation, text and counts must agree."""
    first = items[0]
    shapes = {
        tuple(item) if isinstance(item, dict) else len(item) if isinstance(item, list) else None for item in items
    }
    differ = not isinstance(first, (dict, list, float)) and any(item != first for item in items)
    if len({type(item) for item in items}) > 1 or len(shapes) > 1 or differ:
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
