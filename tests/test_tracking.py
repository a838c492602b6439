from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from unsir_bench.tracking import Tracker, TrackerConfig, start_tracker

SETTINGS = {"seed": 0, "model": {"name": "allcnn"}}


class FakeRun:
    """Records what reaches Weights & Biases; the calls named in ``failing`` raise."""

    def __init__(self, failing: str = ""):
        self.failing, self.calls = failing, []
        self.summary = self

    def _call(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name == self.failing:
            raise ConnectionError(f"{name} is down")

    def log(self, point: dict[str, float]) -> None:
        self._call("log", point)

    def update(self, values: dict[str, Any]) -> None:
        self._call("summary", values)

    def finish(self, exit_code: int) -> None:
        self._call("finish", exit_code)

    def define_metric(self, *_arguments: Any, **_options: Any) -> None:
        self._call("define_metric")


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, logger="unsir_bench")
    return lambda: [record.getMessage() for record in caplog.records]


def start(mode: str, folder: Path) -> Tracker:
    return start_tracker(TrackerConfig(mode=mode), folder, "run-id", "sweep", "unsir", SETTINGS)


def use_whole(tracker: Tracker) -> None:
    """What a run does with its tracker."""
    with tracker.holding():
        tracker.log("impair", 1, {"loss": 2.0})
        tracker.log("impair", 2, {"loss": 1.0})
    tracker.summarise({"retain": 0.7})
    tracker.finish(failed=False)


@pytest.mark.parametrize("failing", ["log", "summary", "finish"])
def test_a_fault_of_the_tracker_is_one_warning_and_silences_it(
    failing: str, warnings_of: Callable[[], list[str]]
) -> None:
    run = FakeRun(failing)
    use_whole(Tracker(run))
    [warning] = warnings_of()
    assert f"ConnectionError: {failing} is down" in warning
    assert "the run goes on" in warning
    assert run.calls[-1][0] == failing


@pytest.mark.parametrize("failing", ["init", "define_metric"])
def test_a_tracker_that_does_not_start_is_one_warning(
    failing: str, warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def init(**_options: Any) -> FakeRun:
        if failing == "init":
            raise ConnectionError("init is down")
        return FakeRun(failing)

    fake = ModuleType("wandb")
    fake.init, fake.Settings = init, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    use_whole(start("offline", tmp_path))
    [warning] = warnings_of()
    assert f"{failing} is down" in warning


def test_an_absent_wandb_is_one_warning(
    warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    use_whole(start("offline", tmp_path))
    assert len(warnings_of()) == 1


def test_mode_none_never_imports_wandb(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from unsir_bench.tracking import TrackerConfig, start_tracker\n"
        f"tracker = start_tracker(TrackerConfig(mode='none'), Path({str(tmp_path)!r}), 'id', 'g', 'j', {{}})\n"
        "tracker.log('impair', 1, {'loss': 1.0}); tracker.summarise({}); tracker.finish(failed=False)\n"
        "sys.exit('wandb' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_points_are_named_by_phase_and_carry_its_step() -> None:
    run = FakeRun()
    Tracker(run).log("repair", 7, {"loss": 0.5, "rate": 0.1})
    assert run.calls == [("log", {"repair/loss": 0.5, "repair/rate": 0.1, "repair/step": 7})]


def test_held_points_are_logged_in_order_once_the_clock_has_stopped() -> None:
    run = FakeRun()
    tracker = Tracker(run)
    with tracker.holding():
        for step in (1, 2, 3):
            tracker.log("noise", step, {"loss": -step})
        assert run.calls == []
    tracker.log("repair", 1, {"loss": 9})
    assert [call[1].get("noise/step") for call in run.calls] == [1, 2, 3, None]


def test_points_held_before_a_divergence_are_logged_all_the_same() -> None:
    run = FakeRun()
    tracker = Tracker(run)
    with pytest.raises(KeyError), tracker.holding():
        tracker.log("impair", 1, {"loss": 1e9})
        raise KeyError
    assert len(run.calls) == 1


@pytest.mark.parametrize(("failed", "code"), [(False, 0), (True, 1)])
def test_a_finished_tracker_is_silent_and_tells_of_failure(failed: bool, code: int) -> None:
    run = FakeRun()
    tracker = Tracker(run)
    tracker.finish(failed=failed)
    tracker.log("impair", 1, {"loss": 1.0})
    tracker.finish(failed=True)
    assert run.calls == [("finish", code)]


def test_an_offline_run_writes_its_summary_into_the_folder_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings_of: Callable[[], list[str]]
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "sweep" / "run-id"  # a run's folder does not exist before its record is written
    tracker = start("offline", folder)
    run = tracker._run
    use_whole(tracker)
    assert warnings_of() == []
    assert run is not None
    assert run._is_finished
    assert wandb.run is None or wandb.run is not run
    [written] = folder.rglob("run-run-id.wandb")
    content = written.read_bytes()
    assert b"retain" in content
    assert b"impair/loss" in content
