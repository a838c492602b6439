"""Signs of life of a run's process, and the end of one that gives none or takes too long."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

BEAT_SECONDS = 5.0
WARN_AFTER = 6  # missing beats
ENDING_MINUTES = 10.0  # for what follows a run's record: the end of its tracker
RECORDED = b"\0"  # no value of an environment variable holds it
OOM_SCORE, OOM_SCORE_FILE = 500, Path("/proc/self/oom_score_adj")
LOG = logging.getLogger("unsir_bench")


def give_signs_of_life(to: Connection, variable: str) -> None:
    """Send a beat every few seconds, in a thread of its own, for as long as this process runs.

    Args:
        to: the process that watches.
        variable: of the environment; each beat carries its value.
    """

    def beats() -> None:
        with suppress(OSError):  # nobody watches any more
            while True:
                to.send_bytes(os.environ.get(variable, "").encode())
                time.sleep(BEAT_SECONDS)

    threading.Thread(target=beats, daemon=True).start()


def say_recorded(to: Connection) -> None:
    """Tell the process that watches that this one has written its record."""
    with suppress(OSError):  # nobody watches any more
        to.send_bytes(RECORDED)


def die_with_parent() -> None:
    """End this process, from a thread of its own, when its parent ends.

    A run whose sweep was killed would go on unseen, beside the one that is started next.
    """

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def be_first_to_go_when_memory_runs_out() -> None:
    """Have Linux kill this process rather than the sweep that it belongs to."""
    with suppress(OSError, ValueError):  # elsewhere, or not allowed
        if int(OOM_SCORE_FILE.read_text()) < OOM_SCORE:
            OOM_SCORE_FILE.write_text(str(OOM_SCORE))


class Watch:
    """Waits for the end of a run's process, and brings it about where a limit is passed.

    Seconds are counted while this process runs: one that was stopped itself, with the run, has missed no beat.

    Attributes:
        record_written: whether the process has said that it wrote its record; another sweep may write one meanwhile.
    """

    def __init__(self, process: BaseProcess, beats: Connection, variable: str):
        """Watch a process.

        Args:
            process: of the run; started.
            beats: what it sends.
            variable: of the environment; takes the value that the beats carry, for later runs.
        """
        self._process, self._variable = process, variable
        self._beats: list[Connection] = [beats]
        self.record_written = False
        self._silent = 0

    def wait(self, time_limit: float | None, silence_limit: float | None) -> str | None:
        """Why the process was killed, or None if it ended by itself.

        Args:
            time_limit: minutes that the run may take, or None.
            silence_limit: minutes without a beat, or None.
        """
        spent, recorded, last = 0.0, 0.0, time.monotonic()
        while not self._ended():
            now = time.monotonic()
            passed, last = min(now - last, 2 * BEAT_SECONDS), now
            spent += passed
            recorded += passed if self.record_written else 0.0
            if recorded > 60 * ENDING_MINUTES:
                return self._killed(f"it was still there {ENDING_MINUTES:g} minutes after its record")
            if time_limit is not None and spent > 60 * time_limit and not recorded:
                return self._killed(f"it took longer than hardware.time_limit={time_limit:g} minutes")
            if silence_limit is not None and self._silent * BEAT_SECONDS > 60 * silence_limit:
                return self._killed(
                    f"it gave no sign of life for hardware.silence_limit={silence_limit:g} minutes ({self._state()})"
                )
        return None

    def _ended(self) -> bool:
        """Wait for a beat, or for the time of one; whether the process has ended."""
        ready = connection.wait([self._process.sentinel, *self._beats], BEAT_SECONDS)
        if self._process.exitcode is not None:
            self._take()  # its last word
            return True
        if ready:
            self._take()
            self._silent = 0
            return False
        self._silent += 1
        if self._silent == WARN_AFTER:
            LOG.warning(
                "process %s has given no sign of life for %g s (%s)",
                self._process.pid, WARN_AFTER * BEAT_SECONDS, self._state(),
            )  # fmt: skip
        return False

    def _take(self) -> None:
        """Read the beats that have arrived; what they carry is for later runs."""
        try:
            while self._beats and self._beats[0].poll():
                carried = self._beats[0].recv_bytes()
                self.record_written |= carried == RECORDED
                if carried not in (b"", RECORDED):
                    os.environ[self._variable] = carried.decode()
        except (EOFError, OSError):  # no more will come
            self._beats = []

    def _state(self) -> str:
        with suppress(psutil.Error):
            return f"the system calls it {psutil.Process(self._process.pid).status()}"
        return "the system does not know it"

    def _killed(self, why: str) -> str:
        """Kill the process and all that it started."""
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            for each in [*process.children(recursive=True), process]:
                with suppress(psutil.Error):
                    each.kill()
        self._process.join()
        return why
