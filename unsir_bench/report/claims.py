"""The paper's claims, checked on records: what holds, what fails, and what these runs cannot tell.

`conf/claims.yaml` says what each claim is and what settles it. A verdict is given for each data set, network, preset of
UNSIR and scale by itself; runs of different data, training or device never share a mean.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from unsir_bench.errors import MetricUnavailable
from unsir_bench.records import RunRecord, write_whole
from unsir_bench.report.published_numbers import (
    PRESETS,
    SPEEDUPS,
    Conditions,
    conditions,
    experiment_of,
    is_jpeg,
    is_the_papers,
    labels,
)
from unsir_bench.report.statistics import MeanInterval, default_margin, equivalence, mean_interval
from unsir_bench.report.statistics import Verdict as Told
from unsir_bench.report.table import NOTHING, markdown

FAMILIES = {
    "vit": ("vit", "deit", "beit", "swin"),
    "cnn": ("resnet", "allcnn", "mobilenet", "efficientnet", "vgg", "densenet", "convnext", "regnet"),
}
RATIOS = ("speedup_vs_retrain", "speedup_vs_fisher")
STEPS = ("noise_steps", "impair_steps", "repair_steps")
RETRAIN_COMPARISONS = ("not_below_retrain", "not_above_retrain", "equivalent_to_retrain")
COMPARISONS = ("below", "above", "within", *RETRAIN_COMPARISONS, "all_hold")


class Verdict(StrEnum):
    """What the records say of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Claim:
    """One entry of ``conf/claims.yaml``, whose head and comments say what each key means."""

    id: str
    claim: str
    source: str
    quantity: str | list[str]
    methods: list[str]
    forget: str
    families: list[str]
    settled_by: str
    comparison: str
    needs: dict[str, float]
    note: str
    published: str | None = None
    limit: float | list[float] | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Trial:
    """A run as the claims see it: its record, and what it may be grouped with."""

    record: RunRecord
    conditions: Conditions
    forget: str
    setting: str

    @property
    def group(self) -> tuple[str, ...]:
        """Equal for the runs whose forget sets may be compared."""
        record = self.record
        return (record.dataset, record.model, self.conditions.key, record.method, self.setting)


@dataclass(frozen=True)
class Finding:
    """A verdict and what it rests on.

    Attributes:
        number: mean over seeds (geometric for ratios), or the count that settles the claim; None where there is none.
        low, high: 95 % interval of the mean; None for counts and for fewer than two seeds.
        n: seeds, or runs for a claim that a run settles.
        criterion: what would make it hold, in words.
        reason: why it was not tested, and what else to know.
        runs: ids of the runs behind the number; ``not_done`` those of the same group that gave none, with their status.
        published: the paper's number; ``published_is_same`` whether it is of this data, network and scale.
        at_paper_scale: whether the runs have the paper's scale and no JPEG copies of its data.
    """

    claim: str
    dataset: str
    model: str
    preset: str
    setting: str
    scale: str
    conditions: str
    forget: str
    verdict: Verdict
    number: float | None
    low: float | None
    high: float | None
    n: int
    criterion: str
    reason: str
    runs: list[str]
    not_done: list[str]
    published: float | None
    published_is_same: bool
    at_paper_scale: bool


@dataclass(frozen=True)
class Reading:
    """What one run, or one seed, gives for a quantity: a number and the runs behind it, or why there is none."""

    seed: int
    runs: tuple[str, ...]
    value: float | None = None
    why: str = ""
    floor: float | None = None


def read_claims() -> list[Claim]:
    """The claims that are shipped.

    Raises:
        ValueError: an entry lacks a key or names a comparison or quantity that is not known.
    """
    return parse_claims(files("unsir_bench.conf").joinpath("claims.yaml").read_text(encoding="utf-8"))


def parse_claims(text: str) -> list[Claim]:
    """The claims of a YAML text; see ``read_claims``."""
    content = yaml.safe_load(text)
    if not isinstance(content, dict):
        raise ValueError("claims: no mapping of ids to claims")
    claims = []
    for name, entry in content.items():
        try:
            claim = Claim(id=str(name), **entry)
        except TypeError as error:
            raise ValueError(f"claims: {name}: {error}") from error
        problem = _problem(claim)
        if problem:
            raise ValueError(f"claims: {name}: {problem}")
        claims.append(claim)
    ids = {claim.id for claim in claims}
    for claim in claims:
        if isinstance(claim.quantity, list) and not set(claim.quantity) <= ids:
            raise ValueError(f"claims: {claim.id}: no such claims: {sorted(set(claim.quantity) - ids)}")
    return claims


def _problem(claim: Claim) -> str:
    allowed = {
        "comparison": COMPARISONS,
        "forget": ("each", "together"),
        "settled_by": ("seeds", "run"),
        "source": ("paper", "third party"),
    }
    for key, words in allowed.items():
        if getattr(claim, key) not in words:
            return f"{key}={getattr(claim, key)!r} is none of {', '.join(words)}"
    if (claim.comparison == "all_hold") != isinstance(claim.quantity, list):
        return "a list of claims is compared by all_hold, and nothing else is"
    if claim.comparison in RETRAIN_COMPARISONS and not (claim.tolerance or 0) > 0:
        return f"{claim.comparison} needs a tolerance above 0"
    pair = isinstance(claim.limit, list) and len(claim.limit) == 2
    number = isinstance(claim.limit, int | float)
    if claim.settled_by == "run" and claim.comparison != "within":
        return "what a run settles is compared by within"
    if (claim.comparison == "within" and not pair) or (claim.comparison in ("below", "above") and not number):
        return f"{claim.comparison} needs another limit than {claim.limit!r}"
    return ""


def _difference(minuend: str, subtrahend: str) -> Callable[[RunRecord], float | str]:
    def of(record: RunRecord) -> float | str:
        values = [record.metrics.get(name) for name in (minuend, subtrahend)]
        if values[0] is None or values[1] is None:
            return _absent(record, minuend if values[0] is None else subtrahend)
        return float(values[0] - values[1])

    return of


def _absent(record: RunRecord, field: str) -> str:
    """Why a record lacks a field."""
    if field.startswith("retrain_") and record.metrics.get("retrain_acc_retain_test") is None:
        return "no retrained reference was measured"
    note = record.metric_notes.get(field)
    return f"{field} was not measured" + (f" ({note})" if note else "")


def layer_distance_deviation(record: RunRecord) -> float | str:
    """Mean over layers of |log10(distance to the original / the retrained model's)|, or why there is none."""
    own, retrained = (
        (record.details.get(name) or {}).get("layers") or {}
        for name in ("weight_distance_to_original", "retrain_weight_distance_to_original")
    )
    if not retrained and record.metrics.get("retrain_acc_retain_test") is None:
        return "no retrained reference was measured"
    if not own or set(own) != set(retrained):
        return "distances by layer were not measured for both models"
    deviations = []
    for layer, distance in own.items():
        if distance == retrained[layer]:
            deviations.append(0.0)
        elif min(distance, retrained[layer]) <= 0:
            return f"layer {layer} was left as it was by one of the two models: no ratio"
        else:
            deviations.append(abs(math.log10(distance / retrained[layer])))
    return sum(deviations) / len(deviations)


def total_distance_ratio(record: RunRecord) -> float | str:
    """log10 of the summed distance to the original over the retrained model's, or why there is none."""
    name = "weight_distance_to_original_sum"
    values = [record.metrics.get(field) for field in (name, f"retrain_{name}")]
    if values[0] is None or values[1] is None:
        return _absent(record, name if values[0] is None else f"retrain_{name}")
    if min(values[0], values[1]) <= 0:
        return "one of the two models did not move: no ratio"
    return math.log10(values[0] / values[1])


def _forget_samples(record: RunRecord) -> float | str:
    touched = (record.access.get("forget") or {}).get("samples")
    return "the samples that it touched were not recorded" if touched is None else float(touched)


def update_steps(record: RunRecord) -> float | str:
    """Optimiser steps of noise, impair and repair, or why they are not known."""
    if len(record.forget_steps) > 1:
        return "forgets in sequence: its steps are of several rounds"
    missing = [name for name in STEPS if record.metrics.get(name) is None]
    return _absent(record, missing[0]) if missing else float(sum(record.metrics[name] or 0 for name in STEPS))


ENTROPY, SHARE = "forget_prediction_entropy", "forget_prediction_largest_share"
DERIVED: dict[str, Callable[[RunRecord], float | str]] = {
    "retain_change": _difference("acc_retain_test", "original_acc_retain_test"),
    "retain_gap": _difference("acc_retain_test", "retrain_acc_retain_test"),
    "prediction_entropy_gap": _difference(ENTROPY, f"retrain_{ENTROPY}"),
    "largest_share_gap": _difference(SHARE, f"retrain_{SHARE}"),
    "layer_distance_deviation": layer_distance_deviation,
    "total_distance_ratio": total_distance_ratio,
    "forget_samples_touched": _forget_samples,
    "update_steps": update_steps,
}
FLOORS = {
    "prediction_entropy_gap": _difference(f"floor_{ENTROPY}", f"retrain_{ENTROPY}"),
    "largest_share_gap": _difference(f"floor_{SHARE}", f"retrain_{SHARE}"),
}


def _reading(trial: Trial, claim: Claim, quantity: str) -> Reading:
    record = trial.record
    empty = Reading(record.seed, (record.run_id,))
    for field, least in claim.needs.items():
        known = record.metrics.get(field)
        if known is None or known < least:
            was = "is not recorded" if known is None else f"is {known:.3g}"
            return Reading(empty.seed, empty.runs, why=f"{field} {was}, and must be at least {least:g} to say anything")
    plain = record.metrics.get(quantity)
    found = DERIVED[quantity](record) if quantity in DERIVED else _absent(record, quantity) if plain is None else plain
    if isinstance(found, str):
        return Reading(empty.seed, empty.runs, why=found)
    floor = FLOORS[quantity](record) if quantity in FLOORS else None
    return Reading(empty.seed, empty.runs, float(found), floor=None if isinstance(floor, str) else floor)


def _fisher_reading(trial: Trial, everything: Sequence[Trial]) -> Reading:
    """Seconds of Fisher forgetting under the same conditions over the run's own."""
    own = trial.record
    partners = [
        other.record
        for other in everything
        if other.record.method == "fisher" and other.record.status == "done"
        and other.conditions.key == trial.conditions.key
        and (other.forget, other.record.seed, other.record.timed_on) == (trial.forget, own.seed, own.timed_on)
    ]  # fmt: skip
    seconds = [value for record in partners if (value := record.metrics.get("unlearn_seconds")) is not None]
    mine = own.metrics.get("unlearn_seconds")
    if not seconds:
        return Reading(
            own.seed, (own.run_id,), why="no Fisher run of the same data, model, forget set, seed and machine"
        )
    if not mine:
        return Reading(own.seed, (own.run_id,), why="its seconds were not recorded")
    runs = (own.run_id, *(record.run_id for record in partners))
    return Reading(own.seed, runs, sum(seconds) / len(seconds) / mine)


def _slopes(trials: Sequence[Trial], claim: Claim) -> list[Reading]:
    """By seed, the least-squares slope of A_Dr minus retrain's over the number of forget classes."""
    by_seed: dict[int, list[tuple[int, Reading]]] = defaultdict(list)
    whys = []
    for trial in trials:
        if len(trial.record.forget_steps) <= 1:
            reading = _reading(trial, claim, "retain_gap")
            whys.append(reading.why)
            if reading.value is not None:
                by_seed[reading.seed].append((len(trial.record.forget_classes), reading))
    slopes = []
    for seed, points in sorted(by_seed.items()):
        counts, values = [count for count, _ in points], [reading.value or 0.0 for _, reading in points]
        if len(set(counts)) > 1:
            centre, mean = sum(counts) / len(counts), sum(values) / len(values)
            spread = sum((count - centre) ** 2 for count in counts)
            slope = sum((c - centre) * (v - mean) for c, v in zip(counts, values, strict=True)) / spread
            slopes.append(Reading(seed, tuple(run for _, reading in points for run in reading.runs), slope))
    if slopes:
        return slopes
    runs = tuple(trial.record.run_id for trial in trials)
    return [Reading(0, runs, why=next(filter(None, whys), "") or "no seed forgot sets of different numbers of classes")]


def _step_ratios(trials: Sequence[Trial], claim: Claim) -> list[Reading]:
    """Steps of each run that forgets several classes over those of each that forgets one."""
    known = [(trial, _reading(trial, claim, "update_steps")) for trial in trials]
    single, several = (
        [r for t, r in known if r.value and (len(t.record.forget_classes) == 1) is one] for one in (True, False)
    )
    if single and several:
        pairs = [(m, s) for m, s in product(several, single) if m.seed == s.seed] or list(product(several, single))
        return [Reading(m.seed, (*m.runs, *s.runs), (m.value or 0.0) / (s.value or 1.0)) for m, s in pairs]
    why = next((reading.why for _, reading in known if reading.why), "")
    runs = tuple(trial.record.run_id for trial in trials)
    return [Reading(0, runs, why=why or "needs runs that forget one class and runs that forget several")]


def evaluate(records: Sequence[RunRecord], claims: Sequence[Claim]) -> list[Finding]:
    """A verdict for every claim and every group of runs that it is about; one without a group where there is none.

    Args:
        records: of any sweeps; a run that lies in several folders counts once.
        claims: ``read_claims``.
    """
    everything = _trials(records)
    findings: list[Finding] = []
    for claim in claims:
        if claim.comparison == "all_hold":
            found = list(_combined(claim, findings, everything))
        else:
            found = [
                _finding(claim, trials, everything)
                for trials in _groups(claim, everything)
            ]  # fmt: skip
        findings += found or [_nowhere(claim)]
    return findings


def once_each(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Each run once, by its id: where copies differ, the one that is done, then the last one finished."""
    best: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda record: (record.status == "done", record.finished)):
        best[record.run_id] = record
    return sorted(best.values(), key=lambda record: record.run_id)


def _trials(records: Sequence[RunRecord]) -> list[Trial]:
    runs = once_each(records)
    if not runs:
        return []
    return [
        Trial(record, shared, forget, setting)
        for record, shared, (forget, setting) in zip(runs, conditions(runs), labels(runs), strict=True)
    ]


def family(record: RunRecord) -> str:
    """``vit``, ``cnn`` or ``other``, by the name of the network."""
    name = str((record.config.get("model") or {}).get("arch") or record.model).lower()
    return next((kind for kind, parts in FAMILIES.items() if any(part in name for part in parts)), "other")


def _groups(claim: Claim, everything: Sequence[Trial]) -> list[list[Trial]]:
    groups: dict[tuple[str, ...], list[Trial]] = defaultdict(list)
    for trial in everything:
        if _concerns(claim, trial):
            groups[*trial.group, trial.forget if claim.forget == "each" else ""].append(trial)
    return [groups[key] for key in sorted(groups)]


def _concerns(claim: Claim, trial: Trial) -> bool:
    named = any(fnmatchcase(trial.record.method, pattern) for pattern in claim.methods)
    return named and family(trial.record) in claim.families


def _finding(claim: Claim, trials: Sequence[Trial], everything: Sequence[Trial]) -> Finding:
    done = [trial for trial in trials if trial.record.status == "done"]
    readings = _readings(claim, done, everything)
    known = [reading for reading in readings if reading.value is not None]
    if claim.settled_by == "seeds":
        known = list({reading.seed: reading for reading in known}.values())
    whys = list(dict.fromkeys(reading.why for reading in readings if reading.why))
    criterion, low, high = _bounds(claim, known)
    number: float | None = None
    interval: tuple[float, float] | None = None
    if not known:
        verdict, reason = Verdict.NOT_TESTED, "; ".join(whys) or "no finished run"
        count = 0
    elif claim.settled_by == "run":
        verdict, number = _settled_by_run([reading.value or 0.0 for reading in known], low, high)
        count, reason = len(known), "; ".join(whys)
        if whys and verdict is Verdict.HOLDS:
            verdict = Verdict.NOT_TESTED
    else:
        verdict, number, interval, count, reason = _settled_by_seeds(claim, known, low, high)
        reason = "; ".join(filter(None, [reason, *whys]))
    missing = [trial.record for trial in trials if trial.record.status != "done"]
    diverged = [record for record in missing if record.status == "diverged"]
    if diverged and verdict is Verdict.HOLDS and claim.settled_by == "seeds":
        verdict = Verdict.NOT_TESTED
        reason = f"{len(diverged)} of its runs diverged, which a mean over the others would hide"
    published, same = _published(claim, trials[0])
    used = sorted({run for reading in (known or readings) for run in reading.runs})
    return Finding(
        claim.id, **_place(trials, claim), verdict=verdict, number=number,
        low=interval[0] if interval else None, high=interval[1] if interval else None, n=count,
        criterion=criterion, reason=reason, runs=used,
        not_done=[f"{record.run_id} ({record.status})" for record in missing],
        published=published, published_is_same=same,
    )  # fmt: skip


def _readings(claim: Claim, done: Sequence[Trial], everything: Sequence[Trial]) -> list[Reading]:
    quantity = str(claim.quantity)
    if quantity == "retain_gap_per_class":
        return _slopes(done, claim) if done else []
    if quantity == "steps_ratio":
        return _step_ratios(done, claim) if done else []
    if quantity == "speedup_vs_fisher":
        return [_fisher_reading(trial, everything) for trial in done]
    return [_reading(trial, claim, quantity) for trial in done]


def _bounds(claim: Claim, known: Sequence[Reading]) -> tuple[str, float, float]:
    """The criterion in words, and the two ends between which the number must lie."""
    if claim.comparison in RETRAIN_COMPARISONS:
        floor = dict(enumerate(reading.floor for reading in known if reading.floor is not None))
        margin = default_margin(floor, claim.tolerance or 0.0).value
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


def _settled_by_run(values: Sequence[float], low: float, high: float) -> tuple[Verdict, float]:
    """Whether every value lies within the bounds, and the one that lies furthest out."""

    def distance(value: float) -> float:
        """From the middle of the bounds; positive bounds are of ratios, of which 0.5 is as far from 1 as 2."""
        if low > 0:
            return abs(math.log(value) - (math.log(low) + math.log(high)) / 2)
        return abs(value - (low + high) / 2)

    worst = max(values, key=lambda value: (not low <= value <= high, distance(value)))
    return (Verdict.HOLDS if low <= worst <= high else Verdict.FAILS), worst


def _settled_by_seeds(
    claim: Claim, known: Sequence[Reading], low: float, high: float
) -> tuple[Verdict, float | None, tuple[float, float] | None, int, str]:
    """Verdict, mean, interval, seeds and the reason where the seeds cannot tell."""
    logarithmic = claim.quantity in RATIOS
    by_seed = {reading.seed: reading.value or 0.0 for reading in known}
    if logarithmic and min(by_seed.values()) <= 0:
        return Verdict.NOT_TESTED, None, None, 0, "a ratio of seconds that is not positive"
    try:
        values = {seed: math.log(value) if logarithmic else value for seed, value in by_seed.items()}
        interval = mean_interval(list(values.values()))
    except MetricUnavailable as error:
        return Verdict.NOT_TESTED, None, None, 0, str(error)
    back: Callable[[float], float] = math.exp if logarithmic else float
    number = back(interval.mean)
    if interval.n < 2:
        return Verdict.NOT_TESTED, number, None, interval.n, "one seed cannot exclude chance: at least 2 are needed"
    ends = (back(interval.low), back(interval.high)) if interval.high < 700 or not logarithmic else (0.0, math.inf)
    verdict, reason = _side(claim, values, (interval, *ends), low, high)
    shown = ends if all(map(math.isfinite, ends)) else None
    return verdict, number, shown, interval.n, reason


def _side(
    claim: Claim, values: Mapping[int, float], found: tuple[MeanInterval, float, float], low: float, high: float
) -> tuple[Verdict, str]:
    interval, least, most = found
    unsure = f"{interval.n} seeds do not tell: the 95 % interval reaches over the limit"
    if claim.comparison == "equivalent_to_retrain":
        told = equivalence(values, high).verdict
        unsure = f"{interval.n} seeds do not tell: neither one-sided test nor its opposite rejects"
        verdict = {Told.INDISTINGUISHABLE: Verdict.HOLDS, Told.DISTINGUISHABLE: Verdict.FAILS}.get(told)
    elif low < least and most < high:
        verdict = Verdict.HOLDS
    elif most <= low or least >= high:
        verdict = Verdict.FAILS
    else:
        verdict = None
    return (Verdict.NOT_TESTED, unsure) if verdict is None else (verdict, "")


def _published(claim: Claim, trial: Trial) -> tuple[float | None, bool]:
    """The paper's number for this claim and run, and whether it is of the same experiment."""
    record, row = trial.record, experiment_of(trial.record)
    if claim.published in SPEEDUPS:
        return SPEEDUPS[claim.published], False
    if row is None or claim.published is None or record.method not in PRESETS:
        return None, False
    number = row.unlearned.get(claim.published)
    if claim.published == "retain_change":
        number = row.unlearned["acc_retain_test"] - row.original["acc_retain_test"]
    same = number is not None and is_the_papers(record, trial.conditions.scale)
    return (None if number is None else round(number, 6)), same


def _place(trials: Sequence[Trial], claim: Claim) -> dict[str, Any]:
    first = trials[0]
    forget = first.forget if claim.forget == "each" else ", ".join(dict.fromkeys(trial.forget for trial in trials))
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


def _combined(claim: Claim, findings: Sequence[Finding], everything: Sequence[Trial]) -> Iterator[Finding]:
    """Whether other claims hold for every network of every family that this one is about."""
    families = {trial.record.model: family(trial.record) for trial in everything}
    groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.claim in claim.quantity and families.get(finding.model) in claim.families:
            groups[finding.dataset, finding.scale, finding.preset, finding.setting].append(finding)
    for key in sorted(groups):
        members = groups[key]
        words, verdicts = [], []
        for kind in claim.families:
            of_kind = [finding for finding in members if families[finding.model] == kind]
            counts = Counter(finding.verdict.value for finding in of_kind)
            verdicts += [finding.verdict for finding in of_kind] or [Verdict.NOT_TESTED]
            words.append(f"{kind}: {', '.join(f'{n} {word}' for word, n in sorted(counts.items())) or 'no run'}")
        order = (Verdict.FAILS, Verdict.NOT_TESTED, Verdict.HOLDS)
        first = members[0]
        yield Finding(
            claim.id, first.dataset, ", ".join(dict.fromkeys(finding.model for finding in members)), first.preset,
            first.setting, first.scale, "; ".join(dict.fromkeys(finding.conditions for finding in members)),
            ", ".join(dict.fromkeys(finding.forget for finding in members)),
            next(verdict for verdict in order if verdict in verdicts), None, None, None, len(members),
            f"{' and '.join(claim.quantity)} hold for each of {', '.join(claim.families)}", "; ".join(words),
            sorted({run for finding in members for run in finding.runs}),
            sorted({run for finding in members for run in finding.not_done}), None, False,
            all(finding.at_paper_scale for finding in members),
        )  # fmt: skip


def _nowhere(claim: Claim) -> Finding:
    return Finding(
        claim.id, "", "", "", "", "", "", "", Verdict.NOT_TESTED, None, None, None, 0, "", "no runs", [], [], None,
        False, False,
    )  # fmt: skip


@dataclass(frozen=True)
class Written:
    """The files, and how many verdicts of each kind they hold."""

    paths: list[Path]
    verdicts: dict[str, int]


def write_claims(records: Sequence[RunRecord], unreadable: Sequence[Path], folder: Path) -> Written:
    """Write ``claims.json`` and ``claims.md`` into a folder.

    Args:
        records: at least one.
        unreadable: paths of records that could not be read, to be named.
        folder: made if need be.

    Raises:
        ValueError: there are no records.
    """
    if not records:
        raise ValueError("no record to check claims on")
    claims = read_claims()
    findings = evaluate(records, claims)
    runs = once_each(records)
    counts = dict(sorted(Counter(run.status for run in runs).items()))
    content = {
        "runs": counts,
        "not_done": _not_done(runs),
        "unreadable": [str(path) for path in unreadable],
        "claims": [
            {**asdict(claim), "findings": [asdict(finding) for finding in findings if finding.claim == claim.id]}
            for claim in claims
        ],
    }
    texts = {
        "claims.json": json.dumps(content, indent=2, allow_nan=False) + "\n",
        "claims.md": _document(claims, findings, runs, unreadable),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    verdicts = Counter(finding.verdict.value for finding in findings)
    return Written([folder / name for name in texts], {word.value: verdicts[word.value] for word in Verdict})


def _not_done(runs: Sequence[RunRecord]) -> list[dict[str, str]]:
    return [
        {"run": run.run_id, "status": run.status, "reason": run.reason or "not recorded"}
        for run in runs
        if run.status != "done"
    ]


def _document(
    claims: Sequence[Claim], findings: Sequence[Finding], runs: Sequence[RunRecord], unreadable: Sequence[Path]
) -> str:
    names = sorted({run for finding in findings for run in finding.runs})
    short = {run: f"r{place}" for place, run in enumerate(names, start=1)}
    parts = ["# The paper's claims on these runs\n", _head(findings, runs, unreadable), _overview(claims, findings)]
    for claim in claims:
        own = [finding for finding in findings if finding.claim == claim.id]
        limit = "; ".join(dict.fromkeys(finding.criterion for finding in own if finding.criterion)) or "see the claims"
        settled = "seeds, by a 95 % interval" if claim.settled_by == "seeds" else "any run"
        parts += [
            f"## {claim.id}\n",
            f"*{_text(claim.claim)}* ({claim.source}). Quantity: `{claim.quantity}`; holds where it is {_text(limit)}; "
            f"settled by {settled}. {_text(claim.note)}\n",
            _table([_row(finding, short) for finding in own]),
        ]
    parts += ["## Runs\n", _table([{"": label, "run": _text(run)} for run, label in short.items()])]
    return "\n".join(parts)


def _head(findings: Sequence[Finding], runs: Sequence[RunRecord], unreadable: Sequence[Path]) -> str:
    placed = [finding for finding in findings if finding.dataset]
    scales = sorted({finding.scale for finding in placed})
    groups = {(f.dataset, f.model, f.preset, f.setting, f.scale, f.conditions) for f in placed if "," not in f.model}
    own = {
        (f.dataset, f.model, f.preset, f.setting, f.scale, f.conditions)
        for f in placed
        if f.at_paper_scale and "," not in f.model
    }
    lines = [
        "Verdicts on the runs below, by `conf/claims.yaml`: *holds*, *fails*, or *not tested* with the reason. Numbers "
        "are means over seeds (geometric for ratios of seconds) with their 95 % interval (Student's t); accuracies are "
        "fractions of test samples.",
        "",
        f"**Scale and data.** {len(own)} of {len(groups)} groups of UNSIR runs (data set, network, preset and setting) "
        f"were run at the paper's scale on images that are no JPEG copies. The others (scales here: "
        f"{_text(', '.join(scales)) or 'none'}) are smaller experiments of the same kind: whether a claim holds or "
        "fails there says how it fares at that scale and on those data, and is no result of the paper's experiments. "
        "Published numbers that are of other data, scale or an experiment that is not verified are marked so.",
        "",
    ]
    counts = Counter(run.status for run in runs)
    lines.append(f"**Runs.** {', '.join(f'{count} {status}' for status, count in counts.most_common())}.")
    for entry in _not_done(runs):
        lines.append(f"- {_text(entry['run'])}: {entry['status']}, {_text(entry['reason'])}")
    if unreadable:
        listed = ", ".join(_text(str(path)) for path in unreadable)
        lines.append(f"- {len(unreadable)} records cannot be read and take no part: {listed}")
    return "\n".join(lines) + "\n"


def _overview(claims: Sequence[Claim], findings: Sequence[Finding]) -> str:
    rows = []
    for claim in claims:
        counts = Counter(finding.verdict for finding in findings if finding.claim == claim.id)
        rows.append({"claim": _text(claim.claim), **{word.value: str(counts[word]) for word in Verdict}})
    return _table(rows)


def _row(finding: Finding, short: Mapping[str, str]) -> dict[str, str]:
    preset = f"{finding.preset} ({finding.setting})" if finding.setting else finding.preset
    interval = "" if finding.low is None or finding.high is None else f" [{finding.low:.3g}, {finding.high:.3g}]"
    published = NOTHING
    if finding.published is not None:
        published = f"{finding.published:.4g}" + ("" if finding.published_is_same else " (other scale/data/preset)")
        if finding.published in SPEEDUPS.values():
            published = f"{finding.published:g} (experiment not verified)"
    cells = {
        "verdict": f"**{finding.verdict.value}**",
        "data": f"{finding.dataset} ({finding.conditions})" if finding.conditions else finding.dataset,
        "model": finding.model,
        "preset": preset,
        "scale": finding.scale,
        "forgotten": finding.forget,
        "number": NOTHING if finding.number is None else f"{finding.number:.3g}{interval}",
        "n": str(finding.n),
        "holds if": finding.criterion,
        "published": published,
        "reason": finding.reason,
        "not done": ", ".join(finding.not_done),
        "runs": ", ".join(short[run] for run in finding.runs),
    }
    return {title: cell if title == "verdict" else _text(cell) or NOTHING for title, cell in cells.items()}


def _table(rows: Sequence[dict[str, str]]) -> str:
    return markdown(rows) if rows else "None.\n"


def _text(words: str) -> str:
    """A name or sentence that Markdown shows as it is, on one line; `markdown` takes care of its bars."""
    plain = re.sub(r"\s+", " ", words).strip().replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]])", r"\\\1", plain)
