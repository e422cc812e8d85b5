"""What choosing without labels costs: AUC points below the best system, for each machine, of experiments with results.

    python3 test/benchmark/choose.py --data egs/mini/data --expdir egs/mini/exp [--tags A B]

Experiments have to be scored and reported (stages 5 and 6). The system with the highest Pseudo AUC, the one with the
highest bound and one drawn at random are compared with the best by AUC over all clips of the machine.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from asdkit.bin import choose  # noqa: E402
from asdkit.report.tables import table  # noqa: E402
from asdkit.utils.files import read_json  # noqa: E402

RULES = {
    "Pseudo AUC": lambda found: found.order,
    "bound": lambda found: (found.bound,),
}


def measured(expdir: Path, systems: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, float]]:
    """(experiment, score) -> machine -> AUC over all of its test clips, in points, mean over seeds."""
    return {
        (tag, score): {
            row["machine"]: 100 * row["extras"]["auc_all"]["mean"]
            for found in read_json(expdir / tag / "results.json")["scores"][score]["sets"].values()
            for row in found["machines"]
        }
        for tag, score in systems
    }


def main() -> None:
    """Print the table."""
    args = choose.get_parser().parse_args()
    found = choose.estimates(args)
    truth = measured(args.expdir, list(found))
    rows, lost = [], {name: [] for name in [*RULES, "random"]}
    for machine in sorted(set.intersection(*(set(own) for own in found.values()))):
        auc = {system: truth[system][machine] for system in found}
        best = max(auc.values())
        regrets = {
            name: best - auc[max(found, key=lambda system, rule=rule: rule(found[system][machine]))]
            for name, rule in RULES.items()
        }
        regrets["random"] = best - statistics.fmean(auc.values())
        for name, regret in regrets.items():
            lost[name].append(regret)
        rows.append([machine, f"{best:.2f}", *(f"{regrets[name]:.2f}" for name in lost)])
    rows.append(["mean", "-", *(f"{statistics.fmean(values):.2f}" for values in lost.values())])
    print(table(["machine", "best AUC", *(f"lost by {name}" for name in lost)], rows), end="")


if __name__ == "__main__":
    main()
