"""How far a share of test samples can be from the truth: exact binomial limits, of one share and of a difference.

Another seed answers the same test images again, so the samples that count are the distinct images, however many seeds
there are: 0 of 10 leaves room up to 31 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Float64 shares of up to this many samples lead back to their fraction.
MOST_SAMPLES = 1_000_000
BISECTIONS = 25


@dataclass(frozen=True)
class TestShares:
    """A method's and retraining's share of the same test samples, each a mean over seeds.

    Attributes:
        own: the method's, in [0, 1].
        retrained: retraining's.
        samples: distinct test samples behind either.
        grow: whether further seeds bring further samples.
    """

    __test__ = False  # no test class, whatever its name

    own: float
    retrained: float
    samples: int
    grow: bool = False


def clopper_pearson(share: ArrayLike, samples: int, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper limit of a share, each exceeded with a probability of at most ``alpha`` (Clopper, Pearson 1934).

    Args:
        share: observed, in [0, 1], of any shape; a mean over seeds need not be a whole number of samples.
        samples: at least 1.
        alpha: of each side, in (0, 1): 0.025 for a two-sided 95 % interval.

    Raises:
        ValueError: a share is not in [0, 1], or there is no sample.
    """
    from scipy.special import betaincinv

    hits = np.asarray(share, dtype=np.float64) * samples
    if samples < 1 or not bool(np.all((hits >= 0) & (hits <= samples * (1 + 1e-9)))):
        raise ValueError(f"shares must be in [0, 1] of at least 1 sample, not {share!r} of {samples}")
    hits = np.minimum(hits, samples)
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-12), samples - hits + 1, alpha), 0.0)
    high = np.where(hits < samples, betaincinv(hits + 1, np.maximum(samples - hits, 1e-12), 1 - alpha), 1.0)
    return low, high


def gap_limits(
    own: ArrayLike, retrained: ArrayLike, samples: int, alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper limit of ``own - retrained``, from the exact limits of either (Newcombe 1998, method 10's form).

    Where retraining has 0 this is the method's own exact limit. Which images both models get right is not recorded, so
    the two count as independent, which makes the limits wider than pairs of images would.

    Args:
        own, retrained: observed shares in [0, 1], of one shape.
        samples: of which both are shares.
        alpha: of each side.
    """
    own, retrained = np.asarray(own, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    own_low, own_high = clopper_pearson(own, samples, alpha)
    low, high = clopper_pearson(retrained, samples, alpha)
    gap = own - retrained
    return gap - np.hypot(own - own_low, high - retrained), gap + np.hypot(own_high - own, retrained - low)


def smallest_alpha(shares: TestShares, low: float, high: float, *, inside: bool) -> float:
    """The smallest ``alpha`` at which the gap's limits lie inside (or wholly outside) an interval: a p-value.

    Args:
        shares: observed.
        low, high: ends of the interval.
        inside: whether the limits shall lie within it, or all of them beyond one end.

    Returns:
        In (0, 0.5]; 0.5 where no interval does.
    """

    def reached(alpha: float) -> bool:
        least, most = (float(end) for end in gap_limits(shares.own, shares.retrained, shares.samples, alpha))
        return low < least and most < high if inside else least > high or most < low

    lower, upper = 0.0, 0.5
    if not reached(upper - 1e-9):
        return upper
    for _ in range(BISECTIONS):
        middle = (lower + upper) / 2
        lower, upper = (lower, middle) if reached(middle) else (middle, upper)
    return upper


def samples_behind(shares: Iterable[float]) -> int | None:
    """How many test samples shares are of, at least: the least common denominator of them all.

    It divides the true number, so intervals can only get too wide. None where it is 1, as for shares of 0 and 1 alone,
    or where the shares have no denominator in common (means over something else than samples).

    Args:
        shares: of one set of samples, as measured on single models.
    """
    denominators = {Fraction(share).limit_denominator(MOST_SAMPLES).denominator for share in shares}
    count = math.lcm(*denominators) if denominators else 1
    return count if 1 < count <= MOST_SAMPLES else None


def widened(interval: tuple[float, float], share: float, samples: Sequence[int], alpha: float) -> tuple[float, float]:
    """An interval of a mean share, made no narrower than the exact one of its test samples.

    Args:
        interval: low and high, over seeds.
        share: the mean over seeds.
        samples: distinct test samples, one number for each distinct set of them; their sum counts.
        alpha: of each side.
    """
    low, high = clopper_pearson(share, sum(samples), alpha)
    return min(interval[0], float(low)), max(interval[1], float(high))
