"""What settles a claim: whether runs, or the 95 % interval over seeds, lie within its bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report.claims.definitions import RETRAIN_COMPARISONS, Claim
from unsir_bench.report.claims.findings import ClaimVerdict
from unsir_bench.report.claims.measurements import ClaimRun, Measurement, floor_of
from unsir_bench.report.claims.sample_limits import SHARES, exact_limits
from unsir_bench.report.equivalence import MOST_SEEDS, EquivalenceVerdict, Gap, judge, seeds_for
from unsir_bench.report.samples import TAIL
from unsir_bench.report.statistics import MeanInterval, is_ratio, mean_interval

SILENT = "equal values show no spread"


@dataclass(frozen=True)
class Bounds:
    """Between what a claim's number must lie, and the same in words."""

    words: str
    low: float
    high: float


@dataclass(frozen=True)
class Settled:
    """A verdict, the number and interval that it rests on, of how many seeds or runs, and why there is none."""

    verdict: ClaimVerdict
    number: float | None = None
    ends: tuple[float, float] | None = None
    n: int = 0
    reason: str = ""


def bounds_of(claim: Claim) -> Bounds:
    """The bounds that a claim's definition states, in the unit of its quantity."""
    if claim.comparison in RETRAIN_COMPARISONS:
        margin = claim.tolerance or 0.0
        return {
            "not_below_retrain": Bounds(f"at least retrain's - {margin:.3g}", -margin, math.inf),
            "not_above_retrain": Bounds(f"at most retrain's + {margin:.3g}", -math.inf, margin),
            "equivalent_to_retrain": Bounds(f"retrain's ± {margin:.3g} (TOST)", -margin, margin),
        }[claim.comparison]
    if isinstance(claim.limit, list):
        low, high = map(float, claim.limit)
        return Bounds(f"{low:g}" if low == high else f"{low:g} to {high:g}", low, high)
    limit = float(claim.limit or 0.0)
    below = claim.comparison == "below"
    return Bounds(f"{claim.comparison} {limit:g}", -math.inf if below else limit, limit if below else math.inf)


def settled_by_runs(known: Sequence[Measurement], bounds: Bounds, missing: str = "") -> Settled:
    """Whether every value lies within the bounds, with the one that lies furthest out.

    Args:
        known: measurements with a value, of a run or a pair of runs; at least one.
        bounds: of the claim.
        missing: why other runs have no value; with such runs the claim cannot hold.
    """

    def distance(value: float) -> float:
        """From the middle of the bounds; positive bounds are of ratios, of which 0.5 is as far from 1 as 2."""
        if bounds.low > 0:
            return abs(math.log(value) - (math.log(bounds.low) + math.log(bounds.high)) / 2)
        return abs(value - (bounds.low + bounds.high) / 2)

    def outside(value: float) -> bool:
        return not bounds.low <= value <= bounds.high

    worst = max(
        (measurement.value or 0.0 for measurement in known), key=lambda value: (outside(value), distance(value))
    )
    n = len({run for measurement in known for run in measurement.runs})
    inside = ClaimVerdict.NOT_TESTED if missing else ClaimVerdict.HOLDS
    return Settled(ClaimVerdict.FAILS if outside(worst) else inside, worst, None, n, missing)


def settled_by_seeds(claim: Claim, known: Sequence[Measurement], done: Sequence[ClaimRun], bounds: Bounds) -> Settled:
    """Whether the interval over seeds lies within the bounds.

    The interval is Student's t, no narrower than what the test samples alone leave open. Where retrained models differ
    by more than the margin, only a gap beyond that tells.

    Args:
        claim: that seeds settle.
        known: a measurement with a value for each seed, at least one.
        done: the finished runs, for the number of their test samples and the floor between their retrained models.
        bounds: of the claim.
    """
    exact = exact_limits(str(claim.quantity), known, done, TAIL)
    floor = floor_of(str(claim.quantity), done)
    if not floor > (claim.tolerance or math.inf):  # true where the floor is not known, NaN
        return _within(claim, known, bounds, exact)
    low, high = (math.copysign(floor, end) if math.isfinite(end) else end for end in (bounds.low, bounds.high))
    settled = _within(claim, known, replace(bounds, low=low, high=high), exact)
    if settled.verdict is ClaimVerdict.FAILS:
        return settled
    why = f"undecidable at this margin: two retrained models differ by {floor:.3g}"
    return replace(settled, verdict=ClaimVerdict.UNDECIDED, reason=why)


def _within(claim: Claim, known: Sequence[Measurement], bounds: Bounds, exact: tuple[float, float] | None) -> Settled:
    logarithmic = is_ratio(str(claim.quantity))
    values = list({measurement.seed: measurement.value or 0.0 for measurement in known}.values())
    if logarithmic and min(values) <= 0:
        return Settled(ClaimVerdict.NOT_TESTED, reason="a ratio of seconds that is not positive")
    if logarithmic:
        bounds = replace(bounds, low=_log(bounds.low), high=_log(bounds.high))
        settled = _by_interval(claim, [math.log(value) for value in values], bounds, exact)
        ends = settled.ends and (_exp(settled.ends[0]), _exp(settled.ends[1]))
        number = None if settled.number is None else math.exp(settled.number)
        return replace(settled, number=number, ends=ends if ends and math.isfinite(ends[1]) else None)
    return _by_interval(claim, values, bounds, exact)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _by_interval(claim: Claim, values: Sequence[float], bounds: Bounds, exact: tuple[float, float] | None) -> Settled:
    try:
        interval = mean_interval(values)
    except MetricUnavailable as error:
        return Settled(ClaimVerdict.NOT_TESTED, reason=str(error))
    undecided = Settled(ClaimVerdict.UNDECIDED, interval.mean, None, interval.n)
    if interval.n < 2:
        return replace(undecided, reason="one seed cannot exclude chance: at least 2 are needed")
    ends = interval.low, interval.high
    if exact is not None:
        ends = min(ends[0], exact[0]), max(ends[1], exact[1])
    undecided = replace(undecided, ends=ends)
    if exact is None and interval.half_width == 0:
        unknown = ", and the number of test samples is not known" if str(claim.quantity) in SHARES else ""
        return replace(undecided, reason=f"{SILENT}{unknown}")
    if claim.comparison == "equivalent_to_retrain":
        return _equivalent(values, undecided, bounds)
    verdict = _side(ends, bounds)
    reason = _unsure(values, interval, exact, bounds) if verdict is ClaimVerdict.UNDECIDED else ""
    return replace(undecided, verdict=verdict, reason=reason)


def _side(ends: tuple[float, float], bounds: Bounds) -> ClaimVerdict:
    if bounds.low < ends[0] and ends[1] < bounds.high:
        return ClaimVerdict.HOLDS
    if ends[1] <= bounds.low or ends[0] >= bounds.high:
        return ClaimVerdict.FAILS
    return ClaimVerdict.UNDECIDED


def _unsure(values: Sequence[float], interval: MeanInterval, exact: tuple[float, float] | None, bounds: Bounds) -> str:
    reaches = f"{interval.n} seeds do not tell: the 95 % interval reaches over the limit"
    if exact is not None and _side(exact, bounds) is ClaimVerdict.UNDECIDED:
        return f"{reaches}, which the test samples alone leave open"
    room = min(abs(interval.mean - limit) for limit in (bounds.low, bounds.high))
    return f"{reaches}; {_would_settle(seeds_for(values, room, TAIL))}"


def _would_settle(seeds: int | None) -> str:
    return f"n = {seeds} would settle it" if seeds else f"more than {MOST_SEEDS} seeds would be needed"


def _equivalent(values: Sequence[float], undecided: Settled, bounds: Bounds) -> Settled:
    judged = judge({0: Gap(list(values), bounds.high)})[0]
    if judged.verdict is EquivalenceVerdict.EQUIVALENT:
        return replace(undecided, verdict=ClaimVerdict.HOLDS)
    if judged.verdict is EquivalenceVerdict.DIFFERENT:
        return replace(undecided, verdict=ClaimVerdict.FAILS)
    neither = f"{undecided.n} seeds do not tell: neither one-sided test nor its opposite rejects"
    return replace(undecided, reason=f"{neither}; {_would_settle(judged.seeds_needed)}")
