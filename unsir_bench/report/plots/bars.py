"""Seconds and speed-ups: a bar per method, the shortest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from unsir_bench.report.data import Series
from unsir_bench.report.statistics import is_ratio, mean_interval, ratio_interval


@dataclass(frozen=True)
class Bar:
    """The mean over seeds of a positive quantity with its 95 % interval; ``values`` are the rows behind it.

    Attributes:
        low: end of the interval; NaN for a single seed.
        high: likewise.
    """

    series: Series
    mean: float
    low: float
    high: float
    values: pd.DataFrame


def bars(series: Sequence[Series], field: str) -> list[Bar]:
    """A bar per series of one place with positive values of a field, by their mean; the original does nothing."""
    found = []
    for one in series:
        values = one.values[one.values[field] > 0] if field in one.values else one.values.iloc[:0]
        if one.method != "original" and not values.empty:
            interval = (ratio_interval if is_ratio(field) else mean_interval)(values[field].tolist())
            found.append(Bar(one, interval.mean, interval.low, interval.high, values))
    return sorted(found, key=lambda bar: (bar.mean, bar.series.label))
