"""What one command has launched: the runs it is to make, and what became of them."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from unsir_bench.config import Config
from unsir_bench.errors import ConfigError, NotRecordedError
from unsir_bench.records import RECORD_FILE, RunRecord, own_record, printable, records_below
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.sweeps.isolation import run_in_own_process


@dataclass(frozen=True)
class SweepJob:
    """One run of a sweep, composed but not started.

    Attributes:
        overrides: what the command line says for this run alone.
        config: its configuration, or why it has none.
        finished: the status of the same run done before, when the sweep began; None where it was still to be done.
        left: when the record of an earlier attempt was written, in nanoseconds; None where there was none.
    """

    overrides: tuple[str, ...]
    config: Config | ConfigError
    finished: str | None = None
    left: int | None = None

    @classmethod
    def of(cls, overrides: Sequence[str], config: Config) -> SweepJob:
        """A job, with a look at what was done before.

        Raises:
            ConfigError: the same run is finished, of other images.
        """
        done = _finished(config)
        return cls(tuple(overrides), config, done.status if done is not None else None, _written(config.folder))


def _written(folder: Path) -> int | None:
    """When a run's record was written, in nanoseconds; None: it has none."""
    try:
        return (folder / RECORD_FILE).stat().st_mtime_ns
    except OSError:
        return None


@dataclass
class Launch:
    """What one command has launched.

    Attributes:
        instead: what to do with the sweep's runs instead of launching them; None: launch them.
        jobs: every run of the sweep, where the sweeper knows them.
        failed: run ids that failed or vanished: they decide the exit status.
        stopped: why the launcher ended before all runs were done.
        run: does one run in a process of its own; takes what ``run_in_own_process`` takes.
    """

    started: float = field(default_factory=time.time)
    instead: Callable[[Sequence[SweepJob]], None] | None = None
    jobs: list[SweepJob] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopped: str | None = None
    run: Callable[..., RunRecord] = run_in_own_process


_CURRENT: ContextVar[Launch] = ContextVar("launch")


@contextmanager
def launching(instead: Callable[[Sequence[SweepJob]], None] | None = None) -> Iterator[Launch]:
    """The launch of one command, which Hydra's sweeper and callback find by ``current_launch``."""
    token = _CURRENT.set(Launch(instead=instead))
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)


def current_launch() -> Launch:
    """The launch of the running command; in a launcher's own processes an empty one, which nobody reads."""
    return _CURRENT.get(Launch())


def command_of(overrides: Sequence[str]) -> str:
    """The command that does one run alone."""
    return shlex.join(["unsir-bench", *overrides])


@dataclass(frozen=True)
class Trouble:
    """A run of this launch that is not what was asked for.

    Attributes:
        status: ``failed``, ``diverged``, ``skipped``, or ``lost`` (it left no record that can be read).
        again: the command that does this run alone; empty where it is unknown.
        record: the record's path, if there is one.
    """

    run_id: str
    status: str
    reason: str
    again: str
    record: Path | None = None


def troubles(launch: Launch, folder: Path) -> Iterator[Trouble]:
    """Every run of the launch that was not done, from its record; of another sweeper, from those below ``folder``.

    A configuration that was refused has none: in another launcher's process nobody but its log would tell.
    """
    for job in launch.jobs:
        if isinstance(job.config, ConfigError):
            name = " ".join(job.overrides)
            yield Trouble(name, "failed", " ".join(str(job.config).split()), command_of(job.overrides))
    mine = {job.config.folder: (job, job.config) for job in launch.jobs if isinstance(job.config, Config)}
    for job, config in mine.values():
        yield from _of_run(job, config, launch.stopped or "left no record")
    for path, record in records_below(folder) if not launch.jobs else ():  # another sweeper does not say which are its
        if path.stat().st_mtime >= launch.started:
            yield from _told(path, record)


def _of_run(job: SweepJob, config: Config, why_lost: str) -> Iterator[Trouble]:
    """What its record says, wherever it lies; of a run without one of its own, that it is lost."""
    path = config.folder / RECORD_FILE
    if job.finished is None and job.left is not None and job.left == _written(config.folder):
        if _finished(config) is None:  # under another id
            words = f"{why_lost}; the one in its place is of an earlier attempt"
            yield Trouble(config.folder.name, "lost", words, command_of(job.overrides), path)
        return
    try:
        record = own_record(config.folder)
    except ValueError as problem:
        if job.finished is None and _finished(config) is None:
            there = path if os.path.lexists(path) else None
            reason = str(problem).removeprefix(f"{printable(str(path))}: ")
            words = f"{why_lost}; what lies in its place is none: {reason}" if there else why_lost
            yield Trouble(config.folder.name, "lost", words, command_of(job.overrides), there)
    else:
        yield from _told(path, record)


def _finished(config: Config) -> RunRecord | None:
    """The finished run's record, or None where it cannot be read now: the run, if it is tried, then says so."""
    try:
        return finished_run(config)
    except NotRecordedError:
        return None


def _told(path: Path, record: RunRecord) -> Iterator[Trouble]:
    if record.status != "done":
        reason = " ".join((record.reason or "").split())
        yield Trouble(record.run_id, record.status, reason, record.command, path)
