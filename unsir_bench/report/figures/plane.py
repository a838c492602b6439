"""Figure: both accuracies over the plane of the two numeric settings in which the runs of a method differ."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from unsir_bench.report.data import Series
from unsir_bench.report.figures.data import Drawing, Kind, Scene, values_of
from unsir_bench.report.figures.style import (
    FORGET_LABEL,
    HEAT,
    RETAIN_LABEL_SHORT,
    cell_numbers,
    legend_below,
    new_figure,
    roomy,
    shade,
    shown,
)
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.parts import PERCENT
from unsir_bench.report.samples import ShareInterval

MAPS = {"forget": ("a_df_percent", r"$A_{\mathrm{Df}}$"), "retain": ("a_dr_percent", r"$A_{\mathrm{Dr}}$")}
BESIDE = 5  # columns that two heat maps have room for side by side
DASHES: Sequence[Any] = ("-", (0, (4, 1)), (0, (1, 1)), (0, (4, 1, 1, 1)))
STATUS_MARKS = {"diverged": "div.", "failed": "fail", "skipped": "skip"}  # in cells without a result
SMALLEST, LARGEST = 3.5, 7.5  # points, of a marker

Pair = tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """What a method's runs tried.

    Attributes:
        settings: names of the two, in the order of the configuration.
        tried: the finished runs of each pair of values.
        unfinished: statuses of the runs of each pair that are not done.
    """

    method: str
    settings: tuple[str, str]
    tried: dict[Pair, Series]
    unfinished: dict[Pair, list[str]]

    def axis(self, place: int) -> list[float]:
        """The values of one of the settings, in order; tried by unfinished runs alone, too."""
        return sorted({pair[place] for pair in (*self.tried, *self.unfinished)})


def draw(scene: Scene) -> Iterator[Drawing]:
    """Two heat maps of the means over seeds, and under them A_Dr against A_Df, a point per pair of values.

    One figure per method whose runs differ in two numeric settings and no other, with two or more values of each.
    Lines join the pairs of equal first setting, in the order of the second, with which markers grow. A pair without a
    finished run shows the status of those it has, or a dash.
    """
    for plane in _planes(scene):
        table = _table(plane, scene)
        counts = [int(count) for count in table["n"] if count]
        notes = (plane.method, "means over seeds" if max(counts) > 1 else "")
        figure = _figure(scene.title(counts, *notes), plane, table)
        handles = _draw_trade_off(figure.axes[2], plane, table, scene.series)
        legend_below(figure, *zip(*handles, strict=True))
        yield Drawing(f"plane-{plane.method}-{'-'.join(plane.settings)}", figure, table)


def _planes(scene: Scene) -> Iterator[Plane]:
    by_method: dict[str, list[Series]] = defaultdict(list)
    for one in scene.series:
        by_method[one.method].append(one)
    for method, members in by_method.items():
        parsed = [_pair(one.setting) for one in members]
        settings = parsed[0][0]
        tried = {pair: one for (_, pair), one in zip(parsed, members, strict=True) if _measured(one)}
        if len(settings) != 2 or any(names != settings for names, _ in parsed) or not tried:
            continue
        unfinished: dict[Pair, list[str]] = defaultdict(list)
        for run in scene.runs(done=False):
            if run.record.method == method:
                names, pair = _pair(run.label.removeprefix(f"{method} (").removesuffix(")"))
                if names == settings:
                    unfinished[pair].append(run.record.status)
        plane = Plane(method, (settings[0], settings[1]), tried, dict(unfinished))
        # Pairs tried on different seeds could differ by the seed alone: some seed must have tried them all.
        seeds = set.intersection(*(set(one.values["seed"]) for one in tried.values()))
        if len(plane.axis(0)) > 1 and len(plane.axis(1)) > 1 and seeds:
            yield plane


def _pair(setting: str) -> tuple[tuple[str, ...], Pair]:
    """Names and values of two numeric settings, as the tables word them; no names where it is something else."""
    parts = [part.partition("=") for part in setting.split(", ")]
    try:
        values = [float(value) for _, _, value in parts]
    except ValueError:
        return (), (math.nan, math.nan)
    if len(values) != 2 or not all(map(math.isfinite, values)):
        return (), (math.nan, math.nan)
    return tuple(name for name, _, _ in parts), (values[0], values[1])


def _measured(one: Series) -> bool:
    return all(values_of(one, f"acc_{kind}_test") for kind in MAPS)


def _table(plane: Plane, scene: Scene) -> pd.DataFrame:
    rows = []
    for first in plane.axis(0):
        for second in plane.axis(1):
            row: dict[str, Any] = {"method": plane.method, plane.settings[0]: first, plane.settings[1]: second}
            statuses = plane.unfinished.get((first, second), [])
            row |= {"n": 0, "not_done": ", ".join(sorted(statuses))}
            rows.append(row | _means(plane.tried.get((first, second)), scene))
    return pd.DataFrame(rows)


def _means(one: Series | None, scene: Scene) -> dict[str, float]:
    """Both accuracies of a pair with their intervals, and the seeds that have both; NaN where none was tried."""
    found: dict[str, float] = {}
    for kind, (name, _) in MAPS.items():
        interval, n = scene.percent(one, f"acc_{kind}_test") if one else (ShareInterval(*[math.nan] * 3), 0)
        found |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        found["n"] = min(found.get("n", n), n)
    return found


def _figure(title: str, plane: Plane, table: pd.DataFrame) -> Figure:
    rows, columns = len(plane.axis(0)), len(plane.axis(1))
    beside = columns <= BESIDE
    heights = [0.55 + 0.19 * rows] * (1 if beside else 2)
    figure = new_figure(1.2 + sum(heights) + 2.2, title)
    grid = figure.add_gridspec(len(heights) + 1, 2 if beside else 1, height_ratios=[*heights, 2.2])
    maps = [figure.add_subplot(grid[0, place] if beside else grid[place, 0]) for place in range(2)]
    for place, (panel, (name, words)) in enumerate(zip(maps, MAPS.values(), strict=True)):
        _draw_map(panel, plane, table[name].to_numpy().reshape(rows, columns))
        panel.set_title(f"{words}, test, %", parse_math=True)
        panel.tick_params(labelleft=place == 0 or not beside)
        if place == 0 or not beside:
            panel.set_ylabel(shown(plane.settings[0], 24))
    figure.add_subplot(grid[-1, :])
    bar = figure.colorbar(ScalarMappable(Normalize(0, PERCENT), HEAT), ax=maps, pad=0.02, aspect=12 if beside else 30)
    bar.set_label("test accuracy, %")
    return figure


def _draw_map(panel: Axes, plane: Plane, percent: NDArray[Any]) -> None:
    panel.imshow(percent, cmap=HEAT, vmin=0, vmax=PERCENT, aspect="auto", interpolation="nearest")
    cell_numbers(panel, percent, PERCENT)
    first, second = plane.axis(0), plane.axis(1)
    for row, column in zip(*np.nonzero(np.isnan(percent)), strict=True):
        statuses = plane.unfinished.get((first[row], second[column]), ["–"])
        panel.text(column, row, STATUS_MARKS.get(statuses[0], statuses[0]), ha="center", va="center")
    panel.grid(visible=False)
    panel.set_yticks(range(len(first)), [f"{value:g}" for value in first])
    panel.set_xticks(range(len(second)), [f"{value:g}" for value in second], rotation=45)
    panel.set_xlabel(shown(plane.settings[1], 24))


def _draw_trade_off(
    panel: Axes, plane: Plane, table: pd.DataFrame, series: Sequence[Series]
) -> list[tuple[Line2D, str]]:
    """Draw A_Dr against A_Df; returns what the legend shows."""
    style, first, second = method_style(plane.method), plane.axis(0), plane.axis(1)
    sizes = dict(zip(second, np.linspace(SMALLEST, LARGEST, len(second)), strict=True))
    handles = []
    for rank, value in enumerate(first):
        points = table[(table[plane.settings[0]] == value) & (table["n"] > 0)]
        # The highest first setting in the full colour.
        look: dict[str, Any] = {"color": shade(style.color, len(first) - 1 - rank, len(first))}
        dashes = DASHES[rank % len(DASHES)]
        panel.plot(points["a_df_percent"], points["a_dr_percent"], linewidth=0.8, linestyle=dashes, **look)
        edge: dict[str, Any] = {
            "marker": style.marker,
            "linestyle": "none",
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }
        for _, point in points.iterrows():
            size = sizes[float(point[plane.settings[1]])]
            panel.plot(point["a_df_percent"], point["a_dr_percent"], markersize=size, **edge, **look)
        handles.append(
            (Line2D([], [], linestyle=dashes, marker=style.marker, **look), f"{plane.settings[0]} {value:g}")
        )
    retrain = _retrain(panel, series)
    panel.set_xlim(*roomy([float(value) for line in panel.lines for value in np.asarray(line.get_xdata())]))
    panel.set_ylim(*roomy([float(value) for line in panel.lines for value in np.asarray(line.get_ydata())]))
    panel.set_xlabel(FORGET_LABEL, parse_math=True)
    panel.set_ylabel(RETAIN_LABEL_SHORT, parse_math=True)
    panel.set_title(shown(f"larger marker: higher {plane.settings[1]}", 60), loc="left")
    return [*handles, *retrain]


def _retrain(panel: Axes, series: Sequence[Series]) -> list[tuple[Line2D, str]]:
    found = [[values_of(one, f"acc_{kind}_test", PERCENT) for kind in MAPS] for one in series if one.label == "retrain"]
    if not found or not all(found[0]):
        return []
    style = method_style("retrain")
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": "none", "markersize": 5}
    forget, retain = (sum(values) / len(values) for values in found[0])
    (handle,) = panel.plot(forget, retain, zorder=4, **look)
    return [(handle, "retrain")]


PLANE = Kind(
    "plane",
    draw,
    "a method whose runs differ in exactly two numeric settings: a sweep over both, such as "
    "unsir-bench -m experiment=ablation_learning_rates, records it with every metrics preset",
)
