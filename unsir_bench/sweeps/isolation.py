"""Each run of a sweep in a process of its own: what kills one (a signal, too little memory, a crash inside a library)
leaves the others alone and is recorded.

Processes are forked from a server that has imported everything once, so that each starts in well under a second.
"""

from __future__ import annotations

import logging.config
import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from unsir_bench.config import Config
from unsir_bench.errors import UnsirBenchError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.runner import blank_record, log_failure, note_forget_set, run
from unsir_bench.sweeps.process_server import process_context

INTERRUPTED = 130


class JobKilled(UnsirBenchError):  # noqa: N818 - what happened to the process, not a fault of this one
    """The process of a run ended before it could write its record."""


def run_in_own_process(config: Config, command: str, job_logging: dict[str, Any]) -> RunRecord:
    """Do a run in a new process and return its record; one that is killed is recorded as ``failed``.

    Args:
        config: the run.
        command: see ``RunRecord.command``.
        job_logging: the process's logging, as ``logging.config.dictConfig`` takes it.
    """
    process = process_context().Process(target=_job, args=(config, command, job_logging, dict(os.environ)))
    process.start()
    try:
        process.join()
    except BaseException:
        process.terminate()
        process.join()
        raise
    if process.exitcode == INTERRUPTED:
        raise KeyboardInterrupt
    if process.exitcode != 0:
        return _record_of_the_killed(config, command, process.exitcode)
    return RunRecord.read(config.folder / RECORD_FILE)


def _job(config: Config, command: str, job_logging: dict[str, Any], environment: dict[str, str]) -> None:
    # The server's is that of its start; Hydra sets a job's variables (hydra.job.env_set) in the parent.
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    logging.config.dictConfig(job_logging)
    try:
        run(config, command)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)


def _die_with_parent() -> None:
    """A run whose sweep was killed would go on unseen, beside the one that is started next."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _record_of_the_killed(config: Config, command: str, exitcode: int | None) -> RunRecord:
    record = blank_record(config, command)
    error = JobKilled(_what_ended_it(exitcode))
    record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
    with suppress(UnsirBenchError):
        note_forget_set(record, config)
    record.write(config.folder)
    log_failure(error, record.run_id)
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
