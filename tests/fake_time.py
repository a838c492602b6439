"""A time that tests move, in place of the machine's, which also passes while a process waits for its turn."""

from __future__ import annotations


class FakeTime:
    """Stands still until it is told to move; in place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class TickingTime(FakeTime):
    """A second passes at every reading."""

    def perf_counter(self) -> float:
        self.pass_by(1)
        return self.now
