"""Figure: retain against forget accuracy, a point per method, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from unsir_bench.report.figures.data import Drawing, Kind, Scene, half_width, over_seeds
from unsir_bench.report.figures.style import (
    FORGET_LABEL,
    RETAIN_LABEL,
    RETAIN_LABEL_SHORT,
    label_rows,
    new_figure,
    roomy,
    row_height,
    shade,
    shown,
)
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.parts import EVERY_PRESET
from unsir_bench.report.plots.trade_off import Point, trade_off
from unsir_bench.report.statistics import MeanInterval

FRONT = "#444444"


def draw(scene: Scene) -> Iterator[Drawing]:
    """Mean A_Dr against mean A_Df with 95 % intervals over seeds; the front is that of methods that forget.

    Many points stack at an A_Df of 0: a second panel gives each method a row of its own, ordered by A_Dr, and so is
    the legend too.
    """
    points = trade_off(scene.series)
    if not points:
        return
    counts = [point.forget.n for point in points]
    ranked = sorted(points, key=lambda point: (-point.retain.mean, point.forget.mean, point.series.label))
    labels = [shown(point.series.label, 28) for point in ranked]
    rows = row_height(labels) * len(labels)
    figure = new_figure(2.9 + rows, scene.title(counts, over_seeds(counts)))
    plane, key = figure.subplots(2, 1, height_ratios=[1.7, rows])
    _draw_plane(plane, points)
    _draw_key(key, ranked, labels)
    yield Drawing("trade_off", figure, _table(points))


def _draw_plane(panel: Axes, points: Sequence[Point]) -> None:
    front = sorted((point.forget.mean, point.retain.mean) for point in points if point.front)
    if front:
        panel.step(*zip(*front, strict=True), where="post", color=FRONT, linewidth=0.8, linestyle=":")
    # The first stand in front: retraining, which all are compared with, must not be hidden.
    for depth, point in enumerate(reversed(points), start=3):
        bars = {"xerr": half_width(point.forget), "yerr": half_width(point.retain)}
        _draw_point(panel, point.forget.mean, point.retain.mean, point, zorder=depth, **bars)
    panel.set_xlabel(FORGET_LABEL, parse_math=True)
    panel.set_ylabel(RETAIN_LABEL_SHORT, parse_math=True)
    panel.set_xlim(*roomy([point.forget.mean for point in points]))
    panel.set_ylim(*roomy([point.retain.mean for point in points]))


def _draw_key(panel: Axes, points: Sequence[Point], labels: Sequence[str]) -> None:
    """A row per point, with its name on the left and its A_Df on the right: tells apart what stacks in the plane."""
    for place, point in enumerate(points):
        _draw_point(panel, point.retain.mean, place, point, zorder=3, xerr=half_width(point.retain))
        words = f"{point.forget.mean:.1f}" + (" *" if point.front else "")
        panel.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    label_rows(panel, labels)
    panel.set_xlim(*roomy([point.retain.mean for point in points]))
    panel.set_xlabel(RETAIN_LABEL, parse_math=True)
    forget = r"$A_{\mathrm{Df}}$, %" + "\n* Pareto front, ringed"
    panel.set_title(forget, loc="right", parse_math=True)


def _draw_point(panel: Axes, x: float, y: float, point: Point, zorder: float, **bars: Any) -> None:
    look = _look(point)
    panel.errorbar(x, y, elinewidth=0.6, ecolor=(*look["color"], 0.6), zorder=zorder, **bars, **look)
    if point.front:
        ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "markeredgecolor": FRONT}
        panel.plot(x, y, linestyle="none", markeredgewidth=0.7, zorder=2.5, **ring)


def _look(point: Point) -> dict[str, Any]:
    style = method_style(point.series.method)
    look = {"color": shade(style.color, point.rank, point.peers), "marker": style.marker, "linestyle": "none"}
    return {
        **look,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
        "markersize": 6 if point.series.reference else 5,
    }


def _table(points: Sequence[Point]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": point.series.label,
            "n": point.forget.n,
            **_columns("a_df_percent", point.forget),
            **_columns("a_dr_percent", point.retain),
            "pareto_front": point.front,
        }
        for point in points
    )


def _columns(name: str, interval: MeanInterval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


TRADE_OFF = Kind("trade_off", draw, f"accuracies on forgotten and retained test data: {EVERY_PRESET}")
