"""Whether the numbers of records agree with each other, as those of real runs do.

A record's digest detects damage, but anybody can compute it anew. Many numbers of a record follow from others, so that
one which was edited alone contradicts them. What follows from nothing else (costs apart: seconds, memory) is found by
doing the run again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from unsir_bench.evaluation.metrics.summary_scores import nomus, tug_of_war
from unsir_bench.records import FINISHED, RunRecord
from unsir_bench.report.samples import PREFIXES, SHARES
from unsir_bench.versions import SCHEMA_VERSION

Numbers = Mapping[str, float | int | None]
TOLERANCE = 1e-9  # relative: sums in another order
REFERENCE_PREFIXES = {"original": "original_", "retrain": "retrain_"}
OF_TIME = ("seconds", "bytes", "speedup")


def complaints(record: RunRecord) -> Iterator[str]:
    """What no finished run of this release would have written, in words."""
    if record.schema_version != SCHEMA_VERSION:
        yield f"schema version {record.schema_version} carries no digest: do the run again with this release"
    if record.status not in FINISHED:
        yield f"it is {record.status}: only finished runs count"
    if not record.command:
        yield "it names no command that repeats it"
    yield from _labels(record)
    steps = record.details.get("steps") or []
    for metrics in (record.metrics, *(step["metrics"] for step in steps)):
        yield from _contradictions(metrics)
    yield from _samples(record)
    yield from _by_class(record)
    yield from _accesses(record)
    yield from _relearning(record)
    if steps and dict(steps[-1]["metrics"]) != {name: record.metrics.get(name) for name in steps[-1]["metrics"]}:
        yield "its metrics are not those after its last step"


def _labels(record: RunRecord) -> Iterator[str]:
    """What tables and ranks call the run, where its configuration, which its id hashes, calls it something else."""
    config, forget = record.config, record.config.get("forget", {})
    told = {name: config.get(name, {}).get("name") for name in ("method", "dataset", "model")}
    told |= {"seed": config.get("seed"), "forget_set": "sequence" if forget.get("sequence") else forget.get("name")}
    for name, value in told.items():
        if getattr(record, name) != value:
            yield f"{name} is {getattr(record, name)}, and its configuration says {value}"


def _contradictions(metrics: Numbers) -> Iterator[str]:
    """Numbers that are not what others of the same record make them."""
    for name, value in _derived(metrics):
        told = metrics[name]
        if told is None or not math.isclose(told, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{name} is {told}, and the record's other numbers make it {value:.12g}"


def _derived(metrics: Numbers) -> Iterator[tuple[str, float]]:
    """Fields of a record with the value that others of it give."""
    for name in metrics:
        for prefix in ("", "floor_"):
            field = name.removeprefix(f"{prefix}gap_")
            own, retrained = metrics.get(prefix + field), metrics.get(f"retrain_{field}")
            if name == f"{prefix}gap_{field}" and own is not None and retrained is not None:
                yield name, own - retrained
    accuracies = ("acc_forget_train", "acc_retain_train", "acc_retain_test")
    # Records of a sequence from before there was such a sum divided the last retraining alone.
    divided = "retrain_seconds_so_far" if "retrain_seconds_so_far" in metrics else "retrain_seconds"
    rules: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
        "tow": ((*accuracies, *(f"retrain_{name}" for name in accuracies)), lambda *of: tug_of_war(of[:3], of[3:])),
        "nomus": (("acc_retain_test", "mia_loss_accuracy"), nomus),
        "speedup_vs_retrain": ((divided, "unlearn_seconds"), lambda theirs, own: theirs / own),
    }
    for name, (needed, rule) in rules.items():
        values = [metrics.get(each) for each in needed]
        if metrics.get(name) is not None and None not in values:
            yield name, rule(*values)


def _samples(record: RunRecord) -> Iterator[str]:
    """Shares of samples that no whole number of them makes."""
    counts = record.details.get("samples") or {}
    for prefix in PREFIXES:
        for field, part in SHARES.items():
            value, count = record.metrics.get(prefix + field), counts.get(part)
            if value is None or not isinstance(count, int) or field.startswith("mia_"):
                continue
            hits = value * count
            if abs(hits - round(hits)) > 1e-6:
                yield f"{prefix}{field} is {value}, which no whole number of its {count} samples makes"


def _by_class(record: RunRecord) -> Iterator[str]:
    """Accuracies that the accuracies by class contradict: a mean lies between its parts, and of one class is it."""
    if not record.forget_names:  # samples of all classes
        return
    gone = set(record.forget_classes)
    for prefix in PREFIXES:
        by_class = record.details.get(f"{prefix}accuracy_by_class") or {}
        for split, values in by_class.items():
            for kind in ("forget", "retain"):
                told = record.metrics.get(f"{prefix}acc_{kind}_{split}")
                parts = [v for place, v in enumerate(values) if (place in gone) == (kind == "forget") and v is not None]
                if told is not None and parts and not min(parts) - TOLERANCE <= told <= max(parts) + TOLERANCE:
                    yield (
                        f"{prefix}acc_{kind}_{split} is {told}, and its classes have {min(parts):.6g} to "
                        f"{max(parts):.6g}"
                    )


def _accesses(record: RunRecord) -> Iterator[str]:
    """Samples read that the metrics count otherwise, or that the declared access does not allow."""
    declared = set(record.access.get("declared", []))
    for kind in ("forget", "retain"):
        counted = (record.access.get(kind) or {}).get("samples")
        told = record.metrics.get(f"{kind}_samples_touched", counted)
        if told != counted:
            yield f"{kind}_samples_touched is {told}, and its access counts {counted}"
        if counted and not any(name.startswith(kind) for name in declared):
            yield f"it read {counted} {kind} samples without declaring to"


def _relearning(record: RunRecord) -> Iterator[str]:
    """Relearn times that are not where their curves end."""
    for prefix in PREFIXES:
        told, curve = record.metrics.get(f"{prefix}relearn_batches"), record.details.get(f"{prefix}relearn_curve")
        if told is not None and curve and told != curve[-1][0]:
            yield f"{prefix}relearn_batches is {told}, and its curve ends after {curve[-1][0]}"


def disagreements(records: Iterable[RunRecord]) -> Iterator[str]:
    """What records contradict each other in: one model of the store has one accuracy, whoever measured it."""
    known: dict[tuple[str, str, str], tuple[float | int, str]] = {}
    ids: dict[str, int] = defaultdict(int)
    for record in records:
        ids[record.run_id] += 1
        for role, prefix in REFERENCE_PREFIXES.items():
            key = (record.references.get(role) or {}).get("weights")
            for name, value in record.metrics.items():
                plain = name.removeprefix(f"{prefix}acc_")
                if not isinstance(key, str) or value is None or plain == name or any(word in name for word in OF_TIME):
                    continue
                where = (key, str(record.fingerprints.get("split")), name)
                first, run = known.setdefault(where, (value, record.run_id))
                if first != value:
                    yield f"{record.run_id}: {name} is {value}, and {run} measured {first} of the same model"
    yield from (f"{run_id} stands there {count} times" for run_id, count in ids.items() if count > 1)
