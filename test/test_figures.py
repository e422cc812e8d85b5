"""Figures for a paper: which are made, how large they are, and the fonts within."""

import re
import zlib

import numpy as np
import pytest
from experiments import Experiment

from asdkit.bin import report, score

pytest.importorskip("matplotlib", reason="needs matplotlib (the extra `report`)")
from asdkit.bin import figures  # noqa: E402
from asdkit.metrics import auc  # noqa: E402
from asdkit.page import inner_plots, plots  # noqa: E402
from asdkit.page.figures import file_names  # noqa: E402
from asdkit.page.style import paper, roc_of, write_figure  # noqa: E402


def size_of(path):
    """Inches of a PNG file of 300 dots an inch."""
    held = path.read_bytes()
    return [int.from_bytes(held[at : at + 4], "big") / 300 for at in (16, 20)]


def fonts_of(path):
    held = path.read_bytes()
    parts = [held]
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", held, re.DOTALL):
        try:
            parts.append(zlib.decompress(found[1]))
        except zlib.error:
            continue
    return set(re.findall(rb"/Subtype\s*/(Type3|TrueType|CIDFontType2|Type1)\b", b"".join(parts)))


def test_figures_of_an_experiment(tmp_path, capsys):
    for tag in ("first", "other"):  # one after the other: the second one stays in `experiment`
        experiment = Experiment(tmp_path, sets=("dev",), machines=("fan$x$",), tag=tag)
        experiment.run(score)
        experiment.run(report, "--data", str(experiment.data), "--clips", "0")
    figures.main(["--data", str(experiment.data), "--exp", str(experiment.exp), "--compare", "first"])
    out = experiment.exp / "figures"
    names = {path.stem for path in out.glob("*.pdf")}
    assert names == {path.stem for path in out.glob("*.png")}
    wanted = {
        "machines-dev",
        "trade-dev",
        "compare",
        "scores-dev-fan_x_dev",
        "roc-dev-fan_x_dev",
        "embeddings-dev-fan_x_dev",
    }
    assert names == wanted
    for path in sorted(out.glob("*.png")):
        width, height = size_of(path)
        assert width == pytest.approx(3.5, abs=0.01) and height < 9
        assert fonts_of(path.with_suffix(".pdf")) & {b"TrueType", b"CIDFontType2"}
        assert b"Type3" not in fonts_of(path.with_suffix(".pdf"))
    told = capsys.readouterr().out
    for what in ("training: ", "steps: no steps.json", "groups: "):
        assert f"left out: {what}" in told
    with pytest.raises(ValueError, match="--score gmm: there are results of knn"):
        figures.main(["--data", str(experiment.data), "--exp", str(experiment.exp), "--score", "gmm"])


def test_figures_of_what_is_inside(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(6), (4, 5)).round(3).tolist()
    found = {"machines": [{"set": "dev", "machine": f"m{i}", "weights": own} for i, own in enumerate(weights)]}
    rows = [
        [s, seed, "knn", name, 0.5 + s / 1000] for s in (0, 100, 200) for seed in (0, 1) for name in ("dev", "eval")
    ]
    curves = {"seeds": {"0": {"step": [1, 2], "lr": [1e-4, 1e-5], "loss": [2.0, None]}}, "said": ""}
    with paper():
        for name, figure in (
            ("groups", inner_plots.groups(found, 3.5)),
            ("steps", inner_plots.steps(rows, "knn", 7.16)),
            ("training", inner_plots.training(curves, 3.5)),
        ):
            write_figure(figure, tmp_path / name)
            assert size_of(tmp_path / f"{name}.png")[0] == pytest.approx(7.16 if name == "steps" else 3.5, abs=0.01)
    assert inner_plots.steps(rows, "gmm", 3.5) is None
    held = (tmp_path / "groups.pdf").read_bytes()
    with paper():
        write_figure(inner_plots.groups(found, 3.5), tmp_path / "groups")
    assert (tmp_path / "groups.pdf").read_bytes() == held


def test_names_of_files_and_curves():
    assert file_names(["a b", "a_b", "A/B", "fan"]) == {"A/B": "A_B", "a b": "a_b~2", "a_b": "a_b~3", "fan": "fan"}
    rng = np.random.default_rng(1)
    normal, anomalous = rng.integers(0, 9, 30) / 2, rng.integers(2, 12, 20) / 2
    x, y = roc_of(normal, anomalous)
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    assert area == pytest.approx(auc(np.r_[normal, anomalous], np.r_[np.zeros(30), np.ones(20)]), abs=1e-12)


def test_axes_of_steps_and_panels():
    with paper():
        for values in ([0.7, 0.7 + 1e-16], [0.5, 0.6]):
            figure = inner_plots.steps([[step, 0, "knn", "dev", y] for step, y in enumerate(values, 1)], "knn", 3.5)
            figure.draw_without_rendering()
            (axes,) = figure.axes
            assert all(float(one.get_text()).is_integer() for one in axes.get_xticklabels()), "no half steps"
            assert axes.yaxis.get_offset_text().get_text() == "" and np.ptp(axes.get_ylim()) > 1
        for count, width, wanted in ((3, 3.5, [2, 1]), (5, 7.16, [3, 2]), (4, 3.5, [2, 2]), (1, 3.5, [1])):
            curve = {"step": [1, 2], **dict.fromkeys([f"l{i}" for i in range(count - 1)], [2.0, 1.0]), "lr": [1e-4] * 2}
            figure = inner_plots.training({"seeds": {"0": curve}, "said": ""}, width)
            figure.draw_without_rendering()
            boxes = [axes.get_position() for axes in figure.axes]
            rows = sorted({round(box.y0, 3) for box in boxes}, reverse=True)
            assert [sum(round(box.y0, 3) == row for box in boxes) for row in rows] == wanted
            right = [max(box.x1 for box in boxes if round(box.y0, 3) == row) for row in rows]
            assert min(right) > 0.9, "no place is left empty"
        rates = [one.get_text() for one in figure.axes[-1].get_yticklabels()]
        assert "1e-4" in rates


def test_a_name_does_not_lie_on_the_diagonal():
    machines = [
        {"machine": f"machine {x}", "values": {"auc_source": {"mean": x}, "auc_target": {"mean": y}}}
        for x, y in ((0.7, 0.7), (0.8, 0.79), (0.6, 0.64))
    ]
    with paper():
        figure = plots.trade({"sets": {"dev": {"machines": machines}}}, "dev", 3.5)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for label in axes.texts:
        box = label.get_window_extent()
        inner = axes.transData.inverted().transform([[box.x0, box.y1], [box.x1, box.y0]])
        (x0, y1), (x1, y0) = inner
        assert y0 > x1 or y1 < x0, f"{label.get_text()} lies on the diagonal"
    assert len(axes.texts) == 3
