"""How much faster a method is than retraining, than fast retraining and than Fisher forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import task_of
from unsir_bench.report.statistics import is_ratio

FISHER_PAIR = ["dataset", "model", "forget", "key", "seed", "timed_on"]
FAST_RECIPE = "fast"


def with_speedups(table: pd.DataFrame, fast: Mapping[str, float]) -> pd.DataFrame:
    """Add the seconds of retraining, of fast retraining and of Fisher forgetting over each model's own, where known."""
    if "unlearn_seconds" not in table:
        return table
    worked = table["unlearn_seconds"].where(table["method"] != "original").where(table["unlearn_seconds"] != 0)
    if "retrain_seconds" in table:
        measured = (table["retrain_seconds"] / worked).astype(float)
        recorded = table.get("speedup_vs_retrain", measured).astype(float)
        said = (table["prefix"] == "") & table["record"].map(lambda record: "speedup_vs_retrain" in record.metrics)
        # Null in a record means that the method does nothing.
        table = table.assign(speedup_vs_retrain=recorded.fillna(measured.mask(said.astype(bool))))
    rivals = table["record"].map(lambda record: fast.get(task_of(record)) if fast else None).astype(float)
    if rivals.notna().any():
        table = table.assign(speedup_vs_fast_retrain=rivals / worked)
    fisher = table[_exact_fisher(table)]
    if not fisher.empty:
        seconds = fisher.groupby(FISHER_PAIR)["unlearn_seconds"].mean().rename("fisher_seconds")
        table = table.join(seconds, on=FISHER_PAIR)
        table["speedup_vs_fisher"] = table["fisher_seconds"] / worked
    return table.assign(**{name: table[name].where(table[name] > 0) for name in map(str, table) if is_ratio(name)})


def _exact_fisher(table: pd.DataFrame) -> pd.Series:
    """Which rows are finished Fisher runs of the exact diagonal, which ``labels=mc`` only estimates."""
    exact = table["record"].map(lambda record: record.config.get("method", {}).get("labels", "exact") == "exact")
    return exact & (table["method"] == "fisher") & (table["status"] == "done") & table["unlearn_seconds"].notna()


def fisher_runs(table: pd.DataFrame) -> dict[tuple[Any, ...], list[str]]:
    """Ids of the Fisher runs that a model is compared with, by its ``FISHER_PAIR``."""
    if "unlearn_seconds" not in table:
        return {}
    pairs = table[_exact_fisher(table)].groupby(FISHER_PAIR)["run_id"]
    return {pair: ids.tolist() for pair, ids in pairs}


def fast_retrain_seconds(records: Iterable[RunRecord]) -> dict[str, float]:
    """By task (``task_of``), mean seconds of finished runs of ``method=retrain`` by the recipe named ``fast``.

    Those that forget in sequence are left out: their seconds are of all steps together.
    """
    found = [
        (task_of(record), record.metrics["unlearn_seconds"])
        for record in records
        if record.method == "retrain"
        and record.status == "done"
        and (record.config.get("train") or {}).get("name") == FAST_RECIPE
        and record.metrics.get("unlearn_seconds")
        and len(record.forget_steps) <= 1
    ]
    by_task = pd.DataFrame(found, columns=["task", "seconds"]).groupby("task")["seconds"].mean()
    return {str(task): float(seconds) for task, seconds in by_task.items()}
