"""How every figure of a paper looks: one column wide, legible in print, and the same to the byte when made twice.

Nothing of the user's matplotlib configuration, of the clock or of chance takes part. Names from records are drawn as
they are: mathematics is parsed only in labels that ask for it.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import accumulate
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from unsir_bench.report.method_style import GREY, method_style
from unsir_bench.report.plots.parts import FORGET_AXIS, RETAIN_AXIS

WIDTH = 3.4  # inches: one column of a two-column paper
FONT_SIZE = 7  # points, the smallest anywhere in a figure
TITLE_LETTERS = 62  # that fit into one column
DOTS_PER_INCH = 300
GRID = "#e3e6ea"
FORGET_LABEL, RETAIN_LABEL = (re.sub("A_(D[fr])", r"$A_{\\mathrm{\1}}$", label) for label in (FORGET_AXIS, RETAIN_AXIS))
RETAIN_LABEL_SHORT = r"$A_{\mathrm{Dr}}$, retained, %"
# What a PDF says of when it was made is left out: it would differ between two makes.
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None, "ModDate": None}, "png": {}}
LARGEST_SHADE = 0.7
HEAT = "cividis"  # the palette of heat maps, which colour-blind readers see as others do
LIGHT = 0.55  # share of the largest value above which a cell of this palette is light
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "figure.titlesize": FONT_SIZE,
    "figure.labelsize": FONT_SIZE,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.0,
    "legend.labelspacing": 0.3,
    "figure.dpi": 100,
    "pdf.fonttype": 42,
    "svg.hashsalt": "unsir-bench",
    "text.parse_math": False,
    "text.usetex": False,
}


@contextmanager
def style() -> Iterator[None]:
    """The look of the figures, within which they are both drawn and written."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(height: float, title: str) -> Figure:
    """An empty figure of one column.

    Args:
        height: inches.
        title: what the figure is of; wrapped to the column.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(shown(title, TITLE_LETTERS, lines=8), x=0.01, ha="left")
    return figure


def shown(name: str, letters: int, lines: int = 2) -> str:
    """A name from records as a figure can show it: in a few lines, without control characters.

    One that is too long for a line is broken at spaces and after underscores rather than within words.
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    if len(printable) > letters:
        printable = printable.replace("_", "_ ")
    return "\n".join(textwrap.wrap(printable, letters, max_lines=lines, placeholder=" …")).replace("_ ", "_") or "–"


def small_multiples(count: int, title: str, row_inches: float, x_label: str) -> tuple[Figure, list[Axes]]:
    """Panels in two columns that share both axes; numbers stand at the outer ones alone.

    Args:
        count: panels, at least one.
        title: what the figure is of.
        row_inches: height of a row of panels.
        x_label: under the panels of the lowest row.
    """
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = new_figure(1.0 + row_inches * rows, title)
    grid = figure.add_gridspec(rows, columns)
    panels: list[Axes] = []
    for place in range(count):
        first = panels[0] if panels else None
        panel = figure.add_subplot(grid[place // columns, place % columns], sharex=first, sharey=first)
        panel.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= count)
        if place >= columns * (rows - 1):
            panel.set_xlabel(x_label)
        panels.append(panel)
    return figure, panels


def row_height(labels: Sequence[str]) -> float:
    """Inches that each row of a figure needs for its label, all of which ``shown`` broke into lines."""
    return max(map(_label_height, labels))


def _label_height(label: str) -> float:
    return 0.29 if "\n" in label else 0.17


def label_rows(panel: Axes, labels: Sequence[str]) -> None:
    """One row per label, the first at the top, without room above and below."""
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")


def place_rows(labels: Sequence[str]) -> tuple[list[float], float]:
    """Rows as high as each one's label: the places of their middles in inches from the top, and the height of all."""
    ends = list(accumulate(map(_label_height, labels)))
    return [end - _label_height(label) / 2 for label, end in zip(labels, ends, strict=True)], ends[-1]


def picture(tile: Axes) -> None:
    """Turn a panel into a tile that holds an image and nothing else."""
    tile.set_xticks([])
    tile.set_yticks([])
    tile.grid(visible=False)
    tile.spines[:].set_visible(False)


def cell_numbers(panel: Axes, values: np.ndarray, largest: float, form: str = ".0f") -> None:
    """Write into each cell of a heat map its number, in black or white, whichever its colour sets off.

    Args:
        panel: holds the map, drawn with ``HEAT``.
        values: (rows, columns); NaN stays empty.
        largest: the value at the light end of the palette; 0 is at the dark end.
        form: of the numbers.
    """
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "black" if value > LIGHT * largest else "white"
            panel.text(column, row, f"{value:{form}}", ha="center", va="center", color=color)


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend under all panels, in as many columns as its longest label leaves room for."""
    words = [shown(label, 50) for label in labels]
    longest = max(len(line) for label in words for line in label.split("\n"))
    columns = max(1, min(4, len(labels), 66 // (longest + 6)))
    figure.legend(list(handles), words, loc="outside lower center", ncols=columns)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers at its major ticks; matplotlib's own would need mathematics."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def roomy(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that holds every mean: intervals of few seeds may reach far beyond 0 and 100 %."""
    room = max(0.08 * (max(values) - min(values)), 0.5)
    return min(values) - room, max(values) + room


def shade(color: str, rank: int, count: int) -> tuple[float, float, float]:
    """One of ``count`` lighter tones of a colour: 0 is the colour itself."""
    share = LARGEST_SHADE * rank / max(count - 1, 1)
    red, green, blue = (channel + (1 - channel) * share for channel in to_rgb(color))
    return red, green, blue


def tones(methods: Sequence[str]) -> list[tuple[float, float, float]]:
    """A colour for each series by the name of its method: of several settings each is lighter than the one before."""
    seen, peers = Counter[str](), Counter(methods)
    found = []
    for method in methods:
        found.append(shade(method_style(method).color, seen[method], peers[method]))
        seen[method] += 1
    return found


def rendered(figure: Figure) -> dict[str, bytes]:
    """A figure that was drawn within ``style``, as the content of its files by suffix: PDF and PNG."""
    # Laid out once, for both formats alike.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    files = {kind: BytesIO() for kind in METADATA}
    for kind, content in files.items():
        figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, metadata=METADATA[kind])
    return {kind: content.getvalue() for kind, content in files.items()}
