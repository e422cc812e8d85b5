"""Print how well each fault is told from the normal clips of the same machine, as AUC in per cent.

    python3 local/by_fault.py --fault outer exp*/envelope exp*/logmel

A row for each experiment's name and score, a column for each machine (its signal-to-noise ratio); mean and standard
deviation over all seeds of all folders of that name.
"""

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from asdkit.metrics import auc

NAME = re.compile(r"(?P<machine>.+)-test-section_00_(?P<domain>\w+?)_test_(?P<condition>normal|anomaly)_.*")
FAULT = re.compile(r"_fault_([a-z]+)")


def found_in(path: Path, fault: str) -> dict[str, float]:
    """Return machine -> AUC of a fault's clips against the normal ones, of a file of scores; ValueError for others."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"normal": [], fault: []})
    for line in path.read_text(encoding="utf-8").splitlines():
        utt, score = line.split()
        if not (name := NAME.fullmatch(utt)):
            raise ValueError(f"{path}: {utt!r} is no clip of this recipe")
        kind = FAULT.search(utt)[1] if name["condition"] == "anomaly" else "normal"
        if kind in ("normal", fault) or (fault == "all" and kind):
            scores[name["machine"]]["normal" if kind == "normal" else fault].append(float(score))
    if any(not values for own in scores.values() for values in own.values()):
        raise ValueError(f"{path}: no clips of the fault {fault!r}. There are outer, inner, ball, cage and all")
    return {
        machine: auc(np.array([*own["normal"], *own[fault]]), np.repeat([0, 1], [len(own["normal"]), len(own[fault])]))
        for machine, own in scores.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="EXP", help="experiments, scored")
    parser.add_argument("--fault", default="outer", help="outer, inner, ball, cage or all (default outer)")
    args = parser.parse_args(argv)
    rows: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for folder in args.folders:
        paths = sorted(folder.glob("seed*/score/*/dev_test.tsv"))
        if not paths:
            raise ValueError(f"{folder}: no scores (seed*/score/*/dev_test.tsv): run the stages up to 5 first")
        for path in paths:
            rows[folder.name, path.parent.name].append(found_in(path, args.fault))
    machines = sorted({machine for own in rows.values() for machine in own[0]}, key=_ratio, reverse=True)
    print(f"| experiment | score | {' | '.join(f'{_ratio(machine)} dB' for machine in machines)} |")
    print(f"|---|---|{'---:|' * len(machines)}")
    for (name, score), own in rows.items():
        values = [100 * np.array([one[machine] for one in own]) for machine in machines]
        print(f"| {name} | {score} | {' | '.join(f'{v.mean():.1f} ± {v.std():.1f}' for v in values)} |")


def _ratio(machine: str) -> int:
    return int(machine.removeprefix("bearing_").removesuffix("dB").replace("min", "-"))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"by_fault.py: error: {error}")
