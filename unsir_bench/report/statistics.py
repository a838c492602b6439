"""What can be said over seeds: means with intervals, paired differences, and whether a method equals retraining.

Runs of one seed share split, initial weights and data order, so methods are compared in pairs: by the difference within
each seed, whose spread is smaller than that of either method. A seed whose run failed or diverged has no pair: it takes
no part here and must be shown beside the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from unsir_bench.errors import MetricUnavailable

# 0.03 - 0.02 falls short of 0.01 and 0.05 - 0.04 exceeds it: an end this near to the margin, relative to it, is on it.
ROUNDING = 1e-9


class EquivalenceVerdict(StrEnum):
    """What the seeds say about a method's gap to retraining."""

    INDISTINGUISHABLE = "indistinguishable from retrain"
    DISTINGUISHABLE = "distinguishable"
    TOO_FEW_SEEDS = "too few seeds to say"


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


@dataclass(frozen=True)
class Equivalence:
    """The outcome of ``equivalence``.

    Attributes:
        verdict: what can be said at level ``alpha``.
        margin: gaps between ``-margin`` and ``+margin`` count as none.
        alpha: level of each one-sided test.
        inner: interval of the mean gap at ``1 - 2 alpha``, which must lie within the margin to be indistinguishable.
        outer: interval of the mean gap at ``1 - alpha``, which must lie beyond the margin to be distinguishable.
    """

    verdict: EquivalenceVerdict
    margin: float
    alpha: float
    inner: MeanInterval
    outer: MeanInterval


@dataclass(frozen=True)
class Margin:
    """The outcome of ``default_margin``.

    Attributes:
        value: the margin, in the unit of the gaps.
        minimum: the least that it may be.
        floor: mean and interval of the absolute floor gaps.
    """

    value: float
    minimum: float
    floor: MeanInterval


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


def gaps_by_seed(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """``values - reference`` for every seed that both have, in the order of seeds."""
    return {seed: float(values[seed] - reference[seed]) for seed in sorted(values.keys() & reference.keys())}


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], confidence: float = 0.95
) -> MeanInterval:
    """Mean of ``values - reference`` over the seeds that both have, with the interval of a paired t-test.

    Args:
        values: by seed.
        reference: by seed, in the same unit.
        confidence: in (0, 1).

    Returns:
        Mean, interval and number of shared seeds; mean and half-width are NaN where no seed is shared, and the
        half-width for one shared seed. 0 is the mean for two that do not differ.

    Raises:
        MetricUnavailable: a difference is NaN or infinite.
        ValueError: ``confidence`` is not between 0 and 1.
    """
    return mean_interval(list(gaps_by_seed(values, reference).values()), confidence)


def equivalence(gaps: Mapping[int, float], margin: float, alpha: float = 0.05) -> Equivalence:
    """Whether a method's gap to retraining is smaller than a margin: paired two one-sided t-tests (TOST).

    Both tests, of ``mean gap <= -margin`` and of ``mean gap >= +margin``, reject at level ``alpha`` exactly where the
    ``1 - 2 alpha`` interval of the mean gap lies within (-margin, +margin) (Schuirmann 1987; Lakens 2017). That a
    difference is not significant never makes a method indistinguishable: few seeds would show that of anything.

    Args:
        gaps: method minus retrain by seed (``gaps_by_seed``).
        margin: positive, in the unit of the gaps (``default_margin``), stated before looking at the gaps.
        alpha: in (0, 0.5).

    Returns:
        ``INDISTINGUISHABLE`` where the ``1 - 2 alpha`` interval lies strictly within the margin, ``DISTINGUISHABLE``
        where the ``1 - alpha`` interval lies wholly above ``+margin`` or wholly below ``-margin``, else
        ``TOO_FEW_SEEDS``, as for fewer than two gaps. Gaps that are all equal have a point for their interval.

    Raises:
        MetricUnavailable: a gap is NaN or infinite.
        ValueError: the margin is not a positive number or ``alpha`` not between 0 and 0.5.
    """
    _require_positive("margin", margin)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not be {alpha}")
    ordered = [gaps[seed] for seed in sorted(gaps)]
    inner, outer = mean_interval(ordered, 1 - 2 * alpha), mean_interval(ordered, 1 - alpha)
    within, beyond = margin * (1 - ROUNDING), margin * (1 + ROUNDING)
    # The ends are NaN for fewer than two gaps, and NaN is neither within nor beyond.
    if -within < inner.low and inner.high < within:
        verdict = EquivalenceVerdict.INDISTINGUISHABLE
    elif outer.low > beyond or outer.high < -beyond:
        verdict = EquivalenceVerdict.DISTINGUISHABLE
    else:
        verdict = EquivalenceVerdict.TOO_FEW_SEEDS
    return Equivalence(verdict, margin, alpha, inner, outer)


def default_margin(floor_gaps: Mapping[int, float], minimum: float) -> Margin:
    """The margin within which a gap is no more than that of retraining to retraining with another training seed.

    ``max(minimum, mean |floor gap|)``. Two retrained models differ by about the mean absolute gap, in either direction,
    so a method is asked for no less. The interval of that mean is left out on purpose: it would make the margin wider,
    and being indistinguishable easier, the fewer seeds there are. The minimum is what nobody would call a difference,
    for floors that happen to be zero, as accuracy on the forget set is; fewer than two floor gaps leave it alone.

    Args:
        floor_gaps: second retrain minus retrain by seed (``gaps_by_seed``); the sign does not matter.
        minimum: positive, in the unit of the gaps, such as 0.01 for fractions.

    Raises:
        MetricUnavailable: a gap is NaN or infinite.
        ValueError: the minimum is not a positive number.
    """
    _require_positive("minimum", minimum)
    floor = mean_interval([abs(floor_gaps[seed]) for seed in sorted(floor_gaps)])
    return Margin(max(minimum, floor.mean) if floor.n >= 2 else minimum, minimum, floor)


def _require_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, not {value}")
