"""What a sweep notices of the process of a run: that it lives, is stopped, or takes too long."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from unsir_bench.sweeps import watch
from unsir_bench.sweeps.watch import Watch, be_first_to_go_when_memory_runs_out, give_signs_of_life, say_recorded

FORK = multiprocessing.get_context("fork")
VARIABLE = "UNSIR_BENCH_TEST_CARRIED"
LONG = 60.0  # seconds, which no test waits for

Watched = Callable[..., tuple[str | None, multiprocessing.process.BaseProcess]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.05)
    monkeypatch.setenv(VARIABLE, "")


def watched(
    work: Callable[[Connection], object], time_limit: float | None = None, silence_limit: float | None = None
) -> tuple[str | None, multiprocessing.process.BaseProcess]:
    """Watch a process that does some work, given its end of the pipe; limits in minutes."""
    beats, sign = FORK.Pipe(duplex=False)

    def job() -> None:
        give_signs_of_life(sign, VARIABLE)
        work(sign)

    process = FORK.Process(target=job)
    process.start()
    sign.close()
    return Watch(process, beats, VARIABLE).wait(time_limit, silence_limit), process


def carry(_: Connection) -> None:
    os.environ[VARIABLE] = "no network"
    time.sleep(0.3)


def test_a_process_that_lives_is_left_alone_and_what_its_beats_carry_is_kept() -> None:
    killed, process = watched(carry, time_limit=1, silence_limit=1)
    assert (killed, process.exitcode) == (None, 0)
    assert os.environ[VARIABLE] == "no network"


def test_a_stopped_process_is_reported_and_killed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="unsir_bench")
    killed, process = watched(lambda _: os.kill(os.getpid(), signal.SIGSTOP), silence_limit=0.02)
    assert killed == "it gave no sign of life for hardware.silence_limit=0.02 minutes (the system calls it stopped)"
    assert process.exitcode == -signal.SIGKILL
    assert f"process {process.pid} has given no sign of life for 0.3 s (the system calls it stopped)" in caplog.text


def start_another(place: Path) -> None:
    child = FORK.Process(target=time.sleep, args=(LONG,))
    child.start()
    (place / "pid").write_text(str(child.pid))
    time.sleep(LONG)


def test_one_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    killed, process = watched(lambda _: start_another(tmp_path), time_limit=0.05)
    assert killed == "it took longer than hardware.time_limit=0.05 minutes"
    assert process.exitcode == -signal.SIGKILL
    child, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 30
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def record_and_stay(sign: Connection) -> None:
    say_recorded(sign)
    time.sleep(LONG)


def test_the_time_after_the_record_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "ENDING_MINUTES", 0.01)
    killed, process = watched(record_and_stay, time_limit=0.5)
    assert killed == "it was still there 0.01 minutes after its record"
    assert process.exitcode == -signal.SIGKILL


def arrived(path: Path) -> None:
    """Wait for a file."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def live_until_told(place: Path) -> None:
    (place / "alive").touch()
    arrived(place / "told")


def watch_a_live_one(place: Path) -> None:
    os.setpgid(0, 0)
    killed, _ = watched(lambda _: live_until_told(place), silence_limit=0.03, time_limit=0.03)
    (place / "ended").write_text(str(killed))


def test_a_sweep_stopped_together_with_its_run_counts_nothing_against_it(tmp_path: Path) -> None:
    """Ctrl-Z, and later `fg`."""
    sweep = FORK.Process(target=watch_a_live_one, args=(tmp_path,))
    sweep.start()
    arrived(tmp_path / "alive")
    os.killpg(sweep.pid, signal.SIGSTOP)
    time.sleep(2.2)  # more than either limit
    os.killpg(sweep.pid, signal.SIGCONT)
    time.sleep(0.1)  # in which the limits are looked at
    (tmp_path / "told").touch()
    sweep.join(30)
    assert (tmp_path / "ended").read_text() == "None"


def write_score(place: Path) -> None:
    be_first_to_go_when_memory_runs_out()
    place.write_text(watch.OOM_SCORE_FILE.read_text())


@pytest.mark.skipif(not watch.OOM_SCORE_FILE.exists(), reason="only Linux says which process goes first")
def test_the_kernel_takes_the_run_before_the_sweep(tmp_path: Path) -> None:
    own = int(watch.OOM_SCORE_FILE.read_text())
    process = FORK.Process(target=write_score, args=(tmp_path / "score",))
    process.start()
    process.join(30)
    assert int((tmp_path / "score").read_text()) == max(own, watch.OOM_SCORE)
    assert int(watch.OOM_SCORE_FILE.read_text()) == own
