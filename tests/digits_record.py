"""A record of UNSIR on digits, as a run that is done leaves it."""

from typing import Any

from unsir_bench.records import RunRecord

RUN = "digits-unsir-0-abc"


def record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": RUN,
        "sweep": "runs",
        "method": "unsir",
        "dataset": "digits",
        "model": "allcnn",
        "seed": 3,
        "config": {"train": {"lr": 0.1}},
        "status": "done",
        "metrics": {"acc_retain_test": 0.5, "steps": 7, "speedup": None},
        "forget_names": ["naïve ± 名"],
    }
    return RunRecord(**{**fields, **changes})
