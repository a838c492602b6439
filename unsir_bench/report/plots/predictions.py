"""Which retained classes the forgotten test samples are taken for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from unsir_bench.report.plots.parts import Entry, mean


def shares(found: Sequence[Entry]) -> pd.DataFrame:
    """Share of each retained class among the predictions, with forget classes ruled out: mean over seeds.

    Args:
        found: ``entries`` of ``forget_predictions``.

    Returns:
        Columns ``method``, ``class`` (by index), ``share`` and ``n`` (seeds that retain the class).
    """
    rows = []
    for entry in found:
        by_class: dict[int, list[float]] = defaultdict(list)
        for model in entry.models:
            forgotten = set(model.record.forget_classes)
            retained = [label for label in range(len(model.value) + len(forgotten)) if label not in forgotten]
            for label, share in zip(retained, model.value, strict=False):
                by_class[label].append(float(share))
        rows += [
            {"method": entry.label, "class": label, "share": mean(by_class[label]), "n": len(by_class[label])}
            for label in sorted(by_class)
        ]
    return pd.DataFrame(rows)


def share_map(table: pd.DataFrame) -> pd.DataFrame:
    """``shares`` as a map: a row per method in their order, a column per class; NaN where a class was forgotten."""
    return table.pivot(index="method", columns="class", values="share").loc[table["method"].unique()]
