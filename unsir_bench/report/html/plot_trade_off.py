"""Retain against forget accuracy, interactive: a point per method with intervals, and one per run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.report.html.plot_parts import (
    Plot,
    escaped,
    interval_words,
    marker_style,
    only_link,
    page_layout,
    run_ids,
    run_points,
    set_ranges,
    shown_for,
    titled_plot,
    with_values,
)
from unsir_bench.report.method_style import method_style
from unsir_bench.report.run_series import Series
from unsir_bench.report.statistics import MeanInterval, mean_interval


def trade_off(series: Sequence[Series]) -> Plot:
    """Retain against forget accuracy on test data: a point per method with intervals, and one per run."""
    traces: list[go.Scatter] = []
    # The first stand in front: retraining, which all are compared with, must not be hidden.
    for rank, one in reversed(list(enumerate(series))):
        known = with_values(one, "acc_forget_test", "acc_retain_test")
        if not known.empty:
            percent = known.assign(x=100 * known["acc_forget_test"], y=100 * known["acc_retain_test"])
            traces += [_runs_trace(one, percent), _mean_trace(one, percent, rank)]
    set_ranges(traces, "y", _roomy)
    layout = page_layout(
        xaxis={"title": {"text": "A<sub>Df</sub>: test accuracy on forgotten classes, %"}, "range": [-4, 104]},
        yaxis={"title": {"text": "A<sub>Dr</sub>: test accuracy on retained classes, %"}},
        height=580,
    )
    return titled_plot(
        "trade-off",
        "Retain against forget accuracy",
        "Large markers: mean over seeds with 95 % intervals (Student's t). Small ones: single runs, a click opens the "
        "record. Good is where retraining is, not the upper left corner. Intervals of few seeds may reach beyond 0 and "
        "100 %. Drag to zoom in; a click in the legend hides a method, a double click shows it alone.",
        "No run has both accuracies on test data.",
        traces,
        layout,
    )


def _runs_trace(one: Series, values: pd.DataFrame) -> go.Scatter:
    style = method_style(one.method)
    return go.Scatter(
        x=values["x"].tolist(),
        y=values["y"].tolist(),
        mode="markers",
        marker={"color": style.color, "symbol": style.symbol, "size": 6, "opacity": 0.45},
        customdata=run_points(one, values),
        hovertemplate="%{customdata[0]}<br>A<sub>Df</sub> %{x:.2f} %, A<sub>Dr</sub> %{y:.2f} %<extra></extra>",
        legendgroup=one.label,
        showlegend=False,
        meta=shown_for(one.place),
    )


def _mean_trace(one: Series, values: pd.DataFrame, rank: int) -> go.Scatter:
    style = method_style(one.method)
    x, y = (mean_interval(values[axis].tolist()) for axis in ("x", "y"))
    accuracies = [f"A<sub>{name}</sub> {interval_words(value, '%')}" for name, value in (("Df", x), ("Dr", y))]
    hover = "<br>".join([f"<b>{escaped(one.label)}</b>", *accuracies, run_ids(values)])
    return go.Scatter(
        x=[x.mean],
        y=[y.mean],
        error_x=_bar(x),
        error_y=_bar(y),
        mode="markers",
        marker=marker_style(style, 12),
        name=escaped(one.label),
        legendgroup=one.label,
        legendrank=rank + 1,
        customdata=[[hover, only_link(values), one.label]],
        hovertemplate="%{customdata[0]}<extra></extra>",
        meta=shown_for(one.place),
    )


def _bar(interval: MeanInterval) -> dict[str, Any]:
    shown = math.isfinite(interval.half_width)
    return {
        "type": "data",
        "array": [interval.half_width if shown else 0.0],
        "visible": shown,
        "thickness": 1,
        "width": 3,
    }


def _roomy(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), 0.5)
    return low - room, high + room
