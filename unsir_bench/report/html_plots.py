"""The interactive plots of a sweep, as Plotly figures; every trace says for which choice on the page it is shown.

Nothing is averaged over data sets, models or forget sets: each trace belongs to one *place*, a data set, model and
forget set. Text from records is escaped, since Plotly reads a subset of HTML in names, ticks and hover boxes.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.records import RunRecord
from unsir_bench.report.method_style import MethodStyle, method_style
from unsir_bench.report.statistics import MeanInterval, mean_interval
from unsir_bench.report.table import GROUP, position

SECOND_RETRAIN = "retrain (second)"
# Every run measured these models too; their details carry a prefix.
REFERENCE_PREFIX = {"original": "original_", "retrain": "retrain_", SECOND_RETRAIN: "floor_"}
DASHES = {"original": "dot", "retrain": "dash", SECOND_RETRAIN: "dashdot"}
FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
GRID = "#e3e6ea"
FAST = "metrics=fast leaves this out; metrics=standard (the default) and metrics=full record it."

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Place:
    """A data set, a model and a forget set, within which runs may be compared."""

    dataset: str
    model: str
    forget: str

    def __str__(self) -> str:
        return ", ".join((self.dataset, self.model, self.forget))


@dataclass(frozen=True)
class Run:
    """One record in its place.

    Attributes:
        label: the method, with the setting that sets it apart from other runs of it, if any.
        link: to its record, relative to the page.
    """

    record: RunRecord
    place: Place
    label: str
    link: str


@dataclass(frozen=True)
class Series:
    """Runs that differ by seed alone; ``values`` holds a row of ``with_references``' frame for each."""

    place: Place
    label: str
    method: str
    values: pd.DataFrame


@dataclass(frozen=True)
class Choice:
    """A drop-down list beside a plot: traces whose ``meta.show[name]`` is another option are hidden."""

    name: str
    title: str
    options: tuple[str, ...]
    selected: str


@dataclass(frozen=True)
class Plot:
    """A plot, or the sentence that stands in its place.

    Attributes:
        absent: what to say where no trace is to be shown: which configuration records the values.
        figure: Plotly's JSON; None where no record has the values.
    """

    key: str
    title: str
    caption: str
    absent: str
    figure: dict[str, Any] | None = None
    choices: list[Choice] = field(default_factory=list)


def series_label(method: str, setting: str) -> str:
    """A method's name, with its setting where a sweep tried several."""
    return f"{method} ({setting})" if setting else method


def series_of(runs: pd.DataFrame) -> list[Series]:
    """The finished runs of a frame (``with_references``) by place, method and setting, in the order of the tables."""
    done = runs[runs["status"] == "done"]
    groups = sorted(done.groupby(GROUP, sort=False), key=lambda item: position(item[0]))
    return [
        Series(Place(*map(str, key[:3])), series_label(str(key[3]), str(key[4])), str(key[3]), values)
        for key, values in groups
    ]


def plots(series: Sequence[Series], runs: Sequence[Run]) -> list[Plot]:
    """Every plot of a sweep.

    Args:
        series: ``series_of`` the sweep's frame; a column ``link`` leads to each run's record.
        runs: the finished runs, in the order of the tables.
    """
    return [trade_off(series), speedups(series), layer_distances(runs), relearning(runs), predictions(runs)]


# Accuracy and cost


def trade_off(series: Sequence[Series]) -> Plot:
    """Retain against forget accuracy on test data: a point per method with intervals, and one per run."""
    traces: list[go.Scatter] = []
    # The first stand in front: retraining, which all are compared with, must not be hidden.
    for rank, one in reversed(list(enumerate(series))):
        known = _with_values(one, "acc_forget_test", "acc_retain_test")
        if not known.empty:
            percent = known.assign(x=100 * known["acc_forget_test"], y=100 * known["acc_retain_test"])
            traces += [_runs_trace(one, percent), _mean_trace(one, percent, rank)]
    _set_ranges(traces, "y", _roomy)
    layout = _layout(
        xaxis={"title": {"text": "A<sub>Df</sub>: test accuracy on forgotten classes, %"}, "range": [-4, 104]},
        yaxis={"title": {"text": "A<sub>Dr</sub>: test accuracy on retained classes, %"}},
        height=580,
    )
    return _plot(
        "trade-off",
        "Retain against forget accuracy",
        "Large markers: mean over seeds with 95 % intervals (Student's t). Small ones: single runs, a click opens the "
        "record. Good is where retraining is, not the upper left corner. Intervals of few seeds may reach beyond 0 and "
        "100 %. Drag to zoom in; a click in the legend hides a method, a double click shows it alone.",
        "No run has both accuracies on test data.",
        traces,
        layout,
    )


def _with_values(one: Series, *names: str) -> pd.DataFrame:
    if not set(names) <= set(one.values):
        return one.values.iloc[:0]
    return one.values.dropna(subset=list(names))


def _runs_trace(one: Series, values: pd.DataFrame) -> go.Scatter:
    style = method_style(one.method)
    return go.Scatter(
        x=values["x"].tolist(),
        y=values["y"].tolist(),
        mode="markers",
        marker={"color": style.color, "symbol": style.symbol, "size": 6, "opacity": 0.45},
        customdata=_run_points(one, values),
        hovertemplate="%{customdata[0]}<br>A<sub>Df</sub> %{x:.2f} %, A<sub>Dr</sub> %{y:.2f} %<extra></extra>",
        legendgroup=one.label,
        showlegend=False,
        meta=_meta(one.place),
    )


def _mean_trace(one: Series, values: pd.DataFrame, rank: int) -> go.Scatter:
    style = method_style(one.method)
    x, y = (mean_interval(values[axis].tolist()) for axis in ("x", "y"))
    lines = [f"<b>{_text(one.label)}</b>", f"A<sub>Df</sub> {_words(x, '%')}", f"A<sub>Dr</sub> {_words(y, '%')}"]
    hover = "<br>".join([*lines, _ids(values)])
    return go.Scatter(
        x=[x.mean],
        y=[y.mean],
        error_x=_bar(x),
        error_y=_bar(y),
        mode="markers",
        marker=_marker(style, 12),
        name=_text(one.label),
        legendgroup=one.label,
        legendrank=rank + 1,
        customdata=[[hover, _only_link(values), one.label]],
        hovertemplate="%{customdata[0]}<extra></extra>",
        meta=_meta(one.place),
    )


def _run_points(one: Series, values: pd.DataFrame) -> list[list[str]]:
    """For each run: what the hover box says, the link, and the method for the table of runs."""
    return [
        [
            _text(one.label if pd.isna(run) else str(run)) + f", seed {seed}",
            "" if pd.isna(link) else str(link),
            one.label,
        ]
        for run, link, seed in values[["run_id", "link", "seed"]].itertuples(index=False)
    ]


def _only_link(values: pd.DataFrame) -> str:
    """Where a click on a mean leads: to the one run it is of; none for several, which the table of runs shows."""
    links = values["link"].dropna().tolist()
    return str(links[0]) if len(links) == 1 else ""


def _ids(values: pd.DataFrame) -> str:
    named = [_text(str(run)) for run in values["run_id"] if not pd.isna(run)]
    return "<br>".join(named[:6] + [f"and {len(named) - 6} more"] * (len(named) > 6)) or "measured beside every run"


def _bar(interval: MeanInterval) -> dict[str, Any]:
    shown = math.isfinite(interval.half_width)
    return {
        "type": "data",
        "array": [interval.half_width if shown else 0.0],
        "visible": shown,
        "thickness": 1,
        "width": 3,
    }


def _set_ranges(traces: Sequence[Any], axis: str, span: Callable[[Sequence[float]], tuple[float, float]]) -> None:
    """Give each place an axis that holds every point in it, whatever the intervals of few seeds do.

    Args:
        axis: ``x`` or ``y``.
        span: the ends of the axis for the points' values.
    """
    values: dict[str, list[float]] = defaultdict(list)
    points = [trace for trace in traces if trace.type == "scatter"]
    for trace in points:
        values[trace.meta["show"]["place"]] += trace[axis]
    for trace in points:
        trace.meta = trace.meta | {"range": {f"{axis}axis": span(values[trace.meta["show"]["place"]])}}


def _roomy(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), 0.5)
    return low - room, high + room


def _roomy_logarithm(values: Sequence[float]) -> tuple[float, float]:
    """The ends as Plotly wants them for a logarithmic axis: as powers of ten; 1, where bars start, lies between."""
    return math.log10(min([0.8, *values])) - 0.12, math.log10(max([1.25, *values])) + 0.2


def speedups(series: Sequence[Series]) -> Plot:
    """How many times faster than retraining each method is: bars on a logarithmic axis that start at 1."""
    by_place: dict[Place, list[tuple[MeanInterval, Series, pd.DataFrame]]] = defaultdict(list)
    for one in series:
        known = _with_values(one, "speedup_vs_retrain")
        positive = known[known["speedup_vs_retrain"] > 0] if not known.empty else known
        if not positive.empty:
            by_place[one.place].append((mean_interval(positive["speedup_vs_retrain"].tolist()), one, positive))
    traces = []
    for place, bars in by_place.items():
        ordered = sorted(bars, key=lambda item: item[0].mean)
        traces += [_speed_bars(place, ordered), _speed_means(place, ordered), _speed_runs(place, ordered)]
    _set_ranges(traces, "x", _roomy_logarithm)
    tallest = max((len(bars) for bars in by_place.values()), default=0)
    layout = _layout(
        xaxis={"type": "log", "title": {"text": "retraining time / method's time"}, "dtick": "D2"},
        yaxis={"automargin": True, "showgrid": False, "tickfont": {"size": 12}},
        height=130 + 24 * tallest,
        showlegend=False,
        bargap=0.35,
    )
    return _plot(
        "speed-up",
        "Speed-up over retraining",
        "Mean over seeds with 95 % interval; small markers are runs, a click opens the record. 1 is as slow as "
        "retraining. Where retraining itself takes seconds, no method can be much faster.",
        "No run has a speed-up: it needs the time of retraining (retrain_reference=true, the default).",
        traces,
        layout,
    )


def _speed_bars(place: Place, bars: Sequence[tuple[MeanInterval, Series, pd.DataFrame]]) -> go.Bar:
    return go.Bar(
        orientation="h",
        base=[1.0] * len(bars),
        x=[interval.mean - 1 for interval, _, _ in bars],
        y=[_text(one.label) for _, one, _ in bars],
        marker={"color": [method_style(one.method).color for _, one, _ in bars], "opacity": 0.55},
        hoverinfo="skip",
        meta=_meta(place),
    )


def _speed_means(place: Place, bars: Sequence[tuple[MeanInterval, Series, pd.DataFrame]]) -> go.Scatter:
    halves = [interval.half_width if math.isfinite(interval.half_width) else 0.0 for interval, _, _ in bars]
    # A lower end at or below 0 lies infinitely far left of a logarithmic axis: it is drawn to a hundredth of the mean.
    lower = [min(half, 0.99 * interval.mean) for half, (interval, _, _) in zip(halves, bars, strict=True)]
    hover = [f"<b>{_text(one.label)}</b><br>{_words(mean, '×')}<br>{_ids(values)}" for mean, one, values in bars]
    return go.Scatter(
        x=[interval.mean for interval, _, _ in bars],
        y=[_text(one.label) for _, one, _ in bars],
        mode="markers",
        marker={"color": "#222222", "symbol": "line-ns-open", "size": 13, "line": {"width": 2}},
        error_x={"type": "data", "array": halves, "arrayminus": lower, "color": "#222222", "thickness": 1, "width": 3},
        customdata=[
            [words, _only_link(values), one.label] for words, (_, one, values) in zip(hover, bars, strict=True)
        ],
        hovertemplate="%{customdata[0]}<extra></extra>",
        meta=_meta(place),
    )


def _speed_runs(place: Place, bars: Sequence[tuple[MeanInterval, Series, pd.DataFrame]]) -> go.Scatter:
    points = [
        (value, one, point)
        for _, one, values in bars
        for value, point in zip(values["speedup_vs_retrain"], _run_points(one, values), strict=True)
    ]
    styles = [method_style(one.method) for _, one, _ in points]
    return go.Scatter(
        x=[value for value, _, _ in points],
        y=[_text(one.label) for _, one, _ in points],
        mode="markers",
        marker={"color": [style.color for style in styles], "symbol": [style.symbol for style in styles], "size": 7}
        | {"line": {"color": "white", "width": 0.5}},
        customdata=[point for _, _, point in points],
        hovertemplate="%{customdata[0]}: %{x:.3g} ×<extra></extra>",
        meta=_meta(place),
    )


# What is no single number


def layer_distances(runs: Sequence[Run]) -> Plot:
    """Distance of each layer's weights to those of the original or the retrained model, mean over seeds."""
    order = _layer_order(runs)
    traces = []
    for target in ("original", "retrain"):
        for place, label, method, found in _by_series(runs, f"weight_distance_to_{target}"):
            layers = [entry.get("layers", {}) for entry, _ in found]
            means = _layer_means(layers, order)
            if means:
                traces.append(_layer_trace(place, label, method, means, target, len(layers)))
    labels = _chosen_labels(runs)
    targets = tuple(name for name in ("original", "retrain") if any(t.meta["show"].get("to") == name for t in traces))
    layout = _layout(
        yaxis={"type": "log", "title": {"text": "‖W − W′‖₂ of the layer"}, "exponentformat": "power"},
        xaxis={
            "categoryorder": "array",
            "categoryarray": [_text(name) for name in order],
            "tickangle": -60,
            "automargin": True,
            "tickfont": {"size": 10},
            "tickmode": "linear" if len(order) <= 64 else "auto",
        },
        height=560,
    )
    return _plot(
        "layers",
        "Weight distance by layer",
        "Euclidean distance of each parameter tensor to the chosen model's, mean over seeds; first layer on the left. "
        "A layer that did not move has no point on a logarithmic axis. Batch-norm statistics are left aside.",
        f"No run here has weight distances by layer: {FAST}",
        traces,
        layout,
        [_method_choice(labels), Choice("to", "distance to", targets, targets[0] if targets else "")],
    )


def _layer_order(runs: Sequence[Run]) -> list[str]:
    """The layers as the networks name them: those of models read from the store come in another order."""
    own = [
        run.record.details.get(f"weight_distance_to_{name}") or {} for run in runs for name in ("original", "retrain")
    ]
    return list(dict.fromkeys(layer for entry in own for layer in entry.get("layers", {})))


def _layer_means(layers: Sequence[Mapping[str, float]], order: Sequence[str]) -> dict[str, float]:
    """Mean over seeds of each layer that all of them have and that moved at all."""
    shared = [name for name in order if all(name in one for one in layers)]
    means = {name: sum(float(one[name]) for one in layers) / len(layers) for name in shared}
    return {name: mean for name, mean in means.items() if mean > 0}


def _layer_trace(
    place: Place, label: str, method: str, means: Mapping[str, float], target: str, count: int
) -> go.Scatter:
    return go.Scatter(
        x=[_text(name) for name in means],
        y=[_significant(mean) for mean in means.values()],
        mode="lines+markers",
        name=_text(label),
        hovertemplate=f"{_template(label)}<br>%{{x}}<br>%{{y:.3g}} (n = {count})<extra></extra>",
        meta=_meta(place, to=target, **_own_choice(label)) | {"method": label},
        **_line(label, method),
    )


def relearning(runs: Sequence[Run]) -> Plot:
    """A_Df against mini-batches of training on all data again, one curve per run."""
    traces = []
    for place, label, method, found in _by_series(runs, "relearn_curve"):
        for curve, run in found:
            traces.append(_relearn_trace(place, label, method, curve, run, first=run is found[0][1]))
    layout = _layout(
        xaxis={"title": {"text": "mini-batches of training on all data"}},
        yaxis={"title": {"text": "A<sub>Df</sub> on test data, %"}, "range": [-4, 104]},
        height=480,
    )
    return _plot(
        "relearning",
        "Relearning the forgotten classes",
        "One curve per seed; it ends where accuracy is back within tolerance of the original's, or at the cap. A model "
        "that relearns much sooner than the retrained one had not forgotten. A click opens the record.",
        f"No run here has a relearn curve: {FAST}",
        traces,
        layout,
        [_method_choice(_chosen_labels(runs))],
    )


def _relearn_trace(place: Place, label: str, method: str, curve: Curve, run: Run, *, first: bool) -> go.Scatter:
    of_run = run.record.run_id if label == run.label else f"{label}, measured in {run.record.run_id}"
    line = _line(label, method)
    line["marker"]["size"] = 5
    return go.Scatter(
        x=[batches for batches, _ in curve],
        y=[_significant(100 * accuracy) for _, accuracy in curve],
        mode="lines+markers",
        name=_text(label),
        legendgroup=label,
        showlegend=first,
        hovertemplate=f"{_template(of_run)}<br>after %{{x}} batches: %{{y:.2f}} %<extra></extra>",
        meta=_meta(place, **_own_choice(label)) | {"link": run.link},
        **line,
    )


def predictions(runs: Sequence[Run]) -> Plot:
    """Which retained class forgotten test samples are taken for: a row per model, mean share over seeds."""
    rows: dict[Place, dict[str, dict[int, list[float]]]] = defaultdict(dict)
    for place, label, _, found in _by_series(runs, "forget_predictions"):
        shares: dict[int, list[float]] = defaultdict(list)
        for values, run in found:
            for index, share in zip(_retained_classes(run.record, len(values)), values, strict=False):
                shares[index].append(float(share))
        rows[place][label] = shares
    tallest = max((len(found) for found in rows.values()), default=0)
    layout = _layout(
        xaxis={"type": "category", "title": {"text": "retained class, by index"}, "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "showgrid": False},
        height=150 + 24 * tallest,
    )
    return _plot(
        "predictions",
        "What forgotten samples are taken for",
        "Share of each retained class among predictions for forgotten test samples, with forget classes ruled out; "
        "mean over seeds. The row to match is that of retraining.",
        f"No run here has the predictions for forgotten samples: {FAST}",
        [_prediction_map(place, found) for place, found in rows.items()],
        layout,
    )


def _retained_classes(record: RunRecord, count: int) -> list[int]:
    forgotten = set(record.forget_classes)
    return [index for index in range(count + len(forgotten)) if index not in forgotten]


def _prediction_map(place: Place, rows: Mapping[str, Mapping[int, Sequence[float]]]) -> go.Heatmap:
    classes = sorted({index for shares in rows.values() for index in shares})
    labels = _references_first(rows)
    means = [
        [_significant(sum(found) / len(found)) if (found := rows[label].get(index)) else None for index in classes]
        for label in labels
    ]
    points = [[[f"<b>{_text(label)}</b>, class {index}", "", label] for index in classes] for label in labels]
    return go.Heatmap(
        x=[str(index) for index in classes],
        y=[_text(label) for label in labels],
        z=means,
        zmin=0,
        zmax=1,
        colorscale="Blues",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "share"}, "thickness": 14},
        customdata=points,
        hovertemplate="%{customdata[0]}: %{z:.3f}<extra></extra>",
        meta=_meta(place),
    )


def _references_first(labels: Mapping[str, object]) -> list[str]:
    return [label for label in REFERENCE_PREFIX if label in labels] + [
        label for label in labels if label not in REFERENCE_PREFIX
    ]


# Shared


def _by_series(runs: Sequence[Run], key: str) -> Iterator[tuple[Place, str, str, list[tuple[Any, Run]]]]:
    """Each series' entries of ``details[key]`` with the run that holds each; references once per seed."""
    found: dict[tuple[Place, str, str], dict[object, tuple[Any, Run]]] = defaultdict(dict)
    for run in runs:
        own = run.record.details.get(key)
        if own:
            once: object = run.record.seed if run.label in REFERENCE_PREFIX else run.record.run_id
            found[run.place, run.label, run.record.method].setdefault(once, (own, run))
        for reference, prefix in REFERENCE_PREFIX.items():
            value = run.record.details.get(prefix + key)
            if value:
                found[run.place, reference, reference].setdefault(run.record.seed, (value, run))
    for (place_of, label, method), entries in found.items():
        yield place_of, label, method, list(entries.values())


def _chosen_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.label for run in runs if run.label not in REFERENCE_PREFIX))


def _method_choice(labels: tuple[str, ...]) -> Choice:
    preferred = next((label for label in labels if label == "unsir"), labels[0] if labels else "")
    return Choice("method", "method", labels, preferred)


def _own_choice(label: str) -> dict[str, str]:
    """References are shown whatever method is chosen."""
    return {} if label in REFERENCE_PREFIX else {"method": label}


def _meta(place: Place, **show: str) -> dict[str, Any]:
    rows = {"dataset": place.dataset, "model": place.model, "forget": place.forget}
    return {"show": {"place": str(place), **show}, "rows": rows}


def _marker(style: MethodStyle, size: int) -> dict[str, Any]:
    return {"color": style.color, "symbol": style.symbol, "size": size, "line": {"color": "white", "width": 1}}


def _line(label: str, method: str) -> dict[str, Any]:
    style = method_style(method)
    return {"line": {"color": style.color, "width": 2, "dash": DASHES.get(label, "solid")}, "marker": _marker(style, 7)}


def _text(words: str) -> str:
    """Words that Plotly must show as they are."""
    return escape(words, quote=False)


def _template(words: str) -> str:
    """Words within a hover template, where "%{" would ask for a value."""
    return _text(words).replace("%{", "%&#123;")


def _words(interval: MeanInterval, unit: str) -> str:
    width = f" ± {interval.half_width:.2f}" if math.isfinite(interval.half_width) else ""
    return f"{interval.mean:.2f}{width} {unit} (n = {interval.n})"


def _significant(value: float) -> float:
    """Five digits: a page has no use for more."""
    return float(f"{value:.5g}")


def _layout(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": "#1c2430"},
        "margin": {"l": 80, "r": 20, "t": 16, "b": 60},
        "hoverlabel": {"align": "left", "namelength": -1},
        "hovermode": "closest",
        "legend": {"tracegroupgap": 0, "font": {"size": 12}},
        "modebar": {"bgcolor": "white", "color": "#767676", "activecolor": "#1c2430"},
    }
    for axis in ("xaxis", "yaxis"):
        changes[axis] = {"gridcolor": GRID, "zeroline": False, "linecolor": "#9aa3ad", **changes.get(axis, {})}
    return base | changes


def _plot(
    key: str,
    title: str,
    caption: str,
    absent: str,
    traces: Sequence[Any],
    layout: dict[str, Any],
    choices: Sequence[Choice] = (),
) -> Plot:
    if not traces:
        return Plot(key, title, caption, absent)
    figure: dict[str, Any] = json.loads(go.Figure(data=list(traces), layout=layout).to_json())
    return Plot(key, title, caption, absent, figure, [choice for choice in choices if choice.options])
