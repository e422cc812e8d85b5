"""How much normal sound is enough: AUC against minutes of training clips, as a table and a picture."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdkit.utils import cli

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEM = "learning_curve"


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Write exp/<tag>/learning_curve.{json,md,pdf,png}: AUC of detectors that are fitted on parts of the training "
        "clips, mean over machines and draws. The network stays as it was trained, on all of them."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>, after stage 4")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to use")
    parser.add_argument("--score", help="names of scores, separated by commas (default: all of the configuration)")
    parser.add_argument("--minutes", type=float, nargs="+", help="amounts per machine (default: all, and halves of it)")
    parser.add_argument("--draws", type=int, default=10, help="orders in which clips are taken")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Fit, score, write table and picture."""
    args = get_parser().parse_args(argv)
    from asdkit.infer.experiment import Experiment
    from asdkit.report.learning import learning_curve, learning_table, summary
    from asdkit.utils.files import write_json, write_text

    if args.draws < 1 or min(args.minutes or [1]) <= 0:
        raise ValueError("--draws and --minutes: both must be above 0")
    experiment = Experiment.open(args.exp, args.seed, args.data)
    names = args.score.split(",") if args.score else list(experiment.config.score)
    minutes = sorted(set(args.minutes)) if args.minutes else None
    rows = learning_curve(experiment, args.data, names, minutes, args.draws, args.seed)
    found = summary(rows)
    text = learning_table(found)
    write_json(args.exp / f"{STEM}.json", {"draws": args.draws, "seed": args.seed, "rows": rows})
    write_text(args.exp / f"{STEM}.md", text)
    print(text, end="")
    for path in _picture(found, args.exp):
        print(path)


def _picture(found: list[dict[str, Any]], exp: Path) -> list[Path]:
    """Write the picture as PDF and PNG; without matplotlib say what it needs."""
    from asdkit.utils.files import atomic_path

    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: it needs matplotlib: pip install 'matplotlib>=3.8' (asdkit's extra `report`)")
        return []
    figure = Figure(figsize=(3.5, 2.4), layout="constrained")
    _draw(figure, found)
    paths = []
    for suffix, about in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        paths.append(exp / f"{STEM}.{suffix}")
        with atomic_path(paths[-1]) as temporary:
            figure.savefig(temporary, format=suffix, dpi=300, metadata=about)
    return paths


def _draw(figure: "Figure", found: list[dict[str, Any]]) -> None:
    axes = figure.add_subplot()
    for number, key in enumerate(sorted({(row["score"], row["set"]) for row in found})):
        own = [row for row in found if (row["score"], row["set"]) == key and row["auc"] is not None]
        spread = [100 * (row["deviation"] or 0) for row in own]
        style = ("o-", "s--", "^-.", "D:")[number % 4]
        axes.errorbar(
            [row["minutes"] for row in own],
            [100 * row["auc"] for row in own],
            spread,
            fmt=style,
            ms=4,
            lw=1,
            label=", ".join(key),
        )
    axes.set_xscale("log")
    ticks = sorted({row["minutes"] for row in found})
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("minutes of normal sound per machine")
    axes.set_ylabel("AUC (%)")
    axes.grid(lw=0.4, color="#d8dbde")
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    cli.run(main)
