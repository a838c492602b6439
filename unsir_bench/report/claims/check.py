"""The paper's claims, checked on records: what holds, what fails, and what these runs cannot tell.

`claims.yaml` says what each claim is and what settles it. A verdict is given for each data set, network, preset of
UNSIR and scale by itself; runs of different data, training or device never share a mean.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from statistics import fmean
from typing import Any

from unsir_bench.errors import MetricUnavailable
from unsir_bench.records import RunRecord
from unsir_bench.report.claims.definitions import RETRAIN_COMPARISONS, Claim
from unsir_bench.report.claims.findings import ClaimVerdict, Finding, family
from unsir_bench.report.claims.joint import across_networks, together
from unsir_bench.report.claims.measurements import (
    ClaimRun,
    Measurement,
    claim_runs,
    exact_limits,
    floor_of,
    measure,
    without_ablations,
)
from unsir_bench.report.conditions import is_jpeg
from unsir_bench.report.controls import FISHER, control_words
from unsir_bench.report.equivalence import EquivalenceVerdict, Gap, judge
from unsir_bench.report.method_style import CONTROLS
from unsir_bench.report.published_numbers import PRESETS, SPEEDUPS, experiment_of, is_the_papers
from unsir_bench.report.statistics import MeanInterval, mean_interval

SILENT = "equal values show no spread, and the number of test samples is not known"
CONTROL_TITLES = {FISHER: "fisher (head alone)"}
RATIOS = ("speedup_vs_retrain", "speedup_vs_fisher")


def evaluate(records: Sequence[RunRecord], claims: Sequence[Claim]) -> list[Finding]:
    """A verdict for every claim and every group of runs that it is about; one without a group where there is none.

    Args:
        records: of any sweeps; a run that lies in several folders counts once, and ``without_ablations``.
        claims: ``read_claims``.
    """
    runs = once_each([record for record in records if not record.checkpoints])
    everything = claim_runs(without_ablations(runs))
    judged = _evaluated(claims, everything)
    on_controls = [replace(claim, methods=[*CONTROLS, FISHER]) for claim in claims]
    controls = {each.record.run_id for each in everything if control_words(each.record.method, each.record.metrics)}
    masked: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for finding in _evaluated(on_controls, [each for each in everything if each.record.run_id in controls]):
        if finding.verdict is ClaimVerdict.HOLDS and finding.number is None:
            masked[finding.claim, *_where(finding)].append(CONTROL_TITLES.get(finding.preset, finding.preset))
    return [
        replace(finding, reason=f"{finding.reason}; {_controls_meet_it(masked[key])}")
        if (key := (finding.claim, *_where(finding))) in masked and finding.verdict is ClaimVerdict.HOLDS
        else finding
        for finding in judged
    ]


def _controls_meet_it(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]}, a control that forgets nothing, meets this too"
    return f"{', '.join(names)}, controls that forget nothing, meet this too"


def _where(finding: Finding) -> tuple[str, ...]:
    return finding.dataset, finding.model, finding.scale, finding.conditions, finding.forget


def _evaluated(claims: Sequence[Claim], everything: Sequence[ClaimRun]) -> list[Finding]:
    findings: list[tuple[Finding, str]] = []  # each with what networks under the same conditions share
    for claim in claims:
        if claim.comparison == "both_hold":
            found = list(together(claim, findings))
        elif claim.comparison == "all_hold":
            found = [(finding, "") for finding in across_networks(claim, findings, everything)]
        else:
            found = [(_finding(claim, runs), runs[0].conditions.across_networks) for runs in _groups(claim, everything)]
        findings += found or [(_nowhere(claim), "")]
    return [finding for finding, _ in findings]


def once_each(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Each run once, by its id: where copies differ, the one that is done, then the one finished or evaluated last."""
    best: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda record: (record.status == "done", record.written_last)):
        best[record.run_id] = record
    return sorted(best.values(), key=lambda record: record.run_id)


def _groups(claim: Claim, everything: Sequence[ClaimRun]) -> list[list[ClaimRun]]:
    groups: dict[tuple[str, ...], list[ClaimRun]] = defaultdict(list)
    for claim_run in everything:
        if _concerns(claim, claim_run):
            groups[*claim_run.group, claim_run.forget if claim.forget == "each" else ""].append(claim_run)
    return [groups[key] for key in sorted(groups)]


def _concerns(claim: Claim, claim_run: ClaimRun) -> bool:
    """Whether a claim is about a run; all are about classes, of which a sub-class or samples are none."""
    if not claim_run.record.forget_classes:
        return False
    named = any(fnmatchcase(claim_run.record.method, pattern) for pattern in claim.methods)
    there = any(fnmatchcase(claim_run.record.dataset, pattern) for pattern in claim.datasets)
    return named and there and family(claim_run.record) in claim.families


def _one_per_seed(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Measurements of the same seed, from sweeps that share a run, as one: their mean."""
    seeds: dict[int, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        seeds[measurement.seed].append(measurement)
    return [
        replace(
            same[0],
            runs=tuple(dict.fromkeys(run for measurement in same for run in measurement.runs)),
            value=fmean(measurement.value for measurement in same if measurement.value is not None),
        )
        for same in seeds.values()
    ]


def _finding(claim: Claim, runs_of_claim: Sequence[ClaimRun]) -> Finding:
    done = [claim_run for claim_run in runs_of_claim if claim_run.record.status == "done"]
    measurements = measure(claim, done)
    known = [measurement for measurement in measurements if measurement.value is not None]
    if claim.settled_by == "seeds":
        known = _one_per_seed(known)
    whys = list(dict.fromkeys(measurement.why for measurement in measurements if measurement.why))
    criterion, low, high = _bounds(claim)
    number: float | None = None
    interval: tuple[float, float] | None = None
    if not known:
        verdict, reason = ClaimVerdict.NOT_TESTED, "; ".join(whys) or "no finished run"
        count = 0
    elif claim.settled_by == "run":
        verdict, number = _settled_by_run([measurement.value or 0.0 for measurement in known], low, high)
        count, reason = len(known), "; ".join(whys)
        if whys and verdict is ClaimVerdict.HOLDS:
            verdict = ClaimVerdict.NOT_TESTED
    else:
        verdict, number, interval, count, reason = _within_floor(claim, known, done, low, high)
        reason = "; ".join(filter(None, [reason, *whys]))
    missing = [claim_run.record for claim_run in runs_of_claim if claim_run.record.status != "done"]
    diverged = [record for record in missing if record.status == "diverged"]
    if diverged and verdict is ClaimVerdict.HOLDS and claim.settled_by == "seeds":
        verdict = ClaimVerdict.NOT_TESTED
        reason = f"{len(diverged)} of its runs diverged, which a mean over the others would hide"
    published, same = _published(claim, runs_of_claim[0])
    used = sorted({run for measurement in (known or measurements) for run in measurement.runs})
    return Finding(
        claim.id, **_place(runs_of_claim, claim), verdict=verdict, number=number,
        low=interval[0] if interval else None, high=interval[1] if interval else None, n=count,
        criterion=criterion, reason=reason, runs=used,
        not_done=[f"{record.run_id} ({record.status})" for record in missing],
        published=published, published_is_same=same,
    )  # fmt: skip


def _bounds(claim: Claim) -> tuple[str, float, float]:
    """The criterion in words, and the two ends between which the number must lie."""
    if claim.comparison in RETRAIN_COMPARISONS:
        margin = claim.tolerance or 0.0
        words = {
            "not_below_retrain": (f"at least retrain's - {margin:.3g}", -margin, math.inf),
            "not_above_retrain": (f"at most retrain's + {margin:.3g}", -math.inf, margin),
            "equivalent_to_retrain": (f"retrain's ± {margin:.3g} (TOST)", -margin, margin),
        }
        return words[claim.comparison]
    if isinstance(claim.limit, list):
        low, high = map(float, claim.limit)
        return (f"{low:g}" if low == high else f"{low:g} to {high:g}"), low, high
    limit = float(claim.limit or 0.0)
    below = claim.comparison == "below"
    return f"{claim.comparison} {limit:g}", -math.inf if below else limit, limit if below else math.inf


def _settled_by_run(values: Sequence[float], low: float, high: float) -> tuple[ClaimVerdict, float]:
    """Whether every value lies within the bounds, and the one that lies furthest out."""

    def distance(value: float) -> float:
        """From the middle of the bounds; positive bounds are of ratios, of which 0.5 is as far from 1 as 2."""
        if low > 0:
            return abs(math.log(value) - (math.log(low) + math.log(high)) / 2)
        return abs(value - (low + high) / 2)

    worst = max(values, key=lambda value: (not low <= value <= high, distance(value)))
    return (ClaimVerdict.HOLDS if low <= worst <= high else ClaimVerdict.FAILS), worst


def _within_floor(
    claim: Claim, known: Sequence[Measurement], done: Sequence[ClaimRun], low: float, high: float
) -> tuple[ClaimVerdict, float | None, tuple[float, float] | None, int, str]:
    """As ``_settled_by_seeds``; where retrained models differ by more than the margin, only a gap beyond that tells."""
    exact = exact_limits(str(claim.quantity), done, 0.025)
    floor = floor_of(str(claim.quantity), done)
    blurred = floor > (claim.tolerance or math.inf)  # false where the floor is not known, NaN
    if not blurred:
        return _settled_by_seeds(claim, known, low, high, exact)
    least, most = (math.copysign(floor, end) if math.isfinite(end) else end for end in (low, high))
    verdict, number, interval, count, reason = _settled_by_seeds(claim, known, least, most, exact)
    if verdict is not ClaimVerdict.FAILS:
        verdict = ClaimVerdict.NOT_TESTED
        reason = f"undecidable at this margin: two retrained models differ by {floor:.3g}"
    return verdict, number, interval, count, reason


def _settled_by_seeds(
    claim: Claim, known: Sequence[Measurement], low: float, high: float, exact: tuple[float, float] | None = None
) -> tuple[ClaimVerdict, float | None, tuple[float, float] | None, int, str]:
    """ClaimVerdict, mean, interval, seeds and the reason where the seeds cannot tell.

    The interval is Student's t over seeds, made no narrower than ``exact``, what the test samples alone leave open.
    """
    logarithmic = claim.quantity in RATIOS
    by_seed = {measurement.seed: measurement.value or 0.0 for measurement in known}
    if logarithmic and min(by_seed.values()) <= 0:
        return ClaimVerdict.NOT_TESTED, None, None, 0, "a ratio of seconds that is not positive"
    try:
        values = {seed: math.log(value) if logarithmic else value for seed, value in by_seed.items()}
        interval = mean_interval(list(values.values()))
    except MetricUnavailable as error:
        return ClaimVerdict.NOT_TESTED, None, None, 0, str(error)
    back: Callable[[float], float] = math.exp if logarithmic else float
    number = back(interval.mean)
    if interval.n < 2:
        return (
            ClaimVerdict.NOT_TESTED,
            number,
            None,
            interval.n,
            "one seed cannot exclude chance: at least 2 are needed",
        )
    ends = (back(interval.low), back(interval.high)) if interval.high < 700 or not logarithmic else (0.0, math.inf)
    if exact is not None:
        ends = (min(ends[0], exact[0]), max(ends[1], exact[1]))
    elif interval.half_width == 0:
        return ClaimVerdict.NOT_TESTED, number, ends, interval.n, SILENT
    verdict, reason = _side(claim, values, (interval, *ends), low, high)
    shown = ends if all(map(math.isfinite, ends)) else None
    return verdict, number, shown, interval.n, reason


def _side(
    claim: Claim, values: Mapping[int, float], found: tuple[MeanInterval, float, float], low: float, high: float
) -> tuple[ClaimVerdict, str]:
    interval, least, most = found
    unsure = f"{interval.n} seeds do not tell: the 95 % interval reaches over the limit"
    if claim.comparison == "equivalent_to_retrain":
        told = judge({0: Gap(list(values.values()), high)})[0].verdict
        unsure = f"{interval.n} seeds do not tell: neither one-sided test nor its opposite rejects"
        verdict = {
            EquivalenceVerdict.EQUIVALENT: ClaimVerdict.HOLDS,
            EquivalenceVerdict.DIFFERENT: ClaimVerdict.FAILS,
        }.get(told)
    elif low < least and most < high:
        verdict = ClaimVerdict.HOLDS
    elif most <= low or least >= high:
        verdict = ClaimVerdict.FAILS
    else:
        verdict = None
    return (ClaimVerdict.NOT_TESTED, unsure) if verdict is None else (verdict, "")


def _published(claim: Claim, claim_run: ClaimRun) -> tuple[float | None, bool]:
    """The paper's number for this claim and run, and whether it is of the same experiment."""
    record, row = claim_run.record, experiment_of(claim_run.record)
    if claim.published in SPEEDUPS:
        return SPEEDUPS[claim.published], False
    if row is None or claim.published is None or record.method not in PRESETS:
        return None, False
    number = row.unlearned.get(claim.published)
    if claim.published == "retain_change":
        number = row.unlearned["acc_retain_test"] - row.original["acc_retain_test"]
    same = number is not None and is_the_papers(record, claim_run.conditions.scale)
    return (None if number is None else round(number, 6)), same


def _place(runs_of_claim: Sequence[ClaimRun], claim: Claim) -> dict[str, Any]:
    first = runs_of_claim[0]
    forget = (
        first.forget
        if claim.forget == "each"
        else ", ".join(dict.fromkeys(claim_run.forget for claim_run in runs_of_claim))
    )
    return {
        "dataset": first.record.dataset,
        "model": first.record.model,
        "preset": first.record.method,
        "setting": first.setting,
        "scale": first.conditions.scale,
        "conditions": first.conditions.words,
        "forget": forget,
        "at_paper_scale": first.conditions.at_paper_scale and not is_jpeg(first.record),
    }


def _nowhere(claim: Claim) -> Finding:
    return Finding(
        claim.id, "", "", "", "", "", "", "", ClaimVerdict.NOT_TESTED, None, None, None, 0, "", "no runs", [], [], None,
        False, False,
    )  # fmt: skip
