"""What the test samples alone leave open of a claim's number, however many seeds there are."""

from __future__ import annotations

from collections.abc import Sequence

from unsir_bench.report.binomial import clopper_pearson, gap_limits
from unsir_bench.report.claims.measurements import SHARE, ClaimRun, Measurement
from unsir_bench.report.data import run_table
from unsir_bench.report.samples import samples_of
from unsir_bench.report.seeds import seed_values

# Quantities made of shares of test samples: the metric, and the prefix of the one that it is compared with.
SHARES = {
    "acc_forget_test": ("acc_forget_test", None),
    "retain_change": ("acc_retain_test", "original_"),
    "largest_share_gap": (SHARE, "retrain_"),
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
