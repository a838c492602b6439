"""What one command has launched: the runs it is to make, and what became of them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from unsir_bench.config import Config
from unsir_bench.errors import ConfigError
from unsir_bench.records import RECORD_FILE, RunRecord, records_below
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.sweeps.isolation import run_in_own_process


@dataclass(frozen=True)
class SweepJob:
    """One run of a sweep, composed but not started.

    Attributes:
        overrides: what the command line says for this run alone.
        config: its configuration, or why it has none.
        finished: the status of the same run done before, when the sweep began; None where it was still to be done.
    """

    overrides: tuple[str, ...]
    config: Config | ConfigError
    finished: str | None = None

    @classmethod
    def of(cls, overrides: Sequence[str], config: Config) -> SweepJob:
        """A job, with a look at what was done before.

        Raises:
            ConfigError: the same run is finished, of other images.
        """
        done = finished_run(config)
        return cls(tuple(overrides), config, done.status if done is not None else None)


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
        status: ``failed``, ``diverged``, ``skipped``, or ``lost`` (it left no record).
        again: the command that does this run alone; empty where it is unknown.
        record: the record's path, if there is one.
    """

    run_id: str
    status: str
    reason: str
    again: str
    record: Path | None = None


def troubles(launch: Launch, folder: Path) -> Iterator[Trouble]:
    """Every run of the launch that was not done, from the records below the sweep's folder.

    A configuration that was refused has none: in another launcher's process nobody but its log would tell.
    """
    for job in launch.jobs:
        if isinstance(job.config, ConfigError):
            name = " ".join(job.overrides)
            yield Trouble(name, "failed", " ".join(str(job.config).split()), command_of(job.overrides))
    mine = {job.config.folder: (job, job.config) for job in launch.jobs if isinstance(job.config, Config)}
    for path, record in records_below(folder):
        fresh = path.parent in mine if launch.jobs else path.stat().st_mtime >= launch.started
        if record.status != "done" and fresh:
            reason = " ".join((record.reason or "").split())
            yield Trouble(record.run_id, record.status, reason, record.command, path)
    for place, (job, config) in mine.items():
        if not (place / RECORD_FILE).exists() and job.finished is None and finished_run(config) is None:
            yield Trouble(place.name, "lost", launch.stopped or "left no record", command_of(job.overrides))
