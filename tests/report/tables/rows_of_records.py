"""Records of short runs, and the rows of the table that they make."""

from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.data import model_table
from unsir_bench.report.tables.table import summary as summary_of

METRICS = {
    "acc_forget_test": 0.0,
    "acc_retain_test": 0.9,
    "original_acc_retain_test": 0.92,
    "retrain_acc_retain_test": 0.93,
    "unlearn_seconds": 2.0,
    "speedup_vs_retrain": 40.0,
}


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": f"{method}-{seed}",
        "sweep": "s",
        "method": method,
        "dataset": "digits",
        "model": "allcnn",
        "seed": seed,
        "config": {},
        "status": status,
        "forget_set": "single",
        "forget_classes": [0],
        "metrics": dict(METRICS) if status == "done" else {},
    }
    return RunRecord(**{**fields, **changes})


def summary(records: list[RunRecord]) -> list[dict[str, str]]:
    return summary_of(model_table(records))


def with_accuracy(seed: int, value: float | None, **changes: Any) -> RunRecord:
    return record(seed=seed, metrics={**METRICS, "acc_retain_test": value}, **changes)
