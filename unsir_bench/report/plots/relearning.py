"""Relearning curves over seeds: their mean with its interval, and when retrain's plateau is reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from unsir_bench.report.plots.parts import Entry, Model, mean
from unsir_bench.report.relearn_curve import SHARE_OF_PLATEAU, Curve, Time, accuracy_at, first_at, plateau_of
from unsir_bench.report.samples import share_interval

CURVE = "relearn_curve"  # its name in the record, without prefix


class BandPoint(NamedTuple):
    """The mean A_Df over seeds after so many batches, in [0, 1].

    Attributes:
        low, high: of the 95 % interval; NaN for one seed.
        measured: seeds whose curve goes on at least as far. The others had ended and count at their last accuracy.
        n: all seeds.
    """

    batches: float
    mean: float
    low: float
    high: float
    measured: int
    n: int


def band(curves: Sequence[Curve], samples: int | None) -> list[BandPoint]:
    """The mean of curves at every check that one of them has, linear between checks and constant after the last one.

    Args:
        curves: one per seed; each starts at 0 batches.
        samples: distinct test samples behind the accuracies; None: not known.
    """
    found = []
    for batches in sorted({float(check[0]) for curve in curves for check in curve}):
        values = [accuracy_at(curve, batches) for curve in curves]
        measured = sum(curve[-1][0] >= batches for curve in curves)
        found.append(BandPoint(batches, *share_interval(values, samples), measured, len(values)))
    return found


def plateau(entry: Entry) -> float:
    """The mean over seeds of where the curves level off."""
    return mean([plateau_of(curve) for curve in entry.values])


def times_to_plateau(entry: Entry) -> list[Time]:
    """Batches until 95 % of retrain's own plateau, for each seed of a method or of retrain whose run measured it."""
    return [
        first_at(model.value, SHARE_OF_PLATEAU * plateau_of(retrained))
        for model in entry.models
        if (retrained := _retrained(model))
    ]


def _retrained(model: Model) -> Curve | None:
    found: Curve | None = model.record.details.get(f"retrain_{CURVE}")
    return found
