"""Calls into code that may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any


def within(seconds: float, action: Callable[[], Any]) -> Any:
    """The result of ``action``, done in a thread of its own; raises what it raises.

    Raises:
        TimeoutError: it has not returned in time. Its thread is left behind, and ends with the process.
    """
    outcome: Future[Any] = Future()

    def work() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:  # the caller judges it, SystemExit included
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    if not wait([outcome], seconds).done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return outcome.result()
