"""What a relearning curve says: area, half-life and time to retrain's plateau, with their censoring.

A curve is ``details.relearn_curve`` of a record: (batches trained, A_Df) of every check, from 0 on. It ends where the
network was as accurate as the target asks, or at the cap: what had not happened by then is censored, not equal to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Curve = Sequence[Sequence[float]]
ROUNDING = 1e-9
SHARE_OF_PLATEAU = 0.95


@dataclass(frozen=True)
class Time:
    """Batches until something happened; where censored, it had not by then.

    Attributes:
        batches: at the check that first showed it, or at the last check.
        censored: whether the true time is above ``batches``.
    """

    batches: float
    censored: bool = False

    def __str__(self) -> str:
        return f">{self.batches:g}" if self.censored else f"{self.batches:g}"


@dataclass(frozen=True)
class RelearnSummary:
    """Of one curve.

    Attributes:
        area: mean A_Df along the curve, by trapezoids, over the original's A_Df; 1 is a network that knew all along.
        span: batches that the area is over.
        half: until half of the original's A_Df.
        plateau: until 95 % of retrain's plateau; None without retrain's curve.
    """

    area: float
    span: float
    half: Time
    plateau: Time | None


def summarise(curve: Curve, original: float, retrained: Curve | None = None) -> RelearnSummary:
    """The numbers of one curve.

    Args:
        curve: at least one check, batches increasing.
        original: the original's A_Df, above 0.
        retrained: retrain's curve, measured alike. The area is over its batches: a curve that ended earlier, at its
            target, counts at its last accuracy from then on, and a longer one is cut, so that slow relearning is not
            counted for more than fast.

    Raises:
        ValueError: there is no check, batches do not increase, or the original knew nothing.
    """
    if not curve or any(later[0] <= earlier[0] for earlier, later in pairwise(curve)):
        raise ValueError(f"a relearning curve needs checks at increasing batches, not {list(curve)}")
    if not original > 0:
        raise ValueError(f"original={original}: nothing was known that could be relearned")
    end = retrained[-1][0] if retrained else curve[-1][0]
    plateau = first_at(curve, SHARE_OF_PLATEAU * plateau_of(retrained)) if retrained else None
    return RelearnSummary(area_under(curve, end) / original, end, first_at(curve, original / 2), plateau)


def area_under(curve: Curve, end: float) -> float:
    """Mean accuracy from 0 to ``end`` batches, linear between checks and constant after the last one."""
    if end == 0:
        return float(curve[0][1])
    within = [*(check for check in curve if check[0] < end), (end, accuracy_at(curve, end))]
    return float(sum((right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in pairwise(within)) / end)


def first_at(curve: Curve, accuracy: float) -> Time:
    """The first check at which an accuracy is reached; censored at the last check."""
    for batches, reached in curve:
        if reached >= accuracy - ROUNDING:
            return Time(float(batches))
    return Time(float(curve[-1][0]), censored=True)


def accuracy_at(curve: Curve, batches: float) -> float:
    """The accuracy after so many batches, linear between checks and constant after the last one."""
    for left, right in pairwise(curve):
        if batches < right[0]:
            return float(left[1] + (right[1] - left[1]) * (batches - left[0]) / (right[0] - left[0]))
    return float(curve[-1][1])


def plateau_of(curve: Curve) -> float:
    """Where a curve levels off: the mean accuracy of the last quarter of its checks, at least one of them."""
    last = curve[-max(1, len(curve) // 4) :]
    return float(sum(accuracy for _, accuracy in last) / len(last))


def anamnesis_in_words(own: Time, retrained: Time) -> str:
    """AIN, relearn time over retrain's: a number where both are known, a bound where one is censored, else a dash."""
    if (own.censored and retrained.censored) or (not own.censored and retrained.batches == 0):
        return "–"
    if own.censored:
        return f">{own.batches / retrained.batches:.2f}" if retrained.batches else "–"
    ratio = own.batches / retrained.batches
    return f"<{ratio:.2f}" if retrained.censored else f"{ratio:.2f}"


def median_in_words(times: Sequence[Time]) -> str:
    """Kaplan-Meier's median of censored times, with how many are censored; a bound where half of them are.

    Args:
        times: one per seed.
    """
    if not times:
        return "–"
    censored = sum(time.censored for time in times)
    return f"{median_time(times)}" + (f" ({censored} of {len(times)} censored)" if censored else "")


def median_time(times: Sequence[Time]) -> Time:
    """Kaplan-Meier's median; censored where half of the times or more are, at the least of these.

    Args:
        times: one per seed, at least one.
    """
    surviving = 1.0
    for batches in sorted({time.batches for time in times if not time.censored}):
        at_risk = sum(time.batches >= batches for time in times)
        surviving *= 1 - sum(time.batches == batches and not time.censored for time in times) / at_risk
        if surviving <= 0.5 + ROUNDING:
            return Time(batches)
    return Time(min(time.batches for time in times if time.censored), censored=True)
