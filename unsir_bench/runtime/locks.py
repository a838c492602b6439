"""Locks between processes, on one machine or on several that share files."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unsir_bench.runtime.files import write_atomic

LOG = logging.getLogger("unsir_bench")
NO_LOCKS = "its file system knows no locks (flock): mount it with them, or put outputs and store.root elsewhere"


@contextmanager
def locked(folder: Path, name: str, what: str, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock; logs who has it and waits if another process does. A dead process holds no lock.

    Args:
        folder: of the locks.
        name: of this one.
        what: is made under the lock, for the message.
        wait: for the process that has it.

    Raises:
        filelock.Timeout: another process has it, and ``wait`` is false.
        OSError: the file system has no locks, or refuses the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Without `flock` a file's existence would be the lock: of a dead process on another machine it would hold for ever.
    lock = FileLock(folder / f"{name}.lock", fallback_to_soft=False)
    holder = folder / f"{name}.holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        LOG.info("waiting for %s, which is making %s (%s)", _named(holder), what, lock.lock_file)
        lock.acquire()
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        raise OSError(error.errno, NO_LOCKS, str(folder)) from error
    try:
        with suppress(OSError):  # a full disk: others are then not told who has it
            write_atomic(holder, f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _named(holder: Path) -> str:
    """The holder of a lock, as written in its file."""
    try:
        return holder.read_text() or "another process"
    except OSError:  # it has only just taken the lock, or released it
        return "another process"
