"""How many times faster than retraining each method is, interactive."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.report.html.plot_parts import (
    Plot,
    escaped,
    interval_words,
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
from unsir_bench.report.run_series import Place, Series
from unsir_bench.report.statistics import MeanInterval, mean_interval

Bar = tuple[MeanInterval, Series, pd.DataFrame]


def speedups(series: Sequence[Series]) -> Plot:
    """How many times faster than retraining each method is: bars on a logarithmic axis that start at 1."""
    by_place: dict[Place, list[Bar]] = defaultdict(list)
    for one in series:
        known = with_values(one, "speedup_vs_retrain")
        positive = known[known["speedup_vs_retrain"] > 0] if not known.empty else known
        if not positive.empty:
            by_place[one.place].append((mean_interval(positive["speedup_vs_retrain"].tolist()), one, positive))
    traces = []
    for place, bars in by_place.items():
        ordered = sorted(bars, key=lambda item: item[0].mean)
        traces += [_speed_bars(place, ordered), _speed_means(place, ordered), _speed_runs(place, ordered)]
    set_ranges(traces, "x", _roomy_logarithm)
    tallest = max((len(bars) for bars in by_place.values()), default=0)
    layout = page_layout(
        xaxis={"type": "log", "title": {"text": "retraining time / method's time"}, "dtick": "D2"},
        yaxis={"automargin": True, "showgrid": False, "tickfont": {"size": 12}},
        height=130 + 24 * tallest,
        showlegend=False,
        bargap=0.35,
    )
    return titled_plot(
        "speed-up",
        "Speed-up over retraining",
        "Mean over seeds with 95 % interval; small markers are runs, a click opens the record. 1 is as slow as "
        "retraining. Where retraining itself takes seconds, no method can be much faster.",
        "No run has a speed-up: it needs the time of retraining (retrain_reference=true, the default).",
        traces,
        layout,
    )


def _speed_bars(place: Place, bars: Sequence[Bar]) -> go.Bar:
    return go.Bar(
        orientation="h",
        base=[1.0] * len(bars),
        x=[interval.mean - 1 for interval, _, _ in bars],
        y=[escaped(one.label) for _, one, _ in bars],
        marker={"color": [method_style(one.method).color for _, one, _ in bars], "opacity": 0.55},
        hoverinfo="skip",
        meta=shown_for(place),
    )


def _speed_means(place: Place, bars: Sequence[Bar]) -> go.Scatter:
    halves = [interval.half_width if math.isfinite(interval.half_width) else 0.0 for interval, _, _ in bars]
    # A lower end at or below 0 lies infinitely far left of a logarithmic axis: it is drawn to a hundredth of the mean.
    lower = [min(half, 0.99 * interval.mean) for half, (interval, _, _) in zip(halves, bars, strict=True)]
    hover = [
        f"<b>{escaped(one.label)}</b><br>{interval_words(mean, '×')}<br>{run_ids(values)}" for mean, one, values in bars
    ]
    return go.Scatter(
        x=[interval.mean for interval, _, _ in bars],
        y=[escaped(one.label) for _, one, _ in bars],
        mode="markers",
        marker={"color": "#222222", "symbol": "line-ns-open", "size": 13, "line": {"width": 2}},
        error_x={"type": "data", "array": halves, "arrayminus": lower, "color": "#222222", "thickness": 1, "width": 3},
        customdata=[[words, only_link(values), one.label] for words, (_, one, values) in zip(hover, bars, strict=True)],
        hovertemplate="%{customdata[0]}<extra></extra>",
        meta=shown_for(place),
    )


def _speed_runs(place: Place, bars: Sequence[Bar]) -> go.Scatter:
    points = [
        (value, one, point)
        for _, one, values in bars
        for value, point in zip(values["speedup_vs_retrain"], run_points(one, values), strict=True)
    ]
    styles = [method_style(one.method) for _, one, _ in points]
    return go.Scatter(
        x=[value for value, _, _ in points],
        y=[escaped(one.label) for _, one, _ in points],
        mode="markers",
        marker={"color": [style.color for style in styles], "symbol": [style.symbol for style in styles], "size": 7}
        | {"line": {"color": "white", "width": 0.5}},
        customdata=[point for _, _, point in points],
        hovertemplate="%{customdata[0]}: %{x:.3g} ×<extra></extra>",
        meta=shown_for(place),
    )


def _roomy_logarithm(values: Sequence[float]) -> tuple[float, float]:
    """The ends as Plotly wants them for a logarithmic axis: as powers of ten; 1, where bars start, lies between."""
    return math.log10(min([0.8, *values])) - 0.12, math.log10(max([1.25, *values])) + 0.2
