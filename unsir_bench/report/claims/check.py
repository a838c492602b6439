"""The paper's claims, checked on records: what holds, what fails, and what these runs cannot tell.

`claims.yaml` says what each claim is and what settles it. A verdict is given for each data set, network, preset of
UNSIR and scale by itself; runs of different data, training or device never share a mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from statistics import fmean, geometric_mean
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.claims.definitions import Claim
from unsir_bench.report.claims.findings import ClaimVerdict, Finding, GroupFinding, family
from unsir_bench.report.claims.joint import across_networks, together
from unsir_bench.report.claims.measurements import (
    ClaimRun,
    Measurement,
    claim_runs,
    measure,
    without_ablations,
)
from unsir_bench.report.claims.settled import Settled, bounds_of, settled_by_runs, settled_by_seeds
from unsir_bench.report.conditions import is_jpeg
from unsir_bench.report.controls import FISHER, KEEPS_FEATURES, control_words
from unsir_bench.report.forget_words import forgets_classes
from unsir_bench.report.method_style import CONTROLS
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.published_numbers import (
    SPEEDUPS,
    experiment_of,
    has_published_recipe,
    has_their_values,
    is_the_papers,
    unlearned_numbers,
)
from unsir_bench.report.statistics import is_ratio

CONTROL_TITLES = {FISHER: f"fisher ({KEEPS_FEATURES})"}


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
    for each in _evaluated(on_controls, [run for run in everything if run.record.run_id in controls]):
        if each.finding.verdict is ClaimVerdict.HOLDS and each.finding.number is None:
            masked[_where(each)].append(CONTROL_TITLES.get(each.finding.preset, each.finding.preset))
    found = [_with_controls(each.finding, masked.get(_where(each), [])) for each in judged]
    by_id = {record.run_id: record for record in runs}
    return [_with_mixture(finding, [by_id[run] for run in finding.runs]) for finding in found]


def _with_mixture(finding: Finding, records: Sequence[RunRecord]) -> Finding:
    """The finding, with what its runs mix, of which each may give other numbers."""
    mixture = "" if finding.verdict is ClaimVerdict.NOT_TESTED else mixture_words(records)
    words = f"runs from {mixture}" if mixture else ""
    return replace(finding, reason="; ".join(filter(None, (finding.reason, words))))


def _with_controls(finding: Finding, names: Sequence[str]) -> Finding:
    """The finding, where it holds with the controls that meet it as well."""
    if not names or finding.verdict is not ClaimVerdict.HOLDS:
        return finding
    one = len(names) == 1
    meet = "a control, meets" if one else "controls, meet"
    return replace(finding, reason=f"{finding.reason}; {', '.join(names)}, {meet} this too")


def _where(each: GroupFinding) -> tuple[str, ...]:
    return each.finding.claim, each.finding.dataset, each.finding.model, each.finding.forget, each.key


def _evaluated(claims: Sequence[Claim], everything: Sequence[ClaimRun]) -> list[GroupFinding]:
    judged: list[GroupFinding] = []
    for claim in claims:
        if claim.comparison == "both_hold":
            found = list(together(claim, judged))
        elif claim.comparison == "all_hold":
            found = list(across_networks(claim, judged, everything))
        else:
            found = [_of_group(claim, runs) for runs in _groups(claim, everything)]
        judged += found or [GroupFinding(_nowhere(claim))]
    return judged


def _of_group(claim: Claim, runs: Sequence[ClaimRun]) -> GroupFinding:
    shared = runs[0].conditions
    return GroupFinding(_finding(claim, runs), shared.key, shared.across_networks)


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
    if not forgets_classes(claim_run.record):
        return False
    named = any(fnmatchcase(claim_run.record.method, pattern) for pattern in claim.methods)
    there = any(fnmatchcase(claim_run.record.dataset, pattern) for pattern in claim.datasets)
    return named and there and family(claim_run.record) in claim.families


def _one_per_seed(measurements: Sequence[Measurement], quantity: str) -> list[Measurement]:
    """Measurements of the same seed, from sweeps that share a run, as one: their mean, of ratios the geometric one."""
    seeds: dict[int, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        seeds[measurement.seed].append(measurement)
    return [
        replace(
            same[0],
            runs=tuple(dict.fromkeys(run for measurement in same for run in measurement.runs)),
            value=_mean([each.value for each in same if each.value is not None], ratio=is_ratio(quantity)),
        )
        for same in seeds.values()
    ]


def _mean(values: Sequence[float], *, ratio: bool) -> float:
    """Of ratios geometric, unless one is not positive, of which no claim says anything."""
    return geometric_mean(values) if ratio and min(values) > 0 else fmean(values)


def _finding(claim: Claim, runs_of_claim: Sequence[ClaimRun]) -> Finding:
    done = [claim_run for claim_run in runs_of_claim if claim_run.record.status == "done"]
    measurements = measure(claim, done)
    known = [measurement for measurement in measurements if measurement.value is not None]
    if claim.settled_by == "seeds":
        known = _one_per_seed(known, str(claim.quantity))
    whys = list(dict.fromkeys(measurement.why for measurement in measurements if measurement.why))
    missing = [claim_run.record for claim_run in runs_of_claim if claim_run.record.status != "done"]
    diverged = sum(record.status == "diverged" for record in missing)
    bounds = bounds_of(claim)
    if not known:
        settled = Settled(ClaimVerdict.NOT_TESTED, reason="; ".join(whys) or "no finished run")
    elif claim.settled_by == "run":
        settled = settled_by_runs(known, bounds, "; ".join(whys))
    else:
        settled = settled_by_seeds(claim, known, done, bounds)
        settled = replace(settled, reason="; ".join(filter(None, [settled.reason, *whys])))
        if diverged and settled.verdict is ClaimVerdict.HOLDS:
            why = f"{diverged} of its runs diverged, which a mean over the others would hide"
            settled = replace(settled, verdict=ClaimVerdict.UNDECIDED, reason=why)
    published, same = _published(claim, (done or runs_of_claim)[0])
    used = sorted({run for measurement in (known or measurements) for run in measurement.runs})
    return Finding(
        claim.id, **_place(runs_of_claim, claim), verdict=settled.verdict, number=settled.number,
        low=settled.ends[0] if settled.ends else None, high=settled.ends[1] if settled.ends else None, n=settled.n,
        criterion=bounds.words, reason=settled.reason, runs=used,
        not_done=[f"{record.run_id} ({record.status})" for record in missing],
        published=published, published_is_same=same,
    )  # fmt: skip


def _published(claim: Claim, claim_run: ClaimRun) -> tuple[float | None, bool]:
    """The paper's number for this claim and run, and whether it is of the same experiment."""
    record, row = claim_run.record, experiment_of(claim_run.record)
    if not has_their_values(record):
        return None, False
    if claim.published in SPEEDUPS:
        return SPEEDUPS[claim.published], False
    theirs = unlearned_numbers(record)
    if row is None or claim.published is None or not theirs:
        return None, False
    number = theirs.get(claim.published)
    if claim.published == "retain_change":
        number = theirs["acc_retain_test"] - row.original["acc_retain_test"]
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
        "at_paper_scale": (
            first.conditions.at_paper_scale and not is_jpeg(first.record) and has_published_recipe(first.record)
        ),
    }


def _nowhere(claim: Claim) -> Finding:
    return Finding(
        claim.id, "", "", "", "", "", "", "", ClaimVerdict.NOT_TESTED, None, None, None, 0, "", "no runs", [], [], None,
        False, False,
    )  # fmt: skip
