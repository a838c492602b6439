"""The interactive plot of relearning: mean curves with their intervals, the curve of each seed, retrain's plateau."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.report.data import Place
from unsir_bench.report.html.plot_parts import (
    FAST,
    Choice,
    Plot,
    axis_words,
    escaped,
    in_template,
    leads_to,
    line_style,
    page_layout,
    shown_for,
    shown_with,
    significant,
    titled_plot,
)
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.parts import PERCENT, Entry, Model, entries
from unsir_bench.report.plots.relearning import CURVE, BandPoint, band, plateau, times_to_plateau
from unsir_bench.report.relearn_curve import median_in_words
from unsir_bench.report.samples import samples_of


def relearning_plot(by_place: Mapping[Place, pd.DataFrame], methods: Choice) -> Plot:
    """A_Df against mini-batches of training on all data again.

    Args:
        by_place: finished rows of ``model_table``, with a column ``link``.
        methods: the list of methods beside the plot.
    """
    traces = [trace for place, rows in by_place.items() for trace in _of_place(place, rows)]
    layout = page_layout(
        xaxis={"title": {"text": "mini-batches of training on all data"}, "rangemode": "tozero"},
        yaxis={"title": {"text": axis_words("A_Df on test data, %")}, "range": [-4, 104]},
        height=480,
    )
    return titled_plot(
        "relearning",
        "Relearning the forgotten classes",
        "Thick: mean over seeds with its 95 % interval, no narrower than the test samples allow. Thin: single seeds, a "
        "click opens the record; one ends where accuracy is back within tolerance of the original's, or at the cap, "
        "and counts at its last accuracy from then on. A model that relearns much sooner than the retrained one had "
        "not forgotten.",
        f"No run here has a relearn curve: {FAST}",
        traces,
        layout,
        [methods],
    )


def _of_place(place: Place, rows: pd.DataFrame) -> Iterator[go.Scatter]:
    found, samples = entries(rows, CURVE), samples_of(rows, "acc_forget_test")
    last = max((curve[-1][0] for entry in found for curve in entry.values), default=0)
    yield from (_plateau(place, entry, last) for entry in found if entry.method == "retrain" and last > 0)
    for entry in found:
        points = band(entry.values, samples)
        if not math.isnan(points[0].low):
            yield _interval(place, entry, points)
        yield _mean(place, entry, points)
        # Above the mean, so that a click finds them.
        yield from (_seed(place, entry, model) for model in entry.models if len(entry.models) > 1)


def _interval(place: Place, entry: Entry, points: Sequence[BandPoint]) -> go.Scatter:
    batches = [point.batches for point in points]
    ends = [point.high for point in points] + [point.low for point in reversed(points)]
    return go.Scatter(
        x=[*batches, *reversed(batches)],
        y=[significant(PERCENT * end) for end in ends],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=method_style(entry.method).color,
        opacity=0.15,
        hoverinfo="skip",
        legendgroup=entry.label,
        showlegend=False,
        meta=shown_for(place, **shown_with(entry)),
    )


def _mean(place: Place, entry: Entry, points: Sequence[BandPoint]) -> go.Scatter:
    link = entry.models[0].link if len(entry.models) == 1 else ""
    times = times_to_plateau(entry)
    words = f"<br>95 % of retrain's plateau: {median_in_words(times)} batches (median)" if times else ""
    name = f"<b>{in_template(entry.label)}</b>, n = {len(entry.models)}"
    return go.Scatter(
        x=[point.batches for point in points],
        y=[significant(PERCENT * point.mean) for point in points],
        mode="lines+markers",
        name=escaped(entry.label),
        legendgroup=entry.label,
        hovertemplate=f"{name}<br>after %{{x}} batches: %{{y:.2f}} %{words}<extra></extra>",
        meta=shown_for(place, **shown_with(entry)) | leads_to(entry) | {"link": link},
        **line_style(entry, 5),
    )


def _seed(place: Place, entry: Entry, model: Model) -> go.Scatter:
    run = model.record.run_id if model.own else f"{entry.label}, measured in {model.record.run_id}"
    return go.Scatter(
        x=[batches for batches, _ in model.value],
        y=[significant(PERCENT * accuracy) for _, accuracy in model.value],
        mode="lines+markers",
        opacity=0.35,
        name=escaped(entry.label),
        legendgroup=entry.label,
        showlegend=False,
        hovertemplate=f"{in_template(run)}<br>after %{{x}} batches: %{{y:.2f}} %<extra></extra>",
        meta=shown_for(place, **shown_with(entry)) | {"link": model.link},
        **line_style(entry, 4) | {"line": {"color": method_style(entry.method).color, "width": 1}},
    )


def _plateau(place: Place, retrained: Entry, last: float) -> go.Scatter:
    height = significant(PERCENT * plateau(retrained))
    return go.Scatter(
        x=[0, last],
        y=[height, height],
        mode="lines",
        name="retrain's plateau",
        legendrank=2000,  # last; 1000 is Plotly's own
        line={"color": method_style("retrain").color, "width": 1, "dash": "longdashdot"},
        hovertemplate="retrain's plateau: %{y:.2f} %<extra></extra>",
        meta=shown_for(place),
    )
