"""A run in a process of its own that is stopped, killed or refused, and what the sweep keeps of it."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unsir_bench import runner
from unsir_bench.cli.bootstrap import compose
from unsir_bench.config import Config
from unsir_bench.errors import NotRecordedError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.runs.record_of_run import blank_record
from unsir_bench.runs.run_lock import run_lock
from unsir_bench.sweeps import isolation, watch
from unsir_bench.sweeps.isolation import run_in_own_process
from unsir_bench.tracking.run import UNREACHABLE, Tracker

LOGGING = {"version": 1, "disable_existing_loggers": False}
Work = Callable[[Config], object]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run whose process is forked from this one, so that it does what a test puts in the place of ``run``."""
    monkeypatch.setattr(isolation, "process_context", lambda modules: multiprocessing.get_context("fork"))
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.05)
    monkeypatch.setenv(UNREACHABLE, "")
    return compose([f"outputs={tmp_path}", f"store.root={tmp_path}/store", "tracker=none"])


@pytest.fixture
def record_of(config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], RunRecord]:
    def done(work: Work) -> RunRecord:
        monkeypatch.setattr(runner, "run", lambda config, command, recorded: work(config))
        return run_in_own_process(config, "the command", LOGGING, [])

    return done


def on_disk(config: Config) -> dict:
    return json.loads((config.folder / RECORD_FILE).read_text())


def write_done(config: Config) -> RunRecord:
    record = blank_record(config)
    record.status = "done"
    record.write(config.folder)
    return record


def test_a_stopped_run_is_recorded_as_failed_and_the_sweep_goes_on(
    config: Config, record_of: Callable[[Work], RunRecord]
) -> None:
    config.hardware.silence_limit = 0.02
    record = record_of(lambda _: os.kill(os.getpid(), signal.SIGSTOP))
    assert (record.status, record.command) == ("failed", "the command")
    assert "JobKilled: the run's process was killed: it gave no sign of life" in (record.reason or "")
    assert "hardware.silence_limit=0.02" in on_disk(config)["reason"]
    assert record_of(write_done).status == "done"
    assert on_disk(config)["status"] == "done"


def test_a_run_over_its_time_is_recorded_as_failed(config: Config, record_of: Callable[[Work], RunRecord]) -> None:
    config.hardware.time_limit = 0.02
    assert "it took longer than hardware.time_limit=0.02 minutes" in (record_of(lambda _: time.sleep(60)).reason or "")
    assert on_disk(config)["forget_names"] == ["0"]


class DeadlyTracker(Tracker):
    """Its report is killed."""

    def __init__(self) -> None:
        super().__init__(None)

    def report(self, record: RunRecord, folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_record_written_before_the_process_was_killed_stands(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="unsir_bench")
    monkeypatch.setattr(runner, "_recorded", lambda config, folder, command: (write_done(config), DeadlyTracker()))
    assert run_in_own_process(config, "", LOGGING, []).status == "done"
    assert on_disk(config)["status"] == "done"
    assert "SIGKILL" in caplog.text and "its record was written before, and stands" in caplog.text


def another_fails(config: Config) -> None:
    """As a sweep that had the run's lock, and left the run to this one."""
    blank_record(config).write(config.folder)
    time.sleep(0.5)


def test_a_record_of_another_sweep_is_not_taken_for_that_of_the_run(
    config: Config, record_of: Callable[[Work], RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ENDING_MINUTES", 0.002)
    config.hardware.time_limit = 1
    assert record_of(lambda config: (another_fails(config), write_done(config))).status == "done"
    config.hardware.time_limit = 0.003
    shutil.rmtree(config.folder)
    assert "hardware.time_limit=0.003" in (record_of(another_fails).reason or "")


def test_a_run_that_another_sweep_is_doing_gets_no_record_of_failure(
    config: Config, record_of: Callable[[Work], RunRecord]
) -> None:
    with run_lock(config.folder):
        record = record_of(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert record.status == "failed"
    assert not (config.folder / RECORD_FILE).exists()


def finish_one_like_it(config: Config) -> None:
    """As another sweep, whose run has the metrics by a later ``evaluate``, and so another id."""
    record = blank_record(config)
    record.status, record.run_id = "done", f"{config.run_id.rpartition('-')[0]}-0123456789"
    record.unlearned = [{"unlearning": config.unlearning_id}]
    record.metrics = {"retrain_acc_retain_train": 0.5}
    record.write(config.folder.with_name(record.run_id))


def test_a_run_that_another_sweep_finished_under_another_id_meanwhile_is_done(
    config: Config, record_of: Callable[[Work], RunRecord]
) -> None:
    record = record_of(finish_one_like_it)
    assert (record.status, record.run_id[-11:]) == ("done", "-0123456789")
    assert not (config.folder / RECORD_FILE).exists()


def end_without_a_record(config: Config) -> None:
    """As an earlier attempt left a record, and a library now ends the process as if all were well."""
    blank_record(config).write(config.folder)
    os._exit(0)


def test_a_process_that_ends_well_without_a_record_is_recorded_as_failed(
    config: Config, record_of: Callable[[Work], RunRecord]
) -> None:
    record = record_of(end_without_a_record)
    assert "ended with status 0 before it could write its record" in (record.reason or "")
    assert on_disk(config)["reason"] == record.reason


def test_a_method_that_exits_is_recorded_with_its_traceback(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_launched", lambda *_: sys.exit(0))
    record = run_in_own_process(config, "", LOGGING, [])
    assert (record.status, record.reason) == ("failed", "SystemExit: 0")
    assert "Traceback" in on_disk(config)["error"]


def test_a_disk_that_refuses_the_record_of_a_killed_run_is_an_error_of_one_line(
    config: Config, record_of: Callable[[Work], RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(record: RunRecord, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunRecord, "write", full)
    with pytest.raises(NotRecordedError, match="No space left on device; make room"):
        record_of(lambda _: os.kill(os.getpid(), signal.SIGKILL))


def refuse(config: Config) -> None:
    raise NotRecordedError("the disk is full")


def test_a_record_that_cannot_be_written_is_an_error_of_one_line(
    config: Config, record_of: Callable[[Work], RunRecord], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotRecordedError, match="could not write its record"):
        record_of(refuse)
    assert "Traceback" not in capfd.readouterr().err
    assert not config.folder.exists()


def lose_the_tracker(config: Config) -> None:
    os.environ[UNREACHABLE] = "ConnectionError: no network"
    write_done(config)


def test_that_weights_and_biases_cannot_be_reached_is_known_to_later_runs(
    record_of: Callable[[Work], RunRecord],
) -> None:
    record_of(lose_the_tracker)
    assert os.environ[UNREACHABLE] == "ConnectionError: no network"
