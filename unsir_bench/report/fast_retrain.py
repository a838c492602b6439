"""Retraining by a fast recipe, as a second measure of speed: many times faster than a slow retraining may be little."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from unsir_bench.records import RunRecord
from unsir_bench.report.published_numbers import shared_data, shared_model

FAST = "fast"


def fast_retrain_seconds(records: Iterable[RunRecord]) -> dict[str, float]:
    """By task (`task_of`), seconds of retraining by the recipe named ``fast``: finished runs of ``method=retrain``.

    Those that forget in sequence are left out: their seconds are of all steps together.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        seconds = record.metrics.get("unlearn_seconds")
        fast = record.method == "retrain" and record.status == "done" and recipe(record) == FAST
        if fast and seconds and len(record.forget_steps) <= 1:
            found[task_of(record)].append(seconds)
    return {task: fmean(seconds) for task, seconds in found.items()}


def recipe(record: RunRecord) -> str:
    """Name of the recipe that trained the original and the retrained model."""
    return str((record.config.get("train") or {}).get("name", ""))


def task_of(record: RunRecord) -> str:
    """Equal for runs on the same data, forget set, network, precision, machine and seed, whatever their recipe."""
    shared = {
        "data": shared_data(record),
        "model": shared_model(record),
        "forget": record.forget_steps or [record.forget_classes],
        "split": record.fingerprints.get("split"),
        "precision": (record.config.get("hardware") or {}).get("precision"),
        "timed_on": record.timed_on,
        "seed": record.seed,
    }
    return json.dumps(shared, sort_keys=True, default=str)
