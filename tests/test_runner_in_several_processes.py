"""A run in several processes: what each knows of the others' packages, and what the first hands over."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning_fabric import Fabric

from unsir_bench import compose, runner
from unsir_bench.config import Config
from unsir_bench.records import RunRecord
from unsir_bench.runs.record_of_run import blank_record
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.tracking.run import RememberingTracker, Tracker


@pytest.fixture
def digits_run(tmp_path: Path) -> Config:
    return compose(["tracker=none", f"outputs={tmp_path}", f"store.root={tmp_path}/store"])


def test_each_of_several_processes_knows_the_metrics_of_other_packages(
    digits_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the configuration is made of brings its own modules; a metric is in no configuration."""
    (tmp_path / "metric_of_somebody.py").write_text("imported = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runner, "_experiment", lambda *_: None)
    runner._experiment_of_rank(digits_run, blank_record(digits_run), ["metric_of_somebody"], Fabric(accelerator="cpu"))
    assert sys.modules.pop("metric_of_somebody").imported


def test_of_several_processes_the_first_hands_everything_over_in_a_file(
    digits_run: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a process returns goes through a pipe that holds 64 KiB until all have ended: more would stop it for ever.
    points = 100_000

    def pretended(_fabric: Fabric, _config: Config, tracker: Tracker, record: RunRecord) -> None:
        for step in range(points):
            tracker.log("original", step, {"loss": 1.0})
        record.status = "done"

    class Launcher:
        """Fabric's, for one process in place of several."""

        def launch(self, work: Callable[..., object], *arguments: object) -> None:
            assert work(digits_run.hardware.start(), *arguments) is None

    monkeypatch.setattr(runner, "_experiment", pretended)
    several = dataclasses.replace(digits_run, hardware=dataclasses.replace(digits_run.hardware, devices=2))
    monkeypatch.setattr(HardwareConfig, "start", lambda config, *_: Launcher() if config.devices == 2 else Fabric())
    tracker, record = RememberingTracker(), blank_record(several)
    several.folder.mkdir(parents=True)
    runner._launched(several, tracker, record)
    assert record.status == "done"
    assert tracker.points == [("original", step, {"loss": 1.0}) for step in range(points)]
    assert not list(several.folder.iterdir())
