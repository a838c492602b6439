"""The clock of all timings, and the stopwatch of a method: seconds by phase, with logging and set-up outside."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from unsir_bench.runtime.hardware import synchronise


class Instant:
    """A point in the work of a device: on CUDA an event of the current stream, else the time once the work is done.

    An event is passed when all that was queued before it is done; nothing waits for that until seconds are asked for.
    """

    def __init__(self, device: torch.device):
        self._event: torch.cuda.Event | None = None
        self._time = 0.0
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)
            self._event.record(torch.cuda.current_stream(device))
        else:
            synchronise(device)
            self._time = time.perf_counter()

    def seconds_since(self, earlier: Instant) -> float:
        """Seconds from an earlier instant of the same device to this one, which is waited for."""
        if self._event is None or earlier._event is None:
            return self._time - earlier._time
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1000


class Stopwatch:
    """Times one method as a whole (``running``) and its phases; work under ``paused`` counts in neither."""

    def __init__(self, device: torch.device):
        self._device = device
        self._excluded = 0.0
        self.total = 0.0
        self.phases: dict[str, float] = defaultdict(float)

    @contextmanager
    def _timed(self, book: Callable[[float], None]) -> Iterator[None]:
        started, excluded = Instant(self._device), self._excluded
        try:
            yield
        finally:
            book(Instant(self._device).seconds_since(started) - (self._excluded - excluded))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the method; an exception still books what had passed."""

        def book(seconds: float) -> None:
            self.total += seconds

        with self._timed(book):
            yield

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the method."""

        def book(seconds: float) -> None:
            self.phases[name] += seconds

        with self._timed(book):
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens here out of every clock."""
        started, excluded = Instant(self._device), self._excluded
        try:
            yield
        finally:
            # Set, not added: a pause within this one is part of it.
            self._excluded = excluded + Instant(self._device).seconds_since(started)

    def add_stored_cost(self, name: str, seconds: float) -> None:
        """Book seconds that were spent and measured elsewhere (a stored training)."""
        self.phases[name] += seconds
        self.total += seconds
