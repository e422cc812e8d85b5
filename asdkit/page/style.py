"""How figures for a paper look, and how they are written: PDF and PNG, fonts embedded as TrueType."""

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asdkit.utils.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = {"single": 3.5, "double": 7.16}  # inches: a column and a page of an IEEE journal
SIZE = 8  # points
SAME = 1e-6  # of an axis' numbers: what differs by less is the same
# Colours of the page; those that stand together also differ in form or line, for eyes and printers without colour.
BLUE, LIGHT_BLUE, ORANGE, AMBER, GREY, SOFT = "#0072b2", "#3d9fd6", "#c94f00", "#d98a00", "#7a8087", "#5a626b"
HUES = ("#0072b2", "#d98a00", "#009e73", "#b3438f", "#56b4e9", "#c94f00", "#6b5b00", "#1b1e22")
MARKS = ("o", "s", "^", "D")
RULES = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],  # comes with matplotlib; the second for letters that it lacks
    "mathtext.fontset": "stix",
    "font.size": SIZE,
    "axes.labelsize": SIZE,
    "axes.titlesize": SIZE,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "legend.fontsize": SIZE,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.linewidth": 0.4,
    "grid.color": "#d8dbde",
    "axes.axisbelow": True,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.0,
    "pdf.fonttype": 42,  # TrueType, as publishers ask for; not Type 3
    "figure.dpi": 300,
    "text.parse_math": False,  # a name with a dollar sign is a name
}


@contextmanager
def paper() -> Iterator[None]:
    """Figures made within are of a paper's size and font. Raises ValueError where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise ValueError("figures need matplotlib: pip install 'matplotlib>=3.8' (asdkit's extra `report`)") from None
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph
    with matplotlib.rc_context(RULES):
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, inches, whose parts make room for one another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    made.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    FigureCanvasAgg(made)  # no window, whatever the user's matplotlib is set to
    return made


def write_figure(figure: "Figure", path: Path) -> None:
    """Write path.pdf and path.png (300 dots an inch); the same figure gives the same bytes."""
    for suffix, about in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        held = io.BytesIO()
        figure.savefig(held, format=suffix[1:], metadata=about)
        write_bytes(path.with_name(path.name + suffix), held.getvalue())


def panels(figure: "Figure", count: int, most: int) -> list["Axes"]:
    """Panels in rows of at most `most`, as even as they can be; those of the last row share its whole width."""
    down = -(-count // most)
    across = -(-count // down)
    last = count - across * (down - 1)
    width = math.lcm(across, last)
    grid = figure.add_gridspec(down, width)
    found = []
    for number in range(count):
        row, column = divmod(number, across)
        each = width // (last if row == down - 1 else across)
        found.append(figure.add_subplot(grid[row, each * column : each * (column + 1)]))
    return found


def over_steps(axes: "Axes") -> None:
    """Whole steps on the axis below, and numbers in full on the other one, however little they differ."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if abs(v) >= 1e4 else f"{v:g}"))
    low, high = axes.dataLim.intervaly
    most = max(abs(low), abs(high))
    if high - low < SAME * most < np.inf:  # rounding alone: no axis is made of it
        axes.set_ylim(low - 0.1 * most, high + 0.1 * most)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if most >= 0.01:
        axes.ticklabel_format(axis="y", useOffset=False)
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v) if abs(v) > SAME * most else "0"))


def _short(value: float) -> str:
    """A small number as 1e-4 is written."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def place_labels(axes: "Axes", points: list[tuple[str, float, float]], line: np.ndarray | None = None) -> None:
    """Write names beside points where they cover no point, no other name and no line; those without room are left out.

    line: the ends of a straight one, [2, 2].
    """
    renderer, figure = axes.figure.canvas.get_renderer(), axes.figure
    figure.draw_without_rendering()
    inner = axes.get_window_extent()
    places = axes.transData.transform([(x, y) for _, x, y in points])
    side = 3.2 * figure.dpi / 72
    taken = [(x - side, y - side, x + side, y + side) for x, y in places]
    if line is not None:  # as boxes along it
        ends = axes.transData.transform(line)
        along = np.linspace(0, 1, int(np.ptp(ends, axis=0).max()) + 2)[:, None]
        taken += [(x - 2, y - 2, x + 2, y + 2) for x, y in ends[0] + along * (ends[1] - ends[0])]
    for name, x, y in points:
        for dx, dy, across, upward in (
            (5, 0, "left", "center"),
            (-5, 0, "right", "center"),
            (0, 4, "center", "bottom"),
            (0, -4, "center", "top"),
        ):
            label = axes.annotate(name, (x, y), (dx, dy), textcoords="offset points", ha=across, va=upward)
            label.set_in_layout(False)
            box = label.get_window_extent(renderer).extents
            inside = inner.x0 < box[0] and box[2] < inner.x1 and inner.y0 < box[1] and box[3] < inner.y1
            if inside and not any(b[0] < box[2] and box[0] < b[2] and b[1] < box[3] and box[1] < b[3] for b in taken):
                taken.append(tuple(box))
                break
            label.remove()


def roc_of(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False alarm and detection rates [points] from the highest threshold down; equal scores share one step."""
    levels = np.unique(np.concatenate([normal, anomalous]))[::-1]
    rates = [[(values >= level).mean() for level in levels] for values in (normal, anomalous)]
    return np.concatenate([[0], rates[0]]), np.concatenate([[0], rates[1]])
