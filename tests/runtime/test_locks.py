"""Locks between processes."""

import errno
import fcntl
import logging
import multiprocessing
import multiprocessing.synchronize
import os
import signal
from pathlib import Path

import pytest
from filelock import Timeout

from unsir_bench.runtime import locks
from unsir_bench.runtime.locks import locked

FORK = multiprocessing.get_context("fork")


def hold(
    folder: Path, held: multiprocessing.synchronize.Event, awaited: multiprocessing.synchronize.Event | None = None
) -> None:
    with locked(folder, "one", "it"):
        held.set()
        signal.sigtimedwait([], 60) if awaited is None else awaited.wait(60)


@pytest.fixture
def holder(tmp_path: Path) -> multiprocessing.process.BaseProcess:
    held = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(30)
    return process


def test_a_lock_that_another_process_has_is_waited_for_and_the_holder_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, awaited, info = FORK.Event(), FORK.Event(), locks.LOG.info

    def waiting(*message: object) -> None:
        info(*message)
        awaited.set()

    monkeypatch.setattr(locks.LOG, "info", waiting)
    caplog.set_level(logging.INFO, logger="unsir_bench")
    process = FORK.Process(target=hold, args=(tmp_path, held, awaited))
    process.start()
    assert held.wait(30)
    with locked(tmp_path, "other", "it"):
        assert caplog.text == ""
    with locked(tmp_path, "one", "it"):
        process.join(30)
        assert process.exitcode == 0
    assert f"waiting for process {process.pid} on " in caplog.text and "which is making it" in caplog.text


def test_who_does_not_want_to_wait_is_told(tmp_path: Path, holder: multiprocessing.process.BaseProcess) -> None:
    with pytest.raises(Timeout), locked(tmp_path, "one", "it", wait=False):
        pytest.fail("the lock was held twice")
    os.kill(holder.pid, signal.SIGKILL)  # a dead process holds no lock
    holder.join(30)
    with locked(tmp_path, "one", "it", wait=False):
        pass


def test_a_file_system_without_locks_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", absent)
    named = r"knows no locks \(flock\): mount it with them.*store\.root"
    with pytest.raises(OSError, match=named), locked(tmp_path, "one", "it"):
        pytest.fail("a lock that a dead process would hold for ever")


def test_a_full_disk_keeps_nobody_from_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(locks, "write_atomic", full)
    with locked(tmp_path, "one", "it"), pytest.raises(Timeout), locked(tmp_path, "one", "it", wait=False):
        pytest.fail("the lock was held twice")
