"""How far each layer's weights lie from those of a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from unsir_bench.report.plots.parts import Entry
from unsir_bench.report.statistics import mean_interval


def distances(found: Sequence[Entry]) -> pd.DataFrame:
    """Distance of each parameter tensor that all seeds have, mean over seeds.

    Args:
        found: ``entries`` of ``weight_distance_to_original`` or ``weight_distance_to_retrain``.

    Returns:
        Columns ``method``, ``tensor``, ``place`` (from 1, as the network names them), ``n`` (finite values),
        ``distance`` with its interval ``low`` to ``high``, and ``mean``: NaN where a seed's distance is not finite.
    """
    places = {layer: place for place, layer in enumerate(_layer_order(found), start=1)}
    rows = []
    for entry in found:
        layers = [value.get("layers", {}) for value in entry.values]
        for layer, place in places.items():
            if all(layer in own for own in layers):
                values = [float(own[layer]) for own in layers]
                finite = all(map(math.isfinite, values))
                known = mean_interval([value for value in values if math.isfinite(value)])
                rows.append({
                    "method": entry.label, "tensor": layer, "place": place, "n": known.n, "distance": known.mean,
                    "low": known.low, "high": known.high, "mean": sum(values) / len(values) if finite else math.nan,
                })  # fmt: skip
    columns = ["method", "tensor", "place", "n", "distance", "low", "high", "mean"]
    return pd.DataFrame(rows, columns=columns)


def moved(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By method, the tensors of ``distances`` that moved at all: those with a point on a logarithmic axis."""
    found = table[table["mean"] > 0]
    return {str(label): rows for label, rows in found.groupby("method", sort=False)}


def _layer_order(found: Sequence[Entry]) -> list[str]:
    """The layers as the networks name them: those of models read from the store come in another order."""
    own_first = sorted(found, key=lambda entry: entry.reference)
    return list(
        dict.fromkeys(layer for entry in own_first for value in entry.values for layer in value.get("layers", {}))
    )
