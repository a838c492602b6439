"""What the test samples alone leave open of a claim's number, however many seeds there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from unsir_bench.report.binomial import clopper_pearson, gap_limits
from unsir_bench.report.claims.measurements import SHARE, SLOPE, ClaimRun, Measurement, slope_weights
from unsir_bench.report.data import run_table
from unsir_bench.report.samples import samples_of
from unsir_bench.report.seeds import seed_values

# Quantities made of shares of test samples: the metric, and the prefix of the one that it is compared with.
SHARES = {
    "acc_forget_test": ("acc_forget_test", None),
    "retain_change": ("acc_retain_test", "original_"),
    "largest_share_gap": (SHARE, "retrain_"),
    SLOPE: ("acc_retain_test", "retrain_"),
}


def exact_limits(
    quantity: str, known: Sequence[Measurement], done: Sequence[ClaimRun], alpha: float
) -> tuple[float, float] | None:
    """Exact binomial limits of a quantity; None for one that is no share, or of an unknown number of samples.

    Args:
        quantity: of a claim.
        known: the measurements behind the claim's number; only their runs count, since the claim leaves out others.
        done: the group's finished runs; any of them may know how many test samples there are.
        alpha: of each side.
    """
    if quantity not in SHARES or not done:
        return None
    if quantity == SLOPE:
        return _slope_limits(known, done, alpha)
    behind = {run for measurement in known for run in measurement.runs}
    finished = run_table([claim_run.record for claim_run in done])
    runs = finished[finished["run_id"].isin(behind)]
    field, other = SHARES[quantity]
    samples = samples_of(finished, field)
    own = seed_values(runs, field)
    theirs = seed_values(runs, f"{other}{field}") if other else {}
    if samples is None or not own or (other and not theirs):
        return None
    share = sum(own.values()) / len(own)
    if other is None:
        low, high = clopper_pearson(share, samples, alpha)
    else:
        low, high = gap_limits(share, sum(theirs.values()) / len(theirs), samples, alpha)
    return float(low), float(high)


def _slope_limits(known: Sequence[Measurement], done: Sequence[ClaimRun], alpha: float) -> tuple[float, float] | None:
    """Between what the gaps to retraining, each anywhere within its exact limits, leave the mean slope.

    The limits of the points add up, as if all erred together. Points share test images, so they are not independent;
    whatever their dependence, the spread of a weighted sum is at most the sum of the weighted spreads.
    """
    samples = _retain_samples(done)
    by_run = {claim_run.record.run_id: claim_run for claim_run in done}
    ends = [_ends([by_run[run] for run in measurement.runs], samples, alpha) for measurement in known]
    found = [pair for pair in ends if pair]
    if len(found) < len(ends):
        return None
    return sum(low for low, _ in found) / len(found), sum(high for _, high in found) / len(found)


def _retain_samples(done: Sequence[ClaimRun]) -> dict[str, int | None]:
    """By forget set, how many retain test samples there are: each set leaves others."""
    records = defaultdict(list)
    for claim_run in done:
        records[claim_run.forget].append(claim_run.record)
    return {forget: samples_of(run_table(found), SHARES[SLOPE][0]) for forget, found in records.items()}


def _ends(runs: Sequence[ClaimRun], samples: Mapping[str, int | None], alpha: float) -> tuple[float, float] | None:
    """Both ends of one seed's slope; None where a run's samples are not known."""
    weights = slope_weights([len(claim_run.record.forget_classes) for claim_run in runs])
    field, other = SHARES[SLOPE]
    low = high = 0.0
    for weight, claim_run in zip(weights, runs, strict=True):
        count, metrics = samples[claim_run.forget], claim_run.record.metrics
        if count is None:
            return None
        limits = gap_limits(metrics[field] or 0.0, metrics[f"{other}{field}"] or 0.0, count, alpha)
        ends = sorted(weight * float(limit) for limit in limits)
        low, high = low + ends[0], high + ends[1]
    return low, high
