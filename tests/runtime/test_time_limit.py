"""Calls that may never return."""

import sys
import threading
import time

import pytest

from unsir_bench.runtime.time_limit import within


def test_what_returns_in_time_is_as_if_called_directly() -> None:
    assert within(10, lambda: 3) == 3
    with pytest.raises(KeyError, match="absent"):
        within(10, lambda: {}["absent"])
    with pytest.raises(SystemExit) as ended:
        within(10, lambda: sys.exit(7))
    assert ended.value.code == 7


def test_what_never_returns_is_left_behind() -> None:
    release, began = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        within(0.05, release.wait)
    assert time.monotonic() - began < 5
    release.set()
