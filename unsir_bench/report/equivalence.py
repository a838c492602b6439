"""Whether a method equals retraining: tests against a margin stated before, corrected for how many there are.

Two hypotheses are tested of each gap to retraining: that it is at least the margin (rejected: *equivalent*; two
one-sided t-tests, Schuirmann 1987), and that it is at most the margin (rejected: *different*). Seeds alone reject
neither: shares of test samples must pass the exact binomial limits too, and equal values show nothing by themselves.
Either kind is corrected over its family by Holm's method.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report.binomial import TestShares, smallest_alpha
from unsir_bench.report.samples import ShareInterval, differ_by_seed, gap_interval
from unsir_bench.report.seeds import seed_values
from unsir_bench.report.statistics import ROUNDING

ALPHA = 0.05
FEW_SEEDS = 10  # below which a sign-flip test stands beside the t-tests
MOST_SEEDS = 1000
# Why a gap is not settled: two retrained models differ by more than the margin, the test samples are too few, equal
# values of an unknown number of samples, or more seeds than anybody has.
FLOOR, SAMPLES, NO_SPREAD, MANY_SEEDS = "floor", "samples", "no spread", f"n > {MOST_SEEDS}"
Key = TypeVar("Key")


class EquivalenceVerdict(StrEnum):
    """What the seeds say about a method's gap to retraining."""

    EQUIVALENT = "equivalent to retraining"
    DIFFERENT = "different"
    UNDECIDED = "undecided"
    UNDECIDABLE = "undecidable at this margin"


@dataclass(frozen=True)
class Gap:
    """A method's gap to retraining, and what it is held against.

    Attributes:
        values: method minus retrain, one per training seed.
        margin: positive, in the unit of the values, stated before they were seen; gaps up to it count as none.
        floor: mean absolute difference of two independently retrained models (``retrain_floor``); NaN: not known.
        shares: for shares of test samples, the two behind the gap; None for any other metric, or where the number of
            samples is not known.
    """

    values: Sequence[float]
    margin: float
    floor: float = math.nan
    shares: TestShares | None = None

    def __post_init__(self) -> None:
        if not 0 < self.margin < math.inf:
            raise ValueError(f"margin must be a positive number, not {self.margin}")
        if not all(map(math.isfinite, self.values)):
            raise MetricUnavailable("some gaps are NaN or infinite")

    @cached_property
    def mean(self) -> float:
        """Mean over seeds."""
        return sum(self.values) / len(self.values)

    @property
    def blurred(self) -> bool:
        """Whether two retrained models differ by more than the margin."""
        return self.floor > self.margin * (1 + ROUNDING)

    @property
    def bar(self) -> float:
        """What a difference must exceed: the margin, or what two retrained models differ by."""
        return self.floor if self.blurred else self.margin

    def interval(self) -> ShareInterval | None:
        """The mean with its 95 % interval, ``gap_interval``; None for one seed."""
        if len(self.values) < 2:
            return None
        own, samples = ([self.shares.own], self.shares.samples) if self.shares else ([], None)
        return gap_interval(self.values, own, samples)

    @cached_property
    def p_equivalent(self) -> float:
        """Of the hypothesis that the gap is at least the margin; 1 where nothing can be said."""
        if self.blurred or self._silent:
            return 1.0
        p = _one_sided(self.values, self.margin - abs(self.mean))
        if self.shares is not None:
            p = max(p, smallest_alpha(self.shares, -self.margin, self.margin, inside=True))
        return p

    @cached_property
    def p_different(self) -> float:
        """Of the hypothesis that the gap is at most the bar, two-sided; 1 where nothing can be said."""
        if self._silent:
            return 1.0
        p = _one_sided(self.values, abs(self.mean) - self.bar)
        if self.shares is not None:
            p = max(p, smallest_alpha(self.shares, -self.bar, self.bar, inside=False))
        return min(1.0, 2 * p)

    @property
    def _silent(self) -> bool:
        """Whether there is neither a spread over seeds nor a number of samples to say how sure the mean is."""
        return len(self.values) < 2 or (self.shares is None and _spread(self.values) == 0)

    @property
    def p_sign_flip(self) -> float | None:
        """Exact, two-sided, of gaps that are symmetric about 0; None from ``FEW_SEEDS`` seeds on."""
        return sign_flip(self.values) if 1 < len(self.values) < FEW_SEEDS else None


@dataclass(frozen=True)
class Judged:
    """A verdict.

    Attributes:
        seeds_needed: for *undecided*, the number of seeds that would settle it if mean and spread stay; None where that
            is not known.
        why: for the other verdicts that settle nothing, the reason: one of ``FLOOR``, ``SAMPLES``, ``NO_SPREAD`` and
            ``MANY_SEEDS``, or ``diverged``; empty for one seed.
    """

    verdict: EquivalenceVerdict
    seeds_needed: int | None = None
    why: str = ""


def judge(family: Mapping[Key, Gap], alpha: float = ALPHA) -> dict[Key, Judged]:
    """A verdict for each gap of a family: false *equivalent* and false *different* verdicts each in at most ``alpha``.

    Args:
        family: the gaps that are looked at together: one table's methods and metrics.
        alpha: in (0, 0.5), for either kind of verdict over the whole family.

    Raises:
        ValueError: ``alpha`` is out of range.
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie between 0 and 0.5, not be {alpha}")
    gaps = list(family.values())
    equivalent = _holm([gap.p_equivalent for gap in gaps], alpha)
    different = _holm([gap.p_different for gap in gaps], alpha)
    return {
        key: _judged(gap, same, other, alpha, len(gaps))
        for key, gap, same, other in zip(family, gaps, equivalent, different, strict=True)
    }


def _holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's method rejects: by rising p-value, until the first above its share of ``alpha``."""
    ordered = np.argsort(p_values, kind="stable")
    shares = alpha / np.arange(len(ordered), 0, -1)
    rejected = np.zeros(len(ordered), dtype=bool)
    rejected[ordered] = np.logical_and.accumulate(np.asarray(p_values)[ordered] <= shares)
    return [bool(each) for each in rejected]


def _judged(gap: Gap, equivalent: bool, different: bool, alpha: float, tests: int) -> Judged:
    if different:
        return Judged(EquivalenceVerdict.DIFFERENT)
    if equivalent:
        return Judged(EquivalenceVerdict.EQUIVALENT)
    if gap.blurred:
        return Judged(EquivalenceVerdict.UNDECIDABLE, why=FLOOR)
    if gap.shares is not None and _samples_too_few(gap, gap.shares, alpha / tests):
        # Holm's last test is at alpha itself: what that allows, further seeds of the other gaps may bring about.
        never = _samples_too_few(gap, gap.shares, alpha) and not gap.shares.grow
        return Judged(EquivalenceVerdict.UNDECIDABLE if never else EquivalenceVerdict.UNDECIDED, why=SAMPLES)
    return _undecided(gap, alpha / tests)


def _undecided(gap: Gap, alpha: float) -> Judged:
    if len(gap.values) < 2:
        return Judged(EquivalenceVerdict.UNDECIDED)
    if gap.shares is None and _spread(gap.values) == 0:
        return Judged(EquivalenceVerdict.UNDECIDED, why=NO_SPREAD)
    needed = seeds_needed(gap, alpha)
    return Judged(EquivalenceVerdict.UNDECIDED, needed, "" if needed else MANY_SEEDS)


def _samples_too_few(gap: Gap, shares: TestShares, alpha: float) -> bool:
    """Whether the test samples alone allow neither verdict at this gap."""
    same = smallest_alpha(shares, -gap.margin, gap.margin, inside=True)
    other = smallest_alpha(shares, -gap.bar, gap.bar, inside=False)
    return same > alpha and other > alpha / 2


def seeds_needed(gap: Gap, alpha: float) -> int | None:
    """How many seeds would settle a gap whose mean and spread stay as they are; None for more than ``MOST_SEEDS``.

    Args:
        gap: of at least two seeds.
        alpha: that its tests must reach; dividing it by the size of the family is the worst case of Holm's method.
    """
    inside = abs(gap.mean) < gap.margin
    room = gap.margin - abs(gap.mean) if inside else abs(gap.mean) - gap.bar
    return seeds_for(gap.values, room, alpha if inside else alpha / 2)


def seeds_for(values: Sequence[float], room: float, tail: float) -> int | None:
    """Smallest number of further and present seeds for which Student's t stays within ``room``; None: no such number.

    Args:
        values: of at least two seeds, whose spread is taken to stay.
        room: between their mean and the limit, in the unit of the values.
        tail: probability beyond one end of the interval, such as 0.025 for a two-sided one of 95 %.
    """
    from scipy.special import stdtrit

    spread, room = _spread(values), room * (1 - ROUNDING)

    def settled(count: int) -> bool:
        return bool(stdtrit(count - 1, 1 - tail) * spread / math.sqrt(count) < room)

    if room <= 0 or not settled(MOST_SEEDS):
        return None
    return bisect.bisect_left(range(MOST_SEEDS), True, lo=len(values) + 1, key=settled)


def sign_flip(values: Sequence[float]) -> float:
    """Exact two-sided p-value: the share of all 2ⁿ choices of signs whose mean is at least as far from 0.

    Its smallest value is 2 / 2ⁿ, so fewer than 6 seeds can never reach 5 %.

    Args:
        values: one per seed, at most some twenty.
    """
    array = np.asarray(values)
    signs = np.array(list(itertools.product((-1, 1), repeat=len(array))))
    sums = np.abs(signs @ array)
    return float(np.mean(sums >= abs(array.sum()) * (1 - ROUNDING)))


def retrain_floor(models: Mapping[int, float]) -> float:
    """Mean absolute difference over all pairs of independently retrained models; NaN for fewer than two.

    Args:
        models: a metric of each, by training seed.
    """
    pairs = [abs(one - other) for one, other in itertools.combinations(models.values(), 2)]
    return sum(pairs) / len(pairs) if pairs else math.nan


def floor_of_retraining(runs: pd.DataFrame, field: str) -> float:
    """Mean absolute difference over all pairs of retrained models of one forget set; NaN for fewer than two.

    A seed's second retrained model is the next seed's first. Of what is drawn anew for each seed, a seed's two models
    are the only pair that was taught the same.

    Args:
        runs: of ``run_table``.
        field: of a metric, without prefix.
    """
    first, second = seed_values(runs, f"retrain_{field}"), seed_values(runs, f"floor_{field}")
    if not differ_by_seed(runs):
        return retrain_floor({**{seed + 1: value for seed, value in second.items()}, **first})
    pairs = [abs(second[seed] - first[seed]) for seed in first.keys() & second.keys()]
    return sum(pairs) / len(pairs) if pairs else float("nan")


def _spread(values: Sequence[float]) -> float:
    """Standard deviation; 0 where values differ by rounding alone."""
    if max(values) - min(values) <= ROUNDING * max(1.0, *map(abs, values)):
        return 0.0
    return float(np.std(values, ddof=1))


def _one_sided(values: Sequence[float], room: float) -> float:
    """p-value of a one-sided t-test with ``room`` between the mean and what it must not reach."""
    from scipy.special import stdtr

    error = _spread(values) / math.sqrt(len(values))
    if error == 0:
        return 0.0 if room > ROUNDING else 1.0
    return float(stdtr(len(values) - 1, -room / error))
