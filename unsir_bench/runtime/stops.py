"""How often this process was stopped and went on (Ctrl-Z, `kill -STOP`): clocks run on meanwhile."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import suppress
from types import FrameType

_NOTED = Counter[int]()  # by signal


def note_stops() -> None:
    """Count from now on, where the system tells a process that it goes on."""
    if hasattr(signal, "SIGCONT"):
        with suppress(ValueError):  # this is not the main thread, which alone is told
            signal.signal(signal.SIGCONT, _note)


def _note(received: int, _frame: FrameType | None) -> None:
    _NOTED[received] += 1


def stops() -> int:
    """How often this process went on after a stop."""
    return _NOTED.total()
