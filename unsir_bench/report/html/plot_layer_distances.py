"""Weight distance by layer, interactive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from unsir_bench.report.html.plot_parts import (
    FAST,
    Choice,
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


def layer_distances(runs: Sequence[Run]) -> Plot:
    """Distance of each layer's weights to those of the original or the retrained model, mean over seeds."""
    order = _layer_order(runs)
    traces = []
    for target in ("original", "retrain"):
        for place, label, method, found in by_series(runs, f"weight_distance_to_{target}"):
            layers = [entry.get("layers", {}) for entry, _ in found]
            means = _layer_means(layers, order)
            if means:
                traces.append(_layer_trace(place, label, method, means, target, len(layers)))
    labels = chosen_labels(runs)
    targets = tuple(name for name in ("original", "retrain") if any(t.meta["show"].get("to") == name for t in traces))
    layout = page_layout(
        yaxis={"type": "log", "title": {"text": "‖W − W′‖₂ of the layer"}, "exponentformat": "power"},
        xaxis={
            "categoryorder": "array",
            "categoryarray": [escaped(name) for name in order],
            "tickangle": -60,
            "automargin": True,
            "tickfont": {"size": 10},
            "tickmode": "linear" if len(order) <= 64 else "auto",
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
        [method_choice(labels), Choice("to", "distance to", targets, targets[0] if targets else "")],
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
        x=[escaped(name) for name in means],
        y=[significant(mean) for mean in means.values()],
        mode="lines+markers",
        name=escaped(label),
        hovertemplate=f"{in_template(label)}<br>%{{x}}<br>%{{y:.3g}} (n = {count})<extra></extra>",
        meta=shown_for(place, to=target, **shown_with(label)) | {"method": label},
        **line_style(label, method),
    )
