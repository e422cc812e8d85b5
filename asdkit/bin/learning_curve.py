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
    from asdkit.page.style import WIDTHS, new_figure, paper, write_figure

    try:
        with paper():
            figure = new_figure(WIDTHS["single"], 2.4)
            _draw(figure, found)
            write_figure(figure, exp / STEM)
    except ValueError as error:  # matplotlib is not installed
        print(f"no picture: {error}")
        return []
    return [exp / f"{STEM}.{suffix}" for suffix in ("pdf", "png")]


def _draw(figure: "Figure", found: list[dict[str, Any]]) -> None:
    from asdkit.page.style import HUES, MARKS

    axes = figure.add_subplot()
    for number, key in enumerate(sorted({(row["score"], row["set"]) for row in found})):
        own = [row for row in found if (row["score"], row["set"]) == key and row["auc"] is not None]
        spread = [100 * (row["deviation"] or 0) for row in own]
        axes.errorbar(
            [row["minutes"] for row in own],
            [100 * row["auc"] for row in own],
            spread,
            color=HUES[number % len(HUES)],
            marker=MARKS[number % len(MARKS)],
            linestyle=("-", "--", "-.", ":")[number % 4],
            label=", ".join(key),
        )
    axes.set_xscale("log")
    ticks = sorted({row["minutes"] for row in found})
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("minutes of normal sound per machine")
    axes.set_ylabel("AUC (%)")
    axes.grid()
    axes.legend()


if __name__ == "__main__":
    cli.run(main)
