"""What forgotten samples are taken for, interactive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from unsir_bench.records import RunRecord
from unsir_bench.report.html.plot_parts import (
    FAST,
    Plot,
    by_series,
    escaped,
    page_layout,
    shown_for,
    significant,
    titled_plot,
)
from unsir_bench.report.run_series import REFERENCE_PREFIX, Place, Run


def predictions(runs: Sequence[Run]) -> Plot:
    """Which retained class forgotten test samples are taken for: a row per model, mean share over seeds."""
    rows: dict[Place, dict[str, dict[int, list[float]]]] = defaultdict(dict)
    for place, label, _, found in by_series(runs, "forget_predictions"):
        shares: dict[int, list[float]] = defaultdict(list)
        for values, run in found:
            for index, share in zip(_retained_classes(run.record, len(values)), values, strict=False):
                shares[index].append(float(share))
        rows[place][label] = shares
    tallest = max((len(found) for found in rows.values()), default=0)
    layout = page_layout(
        xaxis={"type": "category", "title": {"text": "retained class, by index"}, "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "automargin": True, "showgrid": False},
        height=150 + 24 * tallest,
    )
    return titled_plot(
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
        [significant(sum(found) / len(found)) if (found := rows[label].get(index)) else None for index in classes]
        for label in labels
    ]
    points = [[[f"<b>{escaped(label)}</b>, class {index}", "", label] for index in classes] for label in labels]
    return go.Heatmap(
        x=[str(index) for index in classes],
        y=[escaped(label) for label in labels],
        z=means,
        zmin=0,
        zmax=1,
        colorscale="Blues",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "share"}, "thickness": 14},
        customdata=points,
        hovertemplate="%{customdata[0]}: %{z:.3f}<extra></extra>",
        meta=shown_for(place),
    )


def _references_first(labels: Mapping[str, object]) -> list[str]:
    return [label for label in REFERENCE_PREFIX if label in labels] + [
        label for label in labels if label not in REFERENCE_PREFIX
    ]
