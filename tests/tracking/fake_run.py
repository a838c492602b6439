"""Runs that Weights & Biases never sees: what reaches it is written down, or is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.tracking.run import Tracker, start_tracker
from unsir_bench.tracking.tracker_config import TrackerConfig


def a_record(**changes: Any) -> RunRecord:
    named = {"run_id": "run-id", "sweep": "sweep", "method": "unsir", "dataset": "digits", "model": "allcnn"}
    return RunRecord(**{**named, "seed": 0, "config": {"seed": 0, "model": {"name": "allcnn"}}, **changes})


class FakeRun:
    """Records what reaches Weights & Biases; the calls named in ``failing`` raise."""

    def __init__(self, failing: str = ""):
        self.failing, self.calls = failing, []
        self.summary, self.config = _Part(self, "summary"), _Part(self, "config")

    def call(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name == self.failing:
            raise ConnectionError(f"{name} is down")

    def log(self, point: dict[str, float]) -> None:
        self.call("log", point)

    def finish(self, exit_code: int) -> None:
        self.call("finish", exit_code)

    def define_metric(self, *_arguments: Any, **_options: Any) -> None:
        self.call("define_metric")


@dataclass
class _Part:
    run: FakeRun
    name: str

    def update(self, values: dict[str, Any], **_options: Any) -> None:
        self.run.call(self.name, values)


def start(mode: str, folder: Path) -> Tracker:
    return start_tracker(TrackerConfig(mode=mode), a_record(), folder)


def use_whole(tracker: Tracker, folder: Path = Path("nowhere")) -> None:
    """What a run does with its tracker."""
    with tracker.holding():
        tracker.log("impair", 1, {"loss": 2.0})
        tracker.log("impair", 2, {"loss": 1.0})
    tracker.report(a_record(metrics={"retain": 0.7}), folder)
    tracker.finish(failed=False)
