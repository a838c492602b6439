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
from unsir_bench.report.samples import ShareInterval, samples_of, share_in_words, share_interval

NAMES = ["acc_forget_test", "acc_retain_test"]


@dataclass(frozen=True)
class Point:
    """A method's accuracies in per cent.

    Attributes:
        values: its rows that have both accuracies, ``x`` and ``y`` in per cent.
        words: A_Df and A_Dr with their intervals, in per cent.
        front: whether it is on the Pareto front of the methods that ran under its conditions.
    """

    series: Series
    values: pd.DataFrame
    forget: ShareInterval
    retain: ShareInterval
    words: tuple[str, str]
    front: bool = False


def trade_off(series: Sequence[Series]) -> list[Point]:
    """A point per method of one place that has both accuracies, in the order of the tables.

    On a front are neither references nor controls, nor models made elsewhere, which nobody here saw trained.
    """
    known = [(one, one.values.dropna(subset=NAMES)) for one in series if set(NAMES) <= set(one.values)]
    if not known:
        return []
    models = pd.concat([one.runs for one in series])
    samples = [samples_of(models, name) for name in NAMES]
    points = [_point(one, rows, samples) for one, rows in known if not rows.empty]
    rivals: dict[str, list[int]] = defaultdict(list)
    for place, point in enumerate(points):
        if _competes(point.series):
            rivals[point.series.conditions].append(place)
    best = {place for places in rivals.values() for place in _on_front(points, places)}
    return [replace(point, front=place in best) for place, point in enumerate(points)]


def _point(one: Series, rows: pd.DataFrame, samples: Sequence[int | None]) -> Point:
    shares = [rows[name].tolist() for name in NAMES]
    forget, retain = (share_interval(*each).in_percent for each in zip(shares, samples, strict=True))
    words = [share_in_words(*each) for each in zip(shares, samples, strict=True)]
    percent = rows.assign(x=PERCENT * rows[NAMES[0]], y=PERCENT * rows[NAMES[1]])
    return Point(one, percent, forget, retain, (words[0], words[1]))


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
