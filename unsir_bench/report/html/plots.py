"""The interactive plots of a sweep, as Plotly figures; every trace says for which choice on the page it is shown.

Nothing is averaged over data sets, models or forget sets: each trace belongs to one *place*, a data set, model and
forget set. Text from records is escaped, since Plotly reads a subset of HTML in names, ticks and hover boxes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.report.data import Place, series_of
from unsir_bench.report.html.plot_parts import (
    FAST,
    Choice,
    Plot,
    axis_words,
    behind,
    escaped,
    in_template,
    leads_to,
    line_style,
    marker_style,
    method_choice,
    only_link,
    page_layout,
    rows_of,
    run_ids,
    seed_points,
    set_ranges,
    shown_for,
    shown_with,
    significant,
    speed_words,
    titled_plot,
)
from unsir_bench.report.html.relearning_plot import relearning_plot
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.bars import Bar, bars
from unsir_bench.report.plots.layer_distances import distances, moved
from unsir_bench.report.plots.parts import FORGET_AXIS, RETAIN_AXIS, Entry, entries, places
from unsir_bench.report.plots.predictions import share_map, shares
from unsir_bench.report.plots.trade_off import Point, trade_off
from unsir_bench.report.samples import ShareInterval

SPEEDUP = "speedup_vs_retrain"
ACCURACIES = ("acc_forget_test", "acc_retain_test")
SEEDS = "single runs, of which a click opens the record, or the mean of a seed's runs where it has several"
Places = Mapping[Place, pd.DataFrame]


def plots(table: pd.DataFrame) -> list[Plot]:
    """Every plot of a sweep.

    Args:
        table: its ``model_table``, with a column ``link`` to each run's record.
    """
    by_place = places(table[table["status"] == "done"])
    return [
        *(draw(by_place) for draw in (_trade_off, _speedups, _layer_distances)),
        relearning_plot(by_place, _methods(by_place)),
        _predictions(by_place),
    ]


def _trade_off(by_place: Places) -> Plot:
    """Retain against forget accuracy on test data: a point per method with intervals, and one per run."""
    traces: list[go.Scatter] = []
    for rows in by_place.values():
        # The first stand in front: retraining, which all are compared with, must not be hidden.
        for rank, point in reversed(list(enumerate(trade_off(series_of(rows))))):
            traces += [_runs_trace(point), _mean_trace(point, rank)]
    set_ranges(traces, "y", _roomy)
    layout = page_layout(
        xaxis={"title": {"text": axis_words(FORGET_AXIS)}, "range": [-4, 104]},
        yaxis={"title": {"text": axis_words(RETAIN_AXIS)}},
        height=580,
    )
    return titled_plot(
        "trade-off",
        "Retain against forget accuracy",
        "Large markers: mean over seeds with 95 % intervals, no narrower than the test samples allow. Small ones: "
        f"{SEEDS}. Good is where retraining is, not the upper left corner. Drag to zoom in; a click in the legend "
        "hides a method, a double click shows it alone.",
        "No run has both accuracies on test data.",
        traces,
        layout,
    )


def _runs_trace(point: Point) -> go.Scatter:
    style = method_style(point.series.method)
    return go.Scatter(
        x=point.values["x"].tolist(),
        y=point.values["y"].tolist(),
        mode="markers",
        marker={"color": style.color, "symbol": style.symbol, "size": 6, "opacity": 0.45},
        customdata=seed_points(point.series, point.values, behind(point.series, *ACCURACIES)),
        hovertemplate="%{customdata[0]}<br>A<sub>Df</sub> %{x:.2f} %, A<sub>Dr</sub> %{y:.2f} %<extra></extra>",
        legendgroup=point.series.label,
        showlegend=False,
        meta=shown_for(point.series.place),
    )


def _mean_trace(point: Point, rank: int) -> go.Scatter:
    label, n = point.series.label, len(point.values)
    runs = behind(point.series, *ACCURACIES)
    shares = [f"A<sub>{name}</sub> {words} % (n = {n})" for name, words in zip(("Df", "Dr"), point.words, strict=True)]
    hover = "<br>".join([f"<b>{escaped(label)}</b>", *shares, run_ids(runs)])
    return go.Scatter(
        x=[point.forget.mean],
        y=[point.retain.mean],
        error_x=_error(point.forget),
        error_y=_error(point.retain),
        mode="markers",
        marker=marker_style(method_style(point.series.method), 12),
        name=escaped(label),
        legendgroup=label,
        legendrank=rank + 1,
        customdata=[[hover, only_link(runs), *rows_of(point.series)]],
        hovertemplate="%{customdata[0]}<extra></extra>",
        meta=shown_for(point.series.place),
    )


def _error(interval: ShareInterval) -> dict[str, Any]:
    shown = math.isfinite(interval.low)
    above, below = (interval.high - interval.mean, interval.mean - interval.low) if shown else (0.0, 0.0)
    look = {"visible": shown, "thickness": 1, "width": 3}
    return {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below], **look}


def _roomy(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), 0.5)
    return low - room, high + room


def _speedups(by_place: Places) -> Plot:
    """How many times faster than retraining each method is: bars on a logarithmic axis that start at 1."""
    found = {place: bars(series_of(rows), SPEEDUP) for place, rows in by_place.items()}
    traces = [
        draw(place, ordered)
        for place, ordered in found.items()
        if ordered
        for draw in (_speed_bars, _speed_means, _speed_runs)
    ]
    set_ranges(traces, "x", _roomy_logarithm)
    layout = page_layout(
        xaxis={"type": "log", "title": {"text": "retraining time / method's time"}, "dtick": "D2"},
        yaxis={"automargin": True, "showgrid": False, "tickfont": {"size": 12}},
        height=130 + 24 * max(map(len, found.values()), default=0),
        showlegend=False,
        bargap=0.35,
    )
    return titled_plot(
        "speed-up",
        "Speed-up over retraining",
        f"Geometric mean over seeds with 95 % interval. Small markers: {SEEDS}. 1 is as slow as retraining. Where "
        "retraining itself takes seconds, no method can be much faster.",
        "No run has a speed-up: it needs the time of retraining (retrain_reference=true, the default).",
        traces,
        layout,
    )


def _speed_bars(place: Place, ordered: Sequence[Bar]) -> go.Bar:
    return go.Bar(
        orientation="h",
        base=[1.0] * len(ordered),
        x=[bar.mean - 1 for bar in ordered],
        y=[escaped(bar.series.label) for bar in ordered],
        marker={"color": [method_style(bar.series.method).color for bar in ordered], "opacity": 0.55},
        hoverinfo="skip",
        meta=shown_for(place),
    )


def _speed_means(place: Place, ordered: Sequence[Bar]) -> go.Scatter:
    lower = [0.0 if math.isnan(bar.low) else bar.mean - bar.low for bar in ordered]
    upper = [0.0 if math.isnan(bar.high) else bar.high - bar.mean for bar in ordered]
    behind_each = [behind(bar.series, SPEEDUP) for bar in ordered]
    return go.Scatter(
        x=[bar.mean for bar in ordered],
        y=[escaped(bar.series.label) for bar in ordered],
        mode="markers",
        marker={"color": "#222222", "symbol": "line-ns-open", "size": 13, "line": {"width": 2}},
        error_x={"type": "data", "array": upper, "arrayminus": lower, "color": "#222222", "thickness": 1, "width": 3},
        customdata=[
            [
                f"<b>{escaped(bar.series.label)}</b><br>{speed_words(bar.values[SPEEDUP].tolist())}<br>"
                + run_ids(runs),
                only_link(runs),
                *rows_of(bar.series),
            ]
            for bar, runs in zip(ordered, behind_each, strict=True)
        ],
        hovertemplate="%{customdata[0]}<extra></extra>",
        meta=shown_for(place),
    )


def _speed_runs(place: Place, ordered: Sequence[Bar]) -> go.Scatter:
    styles = [method_style(bar.series.method) for bar in ordered for _ in range(len(bar.values))]
    return go.Scatter(
        x=[value for bar in ordered for value in bar.values[SPEEDUP]],
        y=[escaped(bar.series.label) for bar in ordered for _ in range(len(bar.values))],
        mode="markers",
        marker={"color": [style.color for style in styles], "symbol": [style.symbol for style in styles], "size": 7}
        | {"line": {"color": "white", "width": 0.5}},
        customdata=[
            point for bar in ordered for point in seed_points(bar.series, bar.values, behind(bar.series, SPEEDUP))
        ],
        hovertemplate="%{customdata[0]}: %{x:.3g} ×<extra></extra>",
        meta=shown_for(place),
    )


def _roomy_logarithm(values: Sequence[float]) -> tuple[float, float]:
    """The ends as Plotly wants them for a logarithmic axis: as powers of ten; 1, where bars start, lies between."""
    return math.log10(min([0.8, *values])) - 0.12, math.log10(max([1.25, *values])) + 0.2


def _layer_distances(by_place: Places) -> Plot:
    """Distance of each layer's weights to those of the original or the retrained model, mean over seeds."""
    traces: list[go.Scatter] = []
    order: dict[str, int] = {}
    targets = []
    for target in ("original", "retrain"):
        before = len(traces)
        for place, rows in by_place.items():
            found = entries(rows, f"weight_distance_to_{target}")
            table = distances(found)
            order |= dict(zip(table["tensor"], table["place"], strict=True))
            means = moved(table)
            traces += [_layer_trace(place, one, means[one.label], target) for one in found if one.label in means]
        targets += [target] if len(traces) > before else []
    names = sorted(order, key=order.__getitem__)
    layout = page_layout(
        yaxis={"type": "log", "title": {"text": "‖W − W′‖₂ of the layer"}, "exponentformat": "power"},
        xaxis={
            "categoryorder": "array",
            "categoryarray": [escaped(name) for name in names],
            "tickangle": -60,
            "automargin": True,
            "tickfont": {"size": 10},
            "tickmode": "linear" if len(names) <= 64 else "auto",
        },
        height=560,
    )
    return titled_plot(
        "layers",
        "Weight distance by layer",
        "Euclidean distance of each parameter tensor to the chosen model's, mean over seeds; first layer on the left. "
        "A layer that did not move has no point on a logarithmic axis. Batch-norm statistics are left aside.",
        f"No run here has weight distances by layer: {FAST}",
        traces,
        layout,
        [_methods(by_place), Choice("to", "distance to", tuple(targets), targets[0] if targets else "")],
    )


def _methods(by_place: Places) -> Choice:
    """The list of methods to choose from: all but the references."""
    labels = {one.label: None for rows in by_place.values() for one in series_of(rows) if not one.reference}
    return method_choice(tuple(labels))


def _layer_trace(place: Place, entry: Entry, means: pd.DataFrame, target: str) -> go.Scatter:
    label = in_template(entry.label)
    return go.Scatter(
        x=list(map(escaped, means["tensor"])),
        y=list(map(significant, means["mean"])),
        mode="lines+markers",
        name=escaped(entry.label),
        hovertemplate=f"{label}<br>%{{x}}<br>%{{y:.3g}} (n = {len(entry.models)})<extra></extra>",
        meta=shown_for(place, to=target, **shown_with(entry)) | leads_to(entry),
        **line_style(entry, 7),
    )


def _predictions(by_place: Places) -> Plot:
    """Which retained class forgotten test samples are taken for: a row per model, mean share over seeds."""
    found = {place: entries(rows, "forget_predictions") for place, rows in by_place.items()}
    maps = {place: share_map(shares(models)) for place, models in found.items() if models}
    layout = page_layout(
        xaxis={"type": "category", "title": {"text": "retained class, by index"}, "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "showgrid": False},
        height=150 + 24 * max(map(len, maps.values()), default=0),
    )
    return titled_plot(
        "predictions",
        "What forgotten samples are taken for",
        "Share of each retained class among predictions for forgotten test samples, with forget classes ruled out; "
        "mean over seeds. The row to match is that of retraining.",
        f"No run here has the predictions for forgotten samples: {FAST}",
        [_prediction_map(place, means, found[place]) for place, means in maps.items()],
        layout,
    )


def _prediction_map(place: Place, means: pd.DataFrame, found: Sequence[Entry]) -> go.Heatmap:
    labels, classes = list(map(str, means.index)), list(map(str, means.columns))
    chosen = {entry.label: rows_of(entry) for entry in found}
    return go.Heatmap(
        x=classes,
        y=list(map(escaped, labels)),
        z=[[None if math.isnan(share) else significant(share) for share in row] for row in means.to_numpy()],
        zmin=0,
        zmax=1,
        colorscale="Blues",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "share"}, "thickness": 14},
        customdata=[
            [[f"<b>{escaped(label)}</b>, class {name}", "", *chosen[label]] for name in classes] for label in labels
        ],
        hovertemplate="%{customdata[0]}: %{z:.3f}<extra></extra>",
        meta=shown_for(place),
    )
