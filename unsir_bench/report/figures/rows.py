"""Figures with a row a method and a column a measure: estimates with whole intervals, before retrain's band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator

from unsir_bench.report.data import Series
from unsir_bench.report.figures.data import Scene
from unsir_bench.report.figures.style import new_figure, place_rows, plain_numbers, shown, tones
from unsir_bench.report.method_style import method_style

LABEL_LETTERS = 22
APART = 0.55  # of a column's width, what two numbers at an axis need between them
BAND = "#c9d3dc"
HEAD_INCHES = 1.35  # for titles and axes


class Estimate(NamedTuple):
    """A mean over ``n`` seeds with the ends of its interval, which are NaN where there is none."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or the mean itself where there is none."""
        return (self.mean, self.mean) if math.isnan(self.low) else (self.low, self.high)


@dataclass(frozen=True)
class Measure:
    """A column.

    Attributes:
        name: of its columns in the table beside the figure.
        title: above it; mathematics is parsed.
        estimates: by the series' label, those that have one.
        logarithmic: whether the axis is.
        ends: what the ends of an estimate are called in that table.
    """

    name: str
    title: str
    estimates: Mapping[str, Estimate]
    logarithmic: bool = False
    ends: tuple[str, str] = ("low", "high")


def method_rows(title: str, scene: Scene, rows: Sequence[Series], measures: Sequence[Measure]) -> Figure:
    """One panel a measure; a point with its interval for each series that has an estimate.

    Args:
        title: what the figure is of.
        scene: tells controls, which have open markers.
        rows: from the top.
        measures: columns from the left, at least one.
    """
    labels = [shown(scene.marked(row.label), LABEL_LETTERS) for row in rows]
    colors = tones([row.method for row in rows])
    looks = [_Look(row, row.label in scene.controls, color) for row, color in zip(rows, colors, strict=True)]
    places, height = place_rows(labels)
    figure = new_figure(HEAD_INCHES + height, title)
    panels: Any = figure.subplots(1, len(measures), sharey=True, squeeze=False)
    for panel, measure in zip(panels[0], measures, strict=True):
        _draw_column(panel, list(zip(places, looks, strict=True)), measure)
    panels[0][0].set_yticks(places, labels)
    panels[0][0].set_ylim(height, 0)
    for panel in panels[0]:
        panel.grid(visible=True, axis="y")  # leads the eye across the columns
    return figure


class _Look(NamedTuple):
    """How a row is drawn."""

    series: Series
    control: bool
    color: tuple[float, float, float]


def _draw_column(panel: Axes, looks: Sequence[tuple[float, _Look]], measure: Measure) -> None:
    if measure.logarithmic:
        panel.set_xscale("log")
    # Set first: a line or a band of no width would make matplotlib choose limits of its own, and warn.
    low, high = _room([end for found in measure.estimates.values() for end in found.ends], measure.logarithmic)
    panel.set_xlim(low, high)
    if (retrain := measure.estimates.get("retrain")) is not None:
        panel.axvspan(*retrain.ends, color=BAND, alpha=0.6, linewidth=0, zorder=0.5)
        panel.axvline(retrain.mean, color="black", linewidth=0.6, zorder=1)
    for place, look in looks:
        if (found := measure.estimates.get(look.series.label)) is not None:
            _draw_point(panel, place, look, found)
    panel.set_title(measure.title, parse_math=True)
    panel.tick_params(axis="y", length=0)
    if measure.logarithmic:
        panel.xaxis.set_major_locator(FixedLocator(_log_ticks(low, high)))
        plain_numbers(panel.xaxis)
    else:
        panel.xaxis.set_major_locator(FixedLocator(_linear_ticks(low, high)))


def _linear_ticks(low: float, high: float) -> list[float]:
    """The first and the last of few round numbers, of more where those would run into each other."""
    within: list[float] = []
    for bins in (2, 4, 8):
        found = MaxNLocator(bins, steps=[1, 2, 2.5, 4, 5, 10]).tick_values(low, high)
        within = [float(tick) for tick in found if low <= tick <= high]
        if within[-1] - within[0] >= APART * (high - low):
            break
    return [within[0], within[-1]]


def _log_ticks(low: float, high: float) -> list[float]:
    """The first and the last power of ten where they stand apart, else the like with threes between them, else one."""
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 3, 5)):
        found = [float(tick) for tick in LogLocator(base=10, subs=steps, numticks=50).tick_values(low, high)]
        found = [tick for tick in found if low < tick < high]
        if len(found) > 1 and math.log(found[-1] / found[0]) >= APART * math.log(high / low):
            return [found[0], found[-1]]
    return found[len(found) // 2 :][:1]


def _draw_point(panel: Axes, place: float, look: _Look, found: Estimate) -> None:
    shape, color = method_style(look.series.method).marker, look.color
    low, high = found.ends
    panel.plot([low, high], [place, place], color=color, linewidth=0.9, solid_capstyle="butt", zorder=2)
    face = "white" if look.control else color
    marker: dict[str, Any] = {"marker": shape, "markerfacecolor": face, "markeredgecolor": color}
    panel.plot(found.mean, place, linestyle="none", markersize=4, markeredgewidth=0.7, zorder=3, **marker)


def _room(ends: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """The ends of an axis that holds all intervals whole, with room for the markers at them."""
    low, high = min(ends), max(ends)
    if logarithmic:
        factor = (high / low) ** 0.08 if high > low else 2.0
        return low / factor, high * factor
    room = 0.08 * (high - low) or 0.5
    return low - room, high + room
