"""A_Df while a model relearns what it forgot, interactive."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from unsir_bench.report.html.plot_parts import (
    FAST,
    Plot,
    by_series,
    chosen_labels,
    escaped,
    in_template,
    line_style,
    method_choice,
    page_layout,
    shown_for,
    shown_with,
    significant,
    titled_plot,
)
from unsir_bench.report.run_series import Place, Run

Curve = Sequence[tuple[float, float]]


def relearning(runs: Sequence[Run]) -> Plot:
    """A_Df against mini-batches of training on all data again, one curve per run."""
    traces = []
    for place, label, method, found in by_series(runs, "relearn_curve"):
        for curve, run in found:
            traces.append(_relearn_trace(place, label, method, curve, run, first=run is found[0][1]))
    layout = page_layout(
        xaxis={"title": {"text": "mini-batches of training on all data"}},
        yaxis={"title": {"text": "A<sub>Df</sub> on test data, %"}, "range": [-4, 104]},
        height=480,
    )
    return titled_plot(
        "relearning",
        "Relearning the forgotten classes",
        "One curve per seed; it ends where accuracy is back within tolerance of the original's, or at the cap. A model "
        "that relearns much sooner than the retrained one had not forgotten. A click opens the record.",
        f"No run here has a relearn curve: {FAST}",
        traces,
        layout,
        [method_choice(chosen_labels(runs))],
    )


def _relearn_trace(place: Place, label: str, method: str, curve: Curve, run: Run, *, first: bool) -> go.Scatter:
    of_run = run.record.run_id if label == run.label else f"{label}, measured in {run.record.run_id}"
    line = line_style(label, method)
    line["marker"]["size"] = 5
    return go.Scatter(
        x=[batches for batches, _ in curve],
        y=[significant(100 * accuracy) for _, accuracy in curve],
        mode="lines+markers",
        name=escaped(label),
        legendgroup=label,
        showlegend=first,
        hovertemplate=f"{in_template(of_run)}<br>after %{{x}} batches: %{{y:.2f}} %<extra></extra>",
        meta=shown_for(place, **shown_with(label)) | {"link": run.link},
        **line,
    )
