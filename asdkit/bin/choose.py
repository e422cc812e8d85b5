"""Rank the experiments of a recipe without labels: how well each may do, estimated from training clips alone."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli

if TYPE_CHECKING:
    from asdkit.config import ScoreConfig
    from asdkit.detectors.pseudo import Estimate
    from asdkit.infer.experiment import Experiment

    Estimates = dict[str, Estimate]  # by machine


PERFECT = 0.995  # a Pseudo AUC from which systems are not told apart


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Rank the experiments of a recipe, and their scores, by Pseudo AUC: how well anomalies that are made of "
        "training clips are told from these. No test clip is read, and no label of one."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--expdir", type=Path, default=Path("exp"), help="folder of the experiments")
    parser.add_argument("--tags", nargs="+", help="only these experiments (default: all that have embeddings)")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these seeds (default: all that have embeddings)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Estimate each experiment and print the tables."""
    args = get_parser().parse_args(argv)
    from asdkit.detectors.pseudo import PUBLISHED

    found = estimates(args)
    print(_over_machines(found), end="")
    print(f"\n{_per_machine(found)}", end="")
    print(_not_told_apart(found), end="")
    print(f"\n{PUBLISHED}", end="")


def estimates(args: argparse.Namespace) -> "dict[tuple[str, str], Estimates]":
    """(experiment, score) -> estimates over seeds, for the program's options; what cannot be estimated is logged.

    Raises ValueError where there is nothing to estimate.
    """
    from asdkit.detectors.pseudo import mean_estimate

    folders = [args.expdir / tag for tag in args.tags] if args.tags else sorted(args.expdir.glob("*"))
    found: dict[tuple[str, str], Estimates] = {}
    for folder in cli.progress(folders, "estimate", unit="experiment"):
        if args.tags and not folder.is_dir():
            there = ", ".join(sorted(path.parent.name for path in args.expdir.glob("*/config.yaml")))
            raise ValueError(
                f"--tags {folder.name}: there is no {folder}; {args.expdir} holds {there or 'no experiments'}"
            )
        if not (folder / "config.yaml").exists():
            if args.tags or (folder / "results.json").exists():
                logging.warning("%s: left out: no config.yaml, so no detectors to estimate", folder)
            continue
        for name, seeds in _estimated(args, folder).items():
            machines = {machine for one in seeds for machine in one}
            found[folder.name, name] = {
                machine: mean_estimate([one[machine] for one in seeds if machine in one]) for machine in machines
            }
    if not found:
        raise ValueError(
            f"{args.expdir}: no experiment with embeddings to rank: run stage 4 first, and this in the recipe's folder"
        )
    return found


def _estimated(args: argparse.Namespace, folder: Path) -> "dict[str, list[Estimates]]":
    """Estimates of each score of an experiment, one for each seed that has embeddings."""
    from asdkit.infer.experiment import Experiment
    from asdkit.report.results import seed_folders

    found: dict[str, list[Estimates]] = {}
    seeds = [seed for seed in seed_folders(folder) if args.seeds is None or seed in args.seeds]
    for seed in seeds:
        experiment = Experiment.open(folder, seed, args.data)
        for name, settings in experiment.config.score.items():
            where = f"{folder}/seed{seed}: score.{name}"
            if settings.detector == "given" or settings.normalise == "test_zscore":
                logging.warning("%s: left out: training clips have no such scores without test clips", where)
                continue
            try:
                found.setdefault(name, []).append(_one(experiment, settings, where))
            except ValueError as error:
                logging.warning("%s: left out: %s", where, error)
    return {name: each for name, each in found.items() if each}


def _one(experiment: "Experiment", settings: "ScoreConfig", where: str) -> "Estimates":
    """The estimate of each machine (and section, where it has a detector of its own)."""
    import numpy as np

    from asdkit.detectors.notes import some
    from asdkit.detectors.pseudo import estimate
    from asdkit.detectors.scoring import groups, recordings_of, title

    sets = list(experiment.training(*settings.arrays, zeros=settings.zeros).values())
    rows, x = [row for own, _ in sets for row in own], np.concatenate([table for _, table in sets])
    recordings, machines = recordings_of(rows, x), np.array([row["machine"] for row in rows])
    found = {}
    for key, chosen in sorted(groups(settings, rows).items()):
        others = (machines != key[0]) & ~np.isin(recordings, recordings[chosen])
        try:
            own = [rows[i] for i in chosen]
            found[title(key)] = estimate(settings, own, x[chosen], recordings[chosen], x[others])
        except ValueError as error:
            raise ValueError(f"{title(key)}: {error}") from None
        if refused := found[title(key)].refused:
            logging.warning("%s: %s: estimated without %s", where, title(key), some(refused))
    return found


def _over_machines(found: "dict[tuple[str, str], Estimates]") -> str:
    from asdkit.detectors.pseudo import mean_estimate
    from asdkit.report.tables import table

    everything = {machine for own in found.values() for machine in own}
    ranked = sorted(found, key=lambda name: _best_first(mean_estimate(list(found[name].values()))))
    rows = []
    for place, (tag, score) in enumerate(ranked, 1):
        own = found[tag, score]
        mean = mean_estimate(list(own.values()))
        rows.append([str(place), tag, score, _percent(mean.pseudo_auc), _percent(mean.bound)])
        rows[-1].append("all" if own.keys() == everything else ", ".join(sorted(own)))
    return table(["rank", "experiment", "score", "Pseudo AUC", "bound", "machines"], rows)


def _per_machine(found: "dict[tuple[str, str], Estimates]") -> str:
    from asdkit.report.tables import table

    rows = []
    for machine in sorted({machine for own in found.values() for machine in own}):
        there = {" ".join(name): own[machine] for name, own in found.items() if machine in own}
        ranked = sorted(there, key=lambda name: _best_first(there[name]))
        best = there[ranked[0]]
        rows.append([machine, ranked[0], _percent(best.pseudo_auc), _percent(best.bound)])
        rows[-1] += [ranked[1] if len(ranked) > 1 else "-", ", ".join(best.parts)]
    return table(["machine", "best", "Pseudo AUC", "bound", "second", "pseudo-anomalies"], rows)


def _not_told_apart(found: "dict[tuple[str, str], Estimates]") -> str:
    """A warning that names the machines on which the systems' Pseudo AUCs are all but perfect; empty where none is."""
    names = []
    for machine in sorted({machine for own in found.values() for machine in own}):
        there = [own[machine].pseudo_auc for own in found.values() if machine in own]
        if len(there) > 1 and 2 * sum(value >= PERFECT for value in there) >= len(there):
            names.append(machine)
    if not names:
        return ""
    return (
        f"\nDo not choose by this for {', '.join(names)}: half of the systems or more reach {_percent(PERFECT)}; what "
        "they all tell apart says nothing of faults\n"
    )


def _best_first(estimate: "Estimate") -> tuple[float, ...]:
    return tuple(-value for value in estimate.order)


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


if __name__ == "__main__":
    cli.run(main)
