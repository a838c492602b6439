"""Which numbers are shares of samples, of how many, and their intervals: no narrower than the exact binomial one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.binomial import gap_limits, samples_behind, widened
from unsir_bench.report.statistics import mean_in_words, mean_interval

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


def recorded_samples(record: RunRecord) -> dict[str, int]:
    """Columns ``<part>_samples`` of a run that recorded how many samples its parts have; older ones did not."""
    counts = dict(record.details.get("samples") or {})
    nearest = record.details.get("nearest")
    if isinstance(nearest, dict) and isinstance(nearest.get("samples"), int):
        counts["nearest"] = nearest["samples"]
    return {f"{part}_samples": count for part, count in counts.items()}


def samples_of(rows: pd.DataFrame, field: str) -> int | None:
    """How many samples a field is a share of; None where it is no such share, or where that is not known.

    Args:
        rows: of one place, of whatever methods: what one of them recorded holds for all. Older records do not say it;
            the common denominator of all shares of the field then stands for it, which is never too large.
        field: without prefix.
    """
    if field not in SHARES:
        return None
    recorded = f"{SHARES[field]}_samples"
    if recorded in rows and rows[recorded].notna().any():
        return int(rows[recorded].min()) or None
    columns = [prefix + field for prefix in PREFIXES if prefix + field in rows]
    return samples_behind(value for name in columns for value in rows[name].dropna().unique().tolist())


def share_interval(values: Sequence[float], samples: int | None) -> tuple[float, float, float]:
    """Mean over seeds and both ends of its 95 % interval, within [0, 1]; the ends of a single seed are NaN.

    Args:
        values: shares, one per seed; at least one.
        samples: distinct ones behind them; None: not known, Student's t alone.
    """
    interval = mean_interval(values)
    if interval.n < 2:
        return interval.mean, math.nan, math.nan
    low, high = interval.low, interval.high
    if samples is not None:
        low, high = widened((low, high), min(max(interval.mean, 0.0), 1.0), [samples], 0.025)
    return interval.mean, max(low, 0.0), min(high, 1.0)


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
    interval = mean_interval(gaps)
    share = min(max(sum(own) / len(own), 0.0), 1.0)
    retrained = min(max(share - interval.mean, 0.0), 1.0)
    low, high = (float(end) for end in gap_limits(share, retrained, samples, 0.025))
    if high - low <= 2 * interval.half_width:
        return words
    low, high = min(low, interval.low), max(high, interval.high)
    return f"{scale * interval.mean:.2f} [{scale * low:.2f}, {scale * high:.2f}]"


def share_in_words(values: Sequence[float], samples: int | None, scale: float = 100.0) -> str:
    """``mean ± half-width`` over seeds, or ``mean [low, high]`` where the test samples leave more room than the seeds.

    Args:
        values: shares, one per seed.
        samples: distinct ones behind them; None: not known, Student's t alone.
        scale: to the unit shown.
    """
    words = mean_in_words([scale * value for value in values])
    if len(values) < 2 or samples is None:
        return words
    interval = mean_interval(values)
    mean = min(max(interval.mean, 0.0), 1.0)
    exact = widened((interval.mean, interval.mean), mean, [samples], 0.025)
    if exact[1] - exact[0] <= 2 * interval.half_width:
        return words
    low, high = widened((interval.low, interval.high), mean, [samples], 0.025)
    return f"{scale * mean:.2f} [{scale * max(low, 0.0):.2f}, {scale * min(high, 1.0):.2f}]"
