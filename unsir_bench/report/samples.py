"""Which numbers are shares of samples, of how many, and their intervals: no narrower than the exact binomial one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.binomial import gap_limits, samples_behind, widened
from unsir_bench.report.statistics import MeanInterval, mean_in_words, mean_interval

# Metrics that are shares of samples, with the samples that they are of.
SHARES = {
    "acc_forget_test": "forget_test",
    "acc_retain_test": "retain_test",
    "acc_nearest_test": "nearest",
    "acc_forget_train": "forget_train",
    "acc_retain_train": "retain_train",
    "forget_answered_any_forget_class": "forget_test",
    "forget_prediction_largest_share": "forget_test",
    "retention_forget_accuracy": "forget_test",
    "retention_retain_accuracy": "retain_test",
    "mia_svc_member_share": "forget_train",
}
PREFIXES = ("", "original_", "retrain_", "floor_")
DRAWN = "drawn"  # whether each seed draws what it forgets
DRAWN_CLASSES = "drawn_classes"
# What cells of ``share_in_words`` and ``with_seeds`` hold: every legend above such cells says it so.
INTERVALS = (
    "mean ± 95 % interval (Student's t) over n seeds, or [low, high] where the number of test samples leaves more room "
    "(exact binomial); of speed-ups the geometric mean [low, high]; (n = ...) ends a cell of fewer seeds"
)
TAIL = 0.025  # beyond each end of a 95 % interval


class ShareInterval(NamedTuple):
    """A mean share over seeds and both ends of its 95 % interval, which are NaN for a single seed."""

    mean: float
    low: float
    high: float

    @property
    def in_percent(self) -> ShareInterval:
        """The same times 100."""
        return ShareInterval(100 * self.mean, 100 * self.low, 100 * self.high)


def recorded_samples(record: RunRecord) -> dict[str, Any]:
    """Columns ``<part>_samples`` of a run that recorded how many samples its parts have; older ones did not.

    Where each seed draws its own classes they are a column, too, since the seeds then have further samples.
    """
    counts = dict(record.details.get("samples") or {})
    nearest = record.details.get("nearest")
    if isinstance(nearest, dict) and isinstance(nearest.get("samples"), int):
        counts["nearest"] = nearest["samples"]
    drawn = {DRAWN_CLASSES: tuple(record.forget_classes)} if (record.config.get("forget") or {}).get("random_k") else {}
    return {**{f"{part}_samples": count for part, count in counts.items()}, **drawn}


def samples_of(rows: pd.DataFrame, field: str) -> int | None:
    """How many samples a field is a share of; None where it is no such share, or where that is not known.

    Of classes that each seed draws, those of all seeds count, each once; of a method that has fewer seeds, fewer.

    Args:
        rows: of one place, of whatever methods: what one of them recorded holds for all. Older records do not say it;
            the common denominator of all shares of the field then stands for it. Where conditions differ, which may be
            those of other test samples, or each seed may have drawn a set of its own, that is the least of their
            denominators: over several sets it would be too large.
        field: without prefix.
    """
    if field not in SHARES:
        return None
    recorded = f"{SHARES[field]}_samples"
    if recorded in rows and rows[recorded].notna().any():
        return int(rows[recorded].min() * _sets_together(rows, field)) or None
    columns = [prefix + field for prefix in PREFIXES if prefix + field in rows]
    by = [*(["conditions"] if "conditions" in rows else []), *(["seed"] if differ_by_seed(rows) else [])]
    sets = [of for _, of in rows.groupby(by)] if by else [rows]
    found = [samples_behind(v for name in columns for v in of[name].dropna().unique().tolist()) for of in sets]
    return min(filter(None, found), default=None)


def differ_by_seed(rows: pd.DataFrame) -> bool:
    """Whether each seed draws what it forgets, so that seeds have other samples, and other retrained models."""
    return DRAWN in rows and bool(rows[DRAWN].eq(True).any())  # references that runs measured do not say it


def grow_with_seeds(rows: pd.DataFrame, field: str) -> bool:
    """Whether further seeds bring further samples of a field, since each draws its own classes."""
    of_forgotten = SHARES.get(field, "").startswith("forget")
    return of_forgotten and DRAWN_CLASSES in rows and bool(rows[DRAWN_CLASSES].notna().any())


def _sets_together(rows: pd.DataFrame, field: str) -> float:
    """How many times the classes of one seed the seeds of a method forget together; the least over methods."""
    if not grow_with_seeds(rows, field):
        return 1.0
    known = rows.dropna(subset=[DRAWN_CLASSES, *([field] if field in rows else [])])
    # A run that failed early has drawn none. Without any row ``map`` gives objects, which would choose columns.
    known = known[known[DRAWN_CLASSES].map(bool).astype(bool)]
    sets = known.groupby("method")[DRAWN_CLASSES]
    return min((len(set().union(*drawn)) / max(map(len, drawn)) for _, drawn in sets), default=1.0)


def share_interval(values: Sequence[float], samples: int | None) -> ShareInterval:
    """Mean over seeds with its 95 % interval, within [0, 1].

    Args:
        values: shares, one per seed; at least one.
        samples: distinct ones behind them; None: not known, Student's t alone.
    """
    interval = mean_interval(values)
    if interval.n < 2:
        return ShareInterval(interval.mean, math.nan, math.nan)
    low, high = interval.low, interval.high
    if samples is not None:
        low, high = widened((low, high), _within(interval.mean), [samples], TAIL)
    return ShareInterval(interval.mean, max(low, 0.0), min(high, 1.0))


def gap_interval(gaps: Sequence[float], own: Sequence[float], samples: int | None) -> ShareInterval:
    """Mean of the differences of two shares of the same samples, with its 95 % interval over seeds, within [-1, 1].

    Args:
        gaps: one share minus the other, one per seed.
        own: the first share of the same seeds, or its mean over them.
        samples: distinct ones behind either; None: not known, Student's t alone.
    """
    interval = mean_interval(gaps)
    if interval.n < 2 or samples is None:
        return ShareInterval(interval.mean, interval.low, interval.high)
    share = _within(sum(own) / len(own))
    low, high = (float(end) for end in gap_limits(share, _within(share - interval.mean), samples, TAIL))
    return ShareInterval(interval.mean, max(min(low, interval.low), -1.0), min(max(high, interval.high), 1.0))


def gap_in_words(gaps: Sequence[float], own: Sequence[float], samples: int | None, scale: float = 100.0) -> str:
    """``mean ± half-width`` of a share's gaps to retraining, or ``mean [low, high]`` where samples leave more room.

    Args:
        gaps: method minus retrain, one per seed.
        own: the method's shares of the same seeds.
        samples: distinct ones behind either; None: not known, Student's t alone.
        scale: to the unit shown.
    """
    words = mean_in_words([scale * gap for gap in gaps])
    if len(gaps) < 2 or samples is None:
        return words
    seeds, (mean, low, high) = mean_interval(gaps), gap_interval(gaps, own, samples)
    return words if _covers(seeds, low, high) else f"{scale * mean:.2f} [{scale * low:.2f}, {scale * high:.2f}]"


def share_in_words(
    values: Sequence[float], samples: int | None, scale: float = 100.0, form: str = ".2f", end_form: str = ""
) -> str:
    """``mean ± half-width`` over seeds, or ``mean [low, high]`` where the test samples leave more room than the seeds.

    Args:
        values: shares, one per seed.
        samples: distinct ones behind them; None: not known, Student's t alone.
        scale: to the unit shown.
        form: of the mean.
        end_form: of the half-width and of both ends; by default that of the mean.
    """
    end_form = end_form or form
    words = mean_in_words([scale * value for value in values], form, end_form)
    if len(values) < 2 or samples is None:
        return words
    interval = mean_interval(values)
    mean = _within(interval.mean)
    if _covers(interval, *widened((mean, mean), mean, [samples], TAIL)):
        return words
    _, low, high = share_interval(values, samples)
    return f"{scale * mean:{form}} [{scale * low:{end_form}}, {scale * high:{end_form}}]"


def _covers(interval: MeanInterval, low: float, high: float) -> bool:
    """Whether Student's t reaches as far as the exact limits to either side: widths alone do not tell it."""
    return interval.low <= low and high <= interval.high


def _within(share: float) -> float:
    """A mean of shares, whose rounding may leave [0, 1]."""
    return min(max(share, 0.0), 1.0)
