"""A command whose output somebody stopped reading, as ``| head`` does, ends without a traceback."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ENDED_BY_PIPE = 141  # 128 + SIGPIPE, the status that shells give to such an end


@contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """Exit with status 141 once nobody reads the standard output any more.

    Raises:
        BrokenPipeError: of another pipe, such as one to a process of a sweep.
    """
    try:
        try:
            yield
        finally:
            print(end="", flush=True)  # what is still buffered would otherwise fail after the last line of Python
    except BrokenPipeError:
        if _is_read():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ENDED_BY_PIPE)


def _is_read() -> bool:
    """Whether standard output is still read; where it is no file (none at all, or a string), nobody can leave it."""
    output = select.poll()
    try:
        output.register(sys.stdout.fileno(), select.POLLOUT)
    except (AttributeError, OSError):
        return True
    return not any(event & select.POLLERR for _, event in output.poll(0))
