"""What can be said over seeds: means with their intervals.

Runs of one seed share split, initial weights and data order, so methods are compared in pairs: by the difference within
each seed, whose spread is smaller than that of either method. A seed whose run failed or diverged has no pair: it takes
no part here and must be shown beside the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from unsir_bench.errors import MetricUnavailable

# 0.03 - 0.02 falls short of 0.01 and 0.05 - 0.04 exceeds it: an end this near to the margin, relative to it, is on it.
ROUNDING = 1e-9


@dataclass(frozen=True)
class MeanInterval:
    """A mean and the interval that Student's t puts around it.

    Attributes:
        mean: in the unit of the values; NaN where there is none.
        half_width: in the unit of the values; NaN for fewer than two values, 0 where all are equal.
        n: number of values.
        confidence: of the two-sided interval, such as 0.95.
    """

    mean: float
    half_width: float
    n: int
    confidence: float

    @property
    def low(self) -> float:
        """Lower end; NaN for fewer than two values."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end; NaN for fewer than two values."""
        return self.mean + self.half_width


class RatioInterval(NamedTuple):
    """The geometric mean of ratios and both ends of its interval, which are NaN for fewer than two values."""

    mean: float
    low: float
    high: float


def mean_and_half_width(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean and half the width of its interval (Student's t); the half-width is NaN for fewer than two values."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, math.nan
    from scipy import stats  # a second's import, which asking for help need not pay

    return mean, float(stats.sem(values) * stats.t.ppf((1 + confidence) / 2, count - 1))


def mean_in_words(values: Sequence[float], form: str = "", half_form: str = "") -> str:
    """``mean ± half-width`` of the 95 % interval; the mean alone for one value, a dash for none.

    Args:
        values: one per seed, in the unit shown.
        form: of the mean; by default two decimals, and none from 1000 on.
        half_form: of the half-width; by default that of the mean.
    """
    if not values:
        return "–"
    mean, half = mean_and_half_width(values)
    form = form or (".2f" if abs(mean) < 1000 else ".0f")
    return f"{mean:{form}}" + ("" if math.isnan(half) else f" ± {half:{half_form or form}}")


def with_seeds(words: str, seeds: int, of: int) -> str:
    """A cell in words, with its number of seeds where it has values of fewer than its row."""
    return f"{words} (n = {seeds})" if 0 < seeds < of else words


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    """Mean of one value per seed with its two-sided Student-t interval, ``mean ± t · s / √n`` (``n - 1`` in ``s``).

    Args:
        values: one per seed, in any unit.
        confidence: in (0, 1).

    Returns:
        A single point, exactly, where two or more values are all equal; a half-width of NaN for fewer than two values.

    Raises:
        MetricUnavailable: a value is NaN or infinite.
        ValueError: ``confidence`` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not be {confidence}")
    if not all(map(math.isfinite, values)):
        raise MetricUnavailable("some values are NaN or infinite")
    if len(values) == 0:
        return MeanInterval(math.nan, math.nan, 0, confidence)
    if len(values) >= 2 and min(values) == max(values):
        # Three times 0.1 sums to more than 0.3: rounding would give equal values a spread and a mean beside them.
        return MeanInterval(float(values[0]), 0.0, len(values), confidence)
    mean, half_width = mean_and_half_width(values, confidence)
    return MeanInterval(float(mean), half_width, len(values), confidence)


def is_ratio(field: str) -> bool:
    """Whether a field is a ratio of seconds: twice as fast and half as fast are equally far from 1."""
    return field.startswith("speedup_")


def ratio_interval(values: Sequence[float], confidence: float = 0.95) -> RatioInterval:
    """Geometric mean of ratios with the interval of their logarithms (``mean_interval``), as a ratio again.

    Args:
        values: positive ratios, one per seed; at least one.
        confidence: in (0, 1).

    Raises:
        MetricUnavailable: a value is not positive, or not finite.
    """
    if not all(0 < value < math.inf for value in values):
        raise MetricUnavailable("some ratios are not positive numbers")
    logs = mean_interval([math.log(value) for value in values], confidence)
    return RatioInterval(*(_power(end) for end in (logs.mean, logs.low, logs.high)))


def _power(logarithm: float) -> float:
    """The number with this natural logarithm; infinite beyond what a float holds."""
    return math.inf if logarithm > 700 else math.exp(logarithm)


def ratio_in_words(values: Sequence[float]) -> str:
    """``mean [low, high]`` of ratios, geometric; as ``mean_in_words`` of fewer than two, or where no digit differs."""
    if len(values) < 2:
        return mean_in_words(values)
    interval = ratio_interval(values)
    form = ".2f" if interval.mean < 1000 else ".0f"
    mean, low, high = (f"{end:{form}}" for end in interval)
    return f"{mean} ± {0:{form}}" if low == high else f"{mean} [{low}, {high}]"
