"""A stop and its end, as a process sees them."""

import os
import signal


def go_on(*_: object) -> None:
    """What a process is sent after it was stopped."""
    os.kill(os.getpid(), signal.SIGCONT)
