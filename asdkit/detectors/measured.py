"""Pseudo AUC after steps of a training, as seed<K>/pseudo_auc.tsv holds it: step, machine, the two numbers, parts."""

from pathlib import Path

from asdkit.detectors.pseudo import Estimate, mean_estimate
from asdkit.utils.files import read_table, write_table

TABLE = "pseudo_auc.tsv"  # of seed<K>
COLUMNS = ("step", "machine", "pseudo_auc", "bound", "parts")

Measured = dict[int, dict[str, Estimate]]  # step -> machine -> estimate


def write_measured(folder: Path, found: Measured) -> None:
    """Write the table of seed<K>."""
    rows = []
    for step, machines in sorted(found.items()):
        for machine, one in machines.items():
            told = (str(step), machine, repr(one.pseudo_auc), repr(one.bound), ", ".join(one.parts))
            rows.append(dict(zip(COLUMNS, told, strict=True)))
    write_table(folder / TABLE, COLUMNS, rows)


def read_measured(folder: Path, last: int | None = None) -> Measured:
    """Read the table of seed<K>, up to the step `last`; empty where there is none."""
    found: Measured = {}
    for row in read_table(folder / TABLE, COLUMNS) if (folder / TABLE).exists() else ():
        if last is None or int(row["step"]) <= last:
            one = Estimate(float(row["pseudo_auc"]), float(row["bound"]), tuple(row["parts"].split(", ")))
            found.setdefault(int(row["step"]), {})[row["machine"]] = one
    return found


def over_machines(found: Measured) -> dict[int, Estimate]:
    """The mean over machines after each step, in order."""
    return {step: mean_estimate(list(found[step].values())) for step in sorted(found)}


def best_step(found: Measured) -> int | None:
    """The step that is best by Pseudo AUC, of equal ones the first; None where none was measured."""
    means = over_machines(found)
    return max(means, key=lambda step: means[step].order, default=None)
