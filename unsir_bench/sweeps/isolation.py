"""Each run of a sweep in a process of its own: what kills one (a signal, too little memory, a crash inside a library)
leaves the others alone and is recorded.

Processes are forked from a server that has imported everything once, so that each starts in well under a second. This
module imports nothing heavy itself: the command starts the server before its own imports, so that both import at once.
"""

from __future__ import annotations

import importlib
import logging
import logging.config
import multiprocessing
import multiprocessing.util
import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from unsir_bench.errors import NotRecordedError, UnsirBenchError
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record
from unsir_bench.runtime.cores import keep_to, own_cores
from unsir_bench.sweeps.watch import (
    Watch,
    be_first_to_go_when_memory_runs_out,
    die_with_parent,
    give_signs_of_life,
    say_recorded,
)

if TYPE_CHECKING:
    from unsir_bench.config import Config

INTERRUPTED, NOT_RECORDED = 130, 74  # exit statuses of a run's process
SECONDS_TO_END = 10.0  # after an interruption
LOG = logging.getLogger("unsir_bench")
LONGEST_TMPDIR = 60  # bytes; "/pymp-xxxxxxxx/listener-xxxxxxxx" is added


class JobKilled(UnsirBenchError):  # noqa: N818 - what happened to the process, not a fault of this one
    """The process of a run ended before it could write its record."""


def process_context(modules: Sequence[str] = ()) -> ForkServerContext | SpawnContext:
    """How processes of runs are started: forked from a server that has imported ``modules``, where the system has one.

    A server that runs already stays as it is; it passes over modules that it cannot import.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    _keep_sockets_in_a_short_path()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context


def forks_runs(words: Sequence[str]) -> bool:
    """Whether a command line asks for a sweep whose runs start from here, not in a launcher's own processes."""
    here = ("hydra/launcher=basic", "hydra/launcher=devices")
    launched_elsewhere = any(word.startswith("hydra/launcher=") and word not in here for word in words)
    return bool({"-m", "--multirun"} & set(words)) and not launched_elsewhere


def warm_up(modules: Sequence[str]) -> None:
    """Start the server, where the system has one."""
    if isinstance(process_context(modules), ForkServerContext):
        from multiprocessing import forkserver

        forkserver.ensure_running()


def _keep_sockets_in_a_short_path() -> None:
    """Have multiprocessing make its folder in /tmp where ``TMPDIR`` is too long: a socket's path has 107 bytes."""
    before = tempfile.gettempdir()
    if len(os.fsencode(before)) > LONGEST_TMPDIR and os.access("/tmp", os.W_OK):  # noqa: S108
        tempfile.tempdir = "/tmp"  # noqa: S108
        try:
            multiprocessing.util.get_temp_dir()  # it is made once, and the server's processes inherit it
        finally:
            tempfile.tempdir = before


@dataclass(frozen=True)
class Surroundings:
    """What the process of a run takes over from the one that asked for it; the server's are those of its own start.

    Attributes:
        environment: variables. Hydra sets a job's own (hydra.job.env_set) in the process that composes it.
        folder: where relative paths begin.
        cores: the CPU cores to keep to; none where the system does not tell.
    """

    environment: dict[str, str]
    folder: str
    cores: tuple[int, ...]

    @classmethod
    def here(cls) -> Surroundings:
        """Those of this process."""
        return cls(dict(os.environ), str(Path.cwd()), tuple(own_cores()))

    def enter(self) -> None:
        """Make them those of this process; thread pools of libraries that are imported shrink with the cores."""
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        if self.cores and list(self.cores) != own_cores():
            keep_to(self.cores)
            from threadpoolctl import threadpool_limits

            threadpool_limits(len(self.cores))


def run_in_own_process(
    config: Config,
    command: str,
    job_logging: dict[str, Any],
    modules: Sequence[str],
    surroundings: Surroundings | None = None,
) -> RunRecord:
    """Do a run in a new process and return its record; one that is killed is recorded as ``failed``.

    Args:
        config: the run.
        command: see ``RunRecord.command``.
        job_logging: the process's logging, as ``logging.config.dictConfig`` takes it.
        modules: what the run imports; the server has done so already, unless this is its first run.
        surroundings: of the process that asks for the run; None: this one.
    """
    from unsir_bench.runs.finished_runs import finished_run
    from unsir_bench.tracking.run import UNREACHABLE

    beats, sign = multiprocessing.Pipe(duplex=False)
    surroundings = surroundings or Surroundings.here()
    if reason := os.environ.get(UNREACHABLE):  # an earlier run has found out, for all later ones
        surroundings = replace(surroundings, environment=surroundings.environment | {UNREACHABLE: reason})
    try:
        process = _started(modules, (config, command, job_logging, surroundings, modules, sign))
    except OSError as error:
        return _record_of_the_killed(config, command, f"no process could be started for the run: {error}")
    finally:
        sign.close()
    watch = Watch(process, beats, UNREACHABLE)
    try:
        killed = watch.wait(config.hardware.time_limit, config.hardware.silence_limit)
        process.join()
    except BaseException:
        process.terminate()
        process.join(SECONDS_TO_END)
        process.kill()  # one that is stopped hears nothing else
        process.join()
        raise
    if process.exitcode == INTERRUPTED:
        raise KeyboardInterrupt
    if process.exitcode == NOT_RECORDED:
        raise NotRecordedError(f"{config.run_id}: its process could not write its record, and said why")
    # Another sweep may have finished a run like it meanwhile, under another id.
    if process.exitcode == 0 and (finished := finished_run(config)) is not None:
        return finished
    if process.exitcode == 0 and watch.record_written:
        return RunRecord.read(config.folder / RECORD_FILE)
    reason = f"the run's process was killed: {killed}" if killed else _what_ended_it(process.exitcode)
    if watch.record_written:
        LOG.warning("%s: %s; its record was written before, and stands", config.run_id, reason)
        return RunRecord.read(config.folder / RECORD_FILE)
    return _record_of_the_killed(config, command, reason)


def _started(modules: Sequence[str], given: tuple[Any, ...]) -> BaseProcess:
    """The process of a run, started; anew by ``spawn`` where the server cannot be reached any more.

    Raises:
        OSError: the system starts no process.
    """
    try:
        process: BaseProcess = process_context(modules).Process(target=_job, args=given)
        process.start()
    except OSError as error:  # the server's socket lies in the folder of temporary files, which is cleaned at times
        LOG.warning("the server of the runs' processes cannot be reached (%s); this run starts without it", error)
        process = multiprocessing.get_context("spawn").Process(target=_job, args=given)
        process.start()
    return process


def _job(
    config: Config,
    command: str,
    job_logging: dict[str, Any],
    surroundings: Surroundings,
    modules: Sequence[str],
    sign: Connection,
) -> None:
    surroundings.enter()
    die_with_parent()
    be_first_to_go_when_memory_runs_out()
    logging.config.dictConfig(job_logging)
    try:
        import_present(modules)
        from unsir_bench.runner import run
        from unsir_bench.tracking.run import UNREACHABLE

        give_signs_of_life(sign, UNREACHABLE)
        run(config, command, lambda: say_recorded(sign))
        sign.send_bytes(os.environ.get(UNREACHABLE, "").encode())
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    except NotRecordedError as error:
        LOG.error("%s", error)
        os._exit(NOT_RECORDED)


def import_present(modules: Sequence[str]) -> None:
    """Import each module that can be imported, outside of whatever is timed later."""
    for name in modules:
        with suppress(Exception, SystemExit):  # of a plug-in; whoever needs it tells why
            importlib.import_module(name)


def _record_of_the_killed(config: Config, command: str, reason: str) -> RunRecord:
    from unsir_bench.runner import log_failure
    from unsir_bench.runs.record_of_run import blank_record, note_forget_set
    from unsir_bench.runs.run_lock import recording

    record = blank_record(config, command)
    error = JobKilled(reason)
    record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
    with suppress(UnsirBenchError):
        note_forget_set(record, config)
    log_failure(error, record.run_id)
    # Where another sweep has the lock, it does the run, and its record counts.
    with suppress(Timeout), recording(config.folder, wait=False):
        if (finished := finished_record(config.folder)) is not None:
            return finished
        record.write(config.folder)
    return record


def _what_ended_it(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"the run's process ended with status {exitcode} before it could write its record"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = "unknown"
    hint = "; the system sends it when memory runs out" if -exitcode == signal.SIGKILL else ""
    return f"the run's process was killed by signal {-exitcode} ({name}){hint}"
