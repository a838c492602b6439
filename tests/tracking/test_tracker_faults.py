"""Weights & Biases that hangs, exits or cannot be reached costs no run and no record, and little time."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tracking.fake_run import FakeRun, start, use_whole
from unsir_bench import runner
from unsir_bench.cli.bootstrap import compose
from unsir_bench.config import Config
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.tracking import run as tracking
from unsir_bench.tracking.run import UNREACHABLE, Tracker


class ExitingRun(FakeRun):
    """Ends the process where it fails, as W&B does at times."""

    def call(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name == self.failing:
            sys.exit(f"{name} gave up")


class HangingRun(FakeRun):
    """Never answers where it fails, as when its service was stopped."""

    def call(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name == self.failing:
            threading.Event().wait()


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNREACHABLE, "")


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, logger="unsir_bench")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return compose([f"outputs={tmp_path}", f"store.root={tmp_path}/store"])


def run_with(tracker: Tracker, config: Config, patch: pytest.MonkeyPatch, error: Exception | None = None) -> RunRecord:
    """The record of a run that takes no time and ends as given."""

    def launched(config: Config, tracker: Tracker, record: RunRecord) -> None:
        if error is not None:
            raise error
        record.status = "done"

    patch.setattr(runner, "start_tracker", lambda *_: tracker)
    patch.setattr(runner, "_launched", launched)
    return runner.run(config)


@pytest.mark.parametrize("failing", ["log", "config", "summary", "finish"])
def test_an_exit_inside_the_tracker_is_one_warning(failing: str, warnings_of: Callable[[], list[str]]) -> None:
    use_whole(Tracker(ExitingRun(failing)))
    [warning] = warnings_of()
    assert f"SystemExit: {failing} gave up" in warning and "the run goes on" in warning


@pytest.mark.parametrize("failing", ["log", "summary", "finish"])
def test_a_tracker_that_never_answers_is_given_up(
    failing: str, warnings_of: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "LONGEST_CALL", 0.2)
    run, began = HangingRun(failing), time.monotonic()
    use_whole(Tracker(run))
    assert time.monotonic() - began < 10
    [warning] = warnings_of()
    assert "TimeoutError: no answer within 0.2 s" in warning
    assert run.calls[-1][0] == failing  # and it is asked for nothing more


class Looking(FakeRun):
    """Keeps what the record on the disk says whenever it is told something."""

    def __init__(self, path: Path, failing: str = ""):
        super().__init__(failing)
        self.path, self.seen = path, []

    def call(self, name: str, *values: Any) -> None:
        self.seen.append((name, RunRecord.read(self.path).status if self.path.exists() else None))
        super().call(name, *values)


@pytest.mark.parametrize("failing", ["", "summary", "finish"])
def test_the_record_is_on_the_disk_before_the_tracker_is_told_of_the_end(
    failing: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Looking(config.folder / RECORD_FILE, failing)
    record = run_with(Tracker(run), config, monkeypatch)
    assert record.status == "done"
    assert {name: status for name, status in run.seen if name in ("summary", "finish")} == {
        "summary": "done",
        "finish": "done",
    }


def test_a_failed_run_says_why_in_its_summary(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun()
    record = run_with(Tracker(run), config, monkeypatch, RuntimeError("it broke"))
    assert record.status == "failed" and "it broke" in (record.error or "")
    [summary] = [values for name, *rest in run.calls if name == "summary" for values in rest]
    assert (summary["status"], summary["reason"]) == ("failed", "RuntimeError: it broke")
    assert run.calls[-1] == ("finish", 1)


def test_an_interrupted_run_ends_its_tracker_and_has_no_record(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FakeRun()
    with pytest.raises(KeyboardInterrupt):
        run_with(Tracker(run), config, monkeypatch, KeyboardInterrupt())  # type: ignore[arg-type]
    assert run.calls == [("finish", 1)]
    assert not (config.folder / RECORD_FILE).exists()


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In which modes W&B is started; online it cannot be reached."""
    tried: list[str] = []

    def init(mode: str, **_options: Any) -> FakeRun:
        tried.append(mode)
        if mode == "online":
            raise ConnectionError("no network")
        return FakeRun()

    fake = ModuleType("wandb")
    fake.init, fake.Settings, fake.teardown = init, dict, lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(tracking, "login_problem", lambda: None)
    return tried


def test_weights_and_biases_that_was_not_reached_is_not_tried_again(
    modes: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="unsir_bench")
    for _ in range(3):
        use_whole(start("online", tmp_path))
    assert modes == ["online", "offline", "offline", "offline"]
    assert caplog.text.count("did not start online") == 1
    assert caplog.text.count("failed in an earlier run (ConnectionError: no network); this run is logged offline") == 2


def test_one_that_fails_at_the_end_of_an_online_run_is_not_tried_again(modes: list[str], tmp_path: Path) -> None:
    use_whole(Tracker(FakeRun("finish"), online=True))
    assert os.environ[UNREACHABLE] == "ConnectionError: finish is down"
    use_whole(start("online", tmp_path))
    assert modes == ["offline"]


def test_what_later_runs_are_told_shows_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="unsir_bench")

    def refused(*_: object) -> None:
        raise ConnectionError("https://me:s3cret@wandb.example/api?api_key=s3cret refused")

    monkeypatch.setattr(tracking, "_wandb_run", refused)
    for _ in range(2):
        use_whole(start("online", tmp_path))
    assert os.environ[UNREACHABLE].startswith("ConnectionError: https://wandb.example/api")
    assert "s3cret" not in os.environ[UNREACHABLE] + caplog.text and "failed in an earlier run" in caplog.text


def test_a_fault_of_an_offline_run_says_nothing_of_the_network() -> None:
    use_whole(Tracker(FakeRun("finish")))
    assert os.environ[UNREACHABLE] == ""
