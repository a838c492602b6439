"""The lock of a run, under which its record is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import Timeout

from unsir_bench.errors import NotRecordedError
from unsir_bench.runtime.locks import locked

LOCKS = ".locks"  # the folder of a sweep's locks


def run_lock(folder: Path, *, wait: bool = True) -> AbstractContextManager[None]:
    """The lock of a run, which two sweeps may both want to do; raises as ``locked``."""
    return locked(folder.parent / LOCKS, folder.name, folder.name, wait=wait)


@contextmanager
def recording(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a run while its record is made.

    Args:
        folder: of the run; nothing is begun where none can be written beside it.
        wait: for another process that has the lock.

    Raises:
        filelock.Timeout: another process has the lock, and ``wait`` is false.
        NotRecordedError: for what the disk refuses, now or within.
    """
    try:
        with run_lock(folder, wait=wait):
            yield
    except Timeout:  # an OSError, but not the disk's
        raise
    except OSError as error:
        raise NotRecordedError(
            f"{folder.name} cannot be recorded: {error}; make room, or choose another folder by outputs=FOLDER, and "
            "give the same command again"
        ) from error
