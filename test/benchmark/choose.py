"""What choosing without labels costs: AUC points below the best system, for each machine, of experiments with results.

    python3 test/benchmark/choose.py --data egs/mini/data --expdir egs/mini/exp [--tags A B] [--save FILE]
    python3 test/benchmark/choose.py --saved FILE [FILE ...]

Experiments have to be scored and reported (stages 5 and 6). The system with the highest Pseudo AUC, the one with the
highest bound and one drawn at random are compared with the best by AUC over all clips of the machine, and with the
one that labels of the other machines would choose (of all recipes whose estimates were saved): the best by its mean
over these.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from asdkit.bin import choose  # noqa: E402
from asdkit.detectors.pseudo import FEATURE  # noqa: E402
from asdkit.report.tables import table  # noqa: E402
from asdkit.utils.files import read_json, write_json  # noqa: E402


class System(NamedTuple):
    """What is estimated of a system on one machine, and its AUC in points."""

    pseudo_auc: float
    bound: float
    mixed_alone: bool
    auc: float


Machines = dict[str, dict[str, System]]  # machine -> system -> numbers
RULES = {
    "Pseudo AUC": lambda own: (own.bound, own.pseudo_auc) if own.mixed_alone else (own.pseudo_auc, own.bound),
    "bound": lambda own: (own.bound,),
}


def measured(expdir: Path, systems: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, float]]:
    """(experiment, score) -> machine -> AUC over all of its test clips, in points, mean over seeds."""
    return {
        (tag, score): {
            row["machine"]: 100 * (row["extras"].get("auc_all") or row["values"]["auc"])["mean"]  # without domains: auc
            for found in read_json(expdir / tag / "results.json")["scores"][score]["sets"].values()
            for row in found["machines"]
        }
        for tag, score in systems
    }


def estimated(args) -> Machines:
    """What the program `choose` says of the systems of a recipe, for the machines that all of them have."""
    found = choose.estimates(args)
    truth = measured(args.expdir, list(found))
    return {
        machine: {
            " ".join(system): System(
                own[machine].pseudo_auc, own[machine].bound, own[machine].parts == (FEATURE,), truth[system][machine]
            )
            for system, own in found.items()
        }
        for machine in sorted(set.intersection(*(set(own) for own in found.values())))
    }


def by_other_machines(machine: str, machines: Machines) -> str:
    """The system that is best on the other machines; one machine under several noises is one."""
    name = machine.rpartition("/")[2]
    others = [own for other, own in machines.items() if other.rpartition("/")[2] != name]
    there = [system for system in machines[machine] if all(system in own for own in others)]
    return max(there, key=lambda system: statistics.fmean(own[system].auc for own in others)) if others else ""


def regrets(machines: Machines) -> str:
    """The table."""
    rows, lost = [], {name: [] for name in [*RULES, "random", "labels of others"]}
    for machine, own in machines.items():
        best = max(system.auc for system in own.values())
        chosen = {name: max(own, key=lambda system, rule=rule: rule(own[system])) for name, rule in RULES.items()}
        found = {name: best - own[system].auc for name, system in chosen.items()}
        found["random"] = best - statistics.fmean(system.auc for system in own.values())
        known = by_other_machines(machine, machines)
        found["labels of others"] = best - own[known].auc if known else float("nan")
        for name, value in found.items():
            lost[name].append(value)
        rows.append([machine, chosen["Pseudo AUC"], f"{best:.2f}", *(f"{found[name]:.2f}" for name in lost)])
    rows.append(["mean", "-", "-", *(f"{statistics.fmean(values):.2f}" for values in lost.values())])
    return table(["machine", "chosen by Pseudo AUC", "best AUC", *(f"lost by {name}" for name in lost)], rows)


def read(paths: list[Path]) -> Machines:
    """What --save wrote; the file's name goes before the machine's."""
    saved = {f"{path.stem}/{machine}": own for path in paths for machine, own in read_json(path).items()}
    return {machine: {name: System(*values) for name, values in own.items()} for machine, own in saved.items()}


def main() -> None:
    """Print the table."""
    parser = choose.get_parser()
    parser.add_argument("--save", type=Path, help="write what is estimated and measured instead, as JSON")
    parser.add_argument("--saved", type=Path, nargs="+", help="what --save wrote, of several recipes together")
    args = parser.parse_args()
    if args.save:
        write_json(args.save, json.loads(json.dumps(estimated(args))))
    else:
        print(regrets(read(args.saved) if args.saved else estimated(args)), end="")


if __name__ == "__main__":
    main()
