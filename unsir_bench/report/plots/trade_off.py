"""Retain against forget accuracy: a point per method, with the Pareto front."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from unsir_bench.report.controls import control_words_of
from unsir_bench.report.data import Series
from unsir_bench.report.method_style import REFERENCES
from unsir_bench.report.plots.parts import PERCENT
from unsir_bench.report.statistics import MeanInterval, mean_interval


@dataclass(frozen=True)
class Point:
    """A method's accuracies in per cent.

    Attributes:
        values: its rows that have both accuracies, ``x`` and ``y`` in per cent.
        front: whether it is on the Pareto front of the methods that ran under its conditions.
    """

    series: Series
    values: pd.DataFrame
    forget: MeanInterval
    retain: MeanInterval
    front: bool = False


def trade_off(series: Sequence[Series]) -> list[Point]:
    """A point per method of one place that has both accuracies, in the order of the tables.

    On a front are neither references nor controls, nor models made elsewhere, which nobody here saw trained.
    """
    names = ["acc_forget_test", "acc_retain_test"]
    known = [(one, one.values.dropna(subset=names)) for one in series if set(names) <= set(one.values)]
    points = []
    for one, rows in known:
        if rows.empty:
            continue
        percent = rows.assign(x=PERCENT * rows[names[0]], y=PERCENT * rows[names[1]])
        forget, retain = (mean_interval(percent[axis].tolist()) for axis in ("x", "y"))
        points.append(Point(one, percent, forget, retain))
    rivals: dict[str, list[int]] = defaultdict(list)
    for place, point in enumerate(points):
        if _competes(point.series):
            rivals[point.series.conditions].append(place)
    best = {place for places in rivals.values() for place in _on_front(points, places)}
    return [replace(point, front=place in best) for place, point in enumerate(points)]


def _competes(one: Series) -> bool:
    return one.method not in REFERENCES and not one.elsewhere and not control_words_of(one.values)


def _on_front(points: Sequence[Point], places: Sequence[int]) -> list[int]:
    front = pareto_front([(points[place].forget.mean, points[place].retain.mean) for place in places])
    return [place for place, on_front in zip(places, front, strict=True) if on_front]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each (A_Df, A_Dr), whether it is on the front: the highest A_Dr for the lowest A_Df.

    A point is off the front where another has an A_Df at most as high and an A_Dr at least as high, and one of the two
    strictly better; equal points are on it together. Accuracies alone say nothing of what a model still holds: a front
    passes no verdict on forgetting, and the aim is the retrained model's point, not a corner of the plane.
    """
    return [
        not any(forget <= x and retain >= y and (forget < x or retain > y) for forget, retain in points)
        for x, y in points
    ]
