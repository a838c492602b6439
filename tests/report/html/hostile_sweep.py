"""A sweep whose names hold HTML and scripts."""

from pathlib import Path
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import Sweep, read_sweep

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>"
LAYERS = {"head.weight": 2.0, "body.weight": 4.0, "frozen.weight": 0.0}
RETAIN = {"original": [0.98, 0.97], "retrain": [0.96, 0.95], "unsir": [0.9, 0.86], IMAGE: [0.5, 0.7]}
SPEEDS = {"retrain": [1.0, 1.0], "unsir": [9.0, 11.0], IMAGE: [100.0, 120.0]}


def details(scale: float) -> dict[str, Any]:
    layers = {name: value * scale for name, value in LAYERS.items()}
    curve = [[0, 0.0], [5, 0.5 * scale], [10, 0.9]]
    found: dict[str, Any] = {}
    for prefix in ("", "original_", "retrain_", "floor_"):
        found[f"{prefix}forget_predictions"] = [0.25, 0.75]
        found[f"{prefix}relearn_curve"] = curve
        # The store gives back the layers in another order.
        ordered = dict(sorted(layers.items())) if prefix else layers
        found[f"{prefix}weight_distance_to_original"] = {"layers": ordered, "batchnorm_statistics": {"x": 9.0}}
    return found


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    done = status == "done"
    metrics = {
        "acc_forget_test": {"original": 1.0, "retrain": 0.0}.get(method, 0.1 * (seed + 1)),
        "acc_retain_test": RETAIN.get(method, [0.9, 0.9])[seed % 2],
        "retrain_acc_forget_test": 0.0,
        "retrain_acc_retain_test": RETAIN["retrain"][seed % 2],
        "unlearn_seconds": 2.0,
        "retrain_seconds": 2.0,
        "speedup_vs_retrain": SPEEDS.get(method, [None, None])[seed % 2],
    }
    fields: dict[str, Any] = {
        "run_id": f"{'evil' if '<' in method else method}-s{seed}",
        "sweep": "s",
        "method": method,
        "dataset": "digits",
        "model": "net",
        "seed": seed,
        "config": {"dataset": {"subset": 20}, "train": {"name": "small", "epochs": 2}, "metrics": {"name": "standard"}},
        "status": status,
        "forget_set": "single",
        "forget_classes": [0],
        "forget_names": [IMAGE],
        "metrics": metrics if done else {},
        "details": details(1.0 + seed) if done else {},
        "environment": {"commit": "abc123", "cpu": SCRIPT, "packages": {"torch": "2.0", IMAGE: "1"}},
        "started": "2026-01-02T03:04:05+00:00",
    }
    return RunRecord(**{**fields, **changes})


def swept(folder: Path, records: list[RunRecord]) -> Sweep:
    for one in records:
        one.write(folder / one.run_id)
    return read_sweep(folder)


def full_sweep(folder: Path) -> Sweep:
    records = [record(method, seed) for method in RETAIN for seed in (0, 1)]
    records += [
        record("fisher", 0, "failed", reason=f"{IMAGE} is missing", error=f"Traceback\n{SCRIPT}"),
        record("ssd", 0, "skipped", reason="needs forget data"),
        record("scrub", 0, "diverged", reason="the loss became nan"),
        record("unsir", 0, run_id="unsir-pair-s0", forget_set=SCRIPT, forget_classes=[1]),
    ]
    records[0].metric_notes = {"zrf": SCRIPT}
    records[1].metric_notes = {"zrf": SCRIPT}
    return swept(folder, records)
