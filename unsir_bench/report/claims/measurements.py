"""The numbers that settle claims: what each run, pair of runs or seed gives, or why it gives none."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.claims.definitions import Claim
from unsir_bench.report.conditions import Conditions, surroundings
from unsir_bench.report.data import model_table, run_table
from unsir_bench.report.equivalence import floor_of_retraining
from unsir_bench.report.speedups import FISHER_PAIR, fisher_runs

STEPS = ("noise_steps", "impair_steps", "repair_steps")
SLOPE = "retain_gap_per_class"
IN_CONDITIONS = ("dataset", "model", "train")  # a run's setting tells its hardware


@dataclass(frozen=True)
class ClaimRun:
    """A run as the claims see it: its record, what it may be grouped with, and its Fisher runs.

    Attributes:
        over_fisher: seconds of Fisher forgetting over the run's own; None where either is not known.
        fisher_runs: ids of the Fisher runs of its pair.
    """

    record: RunRecord
    conditions: Conditions
    forget: str
    setting: str
    over_fisher: float | None
    fisher_runs: list[str]

    @property
    def group(self) -> tuple[str, ...]:
        """Equal for the runs whose forget sets may be compared."""
        record = self.record
        return (record.dataset, record.model, self.conditions.key, record.method, self.setting)


@dataclass(frozen=True)
class Measurement:
    """What one run, or one seed, gives for a quantity: a number and the runs behind it, or why there is none."""

    seed: int
    runs: tuple[str, ...]
    value: float | None = None
    why: str = ""


def claim_runs(records: Sequence[RunRecord]) -> list[ClaimRun]:
    """The runs with their pairing, in the order of the records."""
    table = model_table(records)
    partners = fisher_runs(table)
    runs = table[table["prefix"] == ""]
    known = runs.get("speedup_vs_fisher", pd.Series(math.nan, index=runs.index))
    return _told_apart([
        ClaimRun(
            row["record"], row["shared"], row["forget"], row["setting_under"],
            None if math.isnan(ratio) else float(ratio), partners.get(tuple(row[name] for name in FISHER_PAIR), []),
        )
        for row, ratio in zip(runs.to_dict("records"), known, strict=True)
    ])  # fmt: skip


def _told_apart(found: Sequence[ClaimRun]) -> list[ClaimRun]:
    """The runs; where conditions read alike but are not, their words also say what differs, such as pretraining."""
    alike: dict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for claim_run in found:
        alike[_as_read(claim_run)].append(claim_run.record)
    apart = {
        record.run_id: words
        for records in alike.values()
        for record, words in zip(records, surroundings(records, IN_CONDITIONS), strict=True)
    }
    return [_with_words(claim_run, apart[claim_run.record.run_id]) for claim_run in found]


def _as_read(claim_run: ClaimRun) -> tuple[str, ...]:
    shared = claim_run.conditions
    return claim_run.record.dataset, claim_run.record.model, shared.scale, shared.words


def _with_words(claim_run: ClaimRun, words: str) -> ClaimRun:
    shared = claim_run.conditions
    return replace(claim_run, conditions=replace(shared, words=", ".join(filter(None, (shared.words, words)))))


def without_ablations(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Without the runs with values of the user's own, where the method also finished with its preset's or tuned values.

    A claim is about the method, and each point of an ablation would be one more method that nobody proposed. Other
    images or training set none apart, since an ablation may be of these, too.
    """
    own = {_of_method(record) for record in records if record.settings != "user" and record.status == "done"}
    return [record for record in records if record.settings != "user" or _of_method(record) not in own]


def _of_method(record: RunRecord) -> tuple[str, str, str]:
    return record.dataset, record.model, record.method


def measure(claim: Claim, done: Sequence[ClaimRun]) -> list[Measurement]:
    """What the finished runs of one group give for a claim's quantity."""
    quantity = str(claim.quantity)
    if quantity == SLOPE:
        return _slopes(done, claim) if done else []
    if quantity == "steps_ratio":
        return _step_ratios(done, claim) if done else []
    if quantity == "speedup_vs_fisher":
        return [_fisher_measurement(claim_run) for claim_run in done]
    return [_measurement(claim_run, claim, quantity) for claim_run in done]


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
    """Mean over moved layers of |log10(distance to the original / the retrained model's)|, or why there is none."""
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
        if distance == retrained[layer] == 0:  # a frozen one, which says nothing of likeness
            continue
        if min(distance, retrained[layer]) <= 0:
            return f"layer {layer} was left as it was by one of the two models: no ratio"
        deviations.append(abs(math.log10(distance / retrained[layer])))
    return sum(deviations) / len(deviations) if deviations else "neither of the two models moved: no ratio"


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
# Quantities that compare with retraining, and the metric by which two retrained models are told apart.
FLOORS = {"prediction_entropy_gap": ENTROPY, "largest_share_gap": SHARE}


def floor_of(quantity: str, done: Sequence[ClaimRun]) -> float:
    """Mean difference over all pairs of the group's retrained models; NaN where it is not known."""
    if quantity not in FLOORS:
        return math.nan
    return floor_of_retraining(run_table([claim_run.record for claim_run in done]), FLOORS[quantity])


def _measurement(claim_run: ClaimRun, claim: Claim, quantity: str) -> Measurement:
    record = claim_run.record
    empty = Measurement(record.seed, (record.run_id,))
    for field, least in claim.needs.items():
        known = record.metrics.get(field)
        if known is None or known < least:
            was = "is not recorded" if known is None else f"is {known:.3g}"
            return Measurement(
                empty.seed, empty.runs, why=f"{field} {was}, and must be at least {least:g} to say anything"
            )
    plain = record.metrics.get(quantity)
    found = DERIVED[quantity](record) if quantity in DERIVED else _absent(record, quantity) if plain is None else plain
    if isinstance(found, str):
        return Measurement(empty.seed, empty.runs, why=found)
    return Measurement(empty.seed, empty.runs, float(found))


def _fisher_measurement(claim_run: ClaimRun) -> Measurement:
    """Seconds of Fisher forgetting of the same experiment and seed over the run's own."""
    own = claim_run.record
    if not claim_run.fisher_runs:
        why = "no Fisher run of the same data, model, forget set, seed and machine"
    elif claim_run.over_fisher is None:
        why = "its seconds were not recorded"
    else:
        return Measurement(own.seed, (own.run_id, *claim_run.fisher_runs), claim_run.over_fisher)
    return Measurement(own.seed, (own.run_id,), why=why)


def _slopes(runs_of_claim: Sequence[ClaimRun], claim: Claim) -> list[Measurement]:
    """By seed, the least-squares slope of A_Dr minus retrain's over the number of forget classes.

    And why runs take no part: no slope is drawn through fewer sets than there are without saying so.
    """
    requests = [t for t in runs_of_claim if t.record.forget_classes and len(t.record.forget_steps) <= 1]
    gaps = [(len(request.record.forget_classes), _measurement(request, claim, "retain_gap")) for request in requests]
    by_seed: dict[int, list[tuple[int, Measurement]]] = defaultdict(list)
    for count, gap in gaps:
        if gap.value is not None:
            by_seed[gap.seed].append((count, gap))
    slopes = [
        Measurement(
            seed,
            tuple(run for _, gap in points for run in gap.runs),
            _slope([(count, gap.value or 0.0) for count, gap in points]),
        )
        for seed, points in sorted(by_seed.items())
        if len({count for count, _ in points}) > 1
    ]
    runs = tuple(claim_run.record.run_id for claim_run in runs_of_claim)
    lacking = Measurement(0, runs, why="no seed forgot sets of different numbers of classes")
    return [*slopes, *(gap for _, gap in gaps if gap.why)] or [lacking]


def slope_weights(counts: Sequence[int]) -> list[float]:
    """By how much each point's value moves the least-squares slope over these counts, of which two differ."""
    centre = sum(counts) / len(counts)
    spread = sum((count - centre) ** 2 for count in counts)
    return [(count - centre) / spread for count in counts]


def _slope(points: Sequence[tuple[int, float]]) -> float:
    weights = slope_weights([count for count, _ in points])
    return sum(weight * value for weight, (_, value) in zip(weights, points, strict=True))


def _step_ratios(runs_of_claim: Sequence[ClaimRun], claim: Claim) -> list[Measurement]:
    """Steps of each run of several classes over those of the runs of one, and why other runs have no count.

    A run is paired with the runs of its seed, else with all: seeds change no count, and none may be left out. Sequences
    take no part, since their steps are of several requests.
    """
    requests = [t for t in runs_of_claim if t.record.forget_classes and len(t.record.forget_steps) <= 1]
    counts = [(len(claim_run.record.forget_classes) == 1, _step_count(claim_run, claim)) for claim_run in requests]
    single, several = (
        [count for of_one, count in counts if count.value is not None and of_one is wanted] for wanted in (True, False)
    )
    ratios = [
        Measurement(run.seed, (*run.runs, *one.runs), (run.value or 0.0) / (one.value or 1.0))
        for run in several
        for one in [one for one in single if one.seed == run.seed] or single
    ]
    runs = tuple(claim_run.record.run_id for claim_run in runs_of_claim)
    lacking = Measurement(0, runs, why="needs runs that forget one class and runs that forget several")
    return [*ratios, *(count for _, count in counts if count.why)] or [lacking]


def _step_count(claim_run: ClaimRun, claim: Claim) -> Measurement:
    measurement = _measurement(claim_run, claim, "update_steps")
    return replace(measurement, value=None, why="it took no step: no ratio") if measurement.value == 0 else measurement
