"""The clock of all timings, and the stopwatch of a method: seconds by phase, without logging and set-up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from unsir_bench.runtime.hardware import synchronise
from unsir_bench.runtime.stops import stops


class Instant:
    """A point in a device's work: on CUDA an event of the current stream, elsewhere the time when all work is done.

    An event is reached once all work queued before it is done; nothing waits for that until seconds are asked for.
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
        """Seconds from an earlier instant of the same device to this one; waits for this one."""
        if self._event is None or earlier._event is None:
            return self._time - earlier._time
        self._event.synchronize()
        return float(earlier._event.elapsed_time(self._event)) / 1000


class Stopwatch:
    """Times one method as a whole (``running``) and its phases; work under ``paused`` counts in neither.

    Attributes:
        total: seconds.
        stops: how often a process was stopped in the time that ``total`` holds.
        phases: seconds by name.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._excluded = 0.0
        self._stops_excluded = 0
        self.total = 0.0
        self.stops = 0
        self.phases: dict[str, float] = defaultdict(float)

    @contextmanager
    def _timed(self, phase: str | None) -> Iterator[None]:
        started, excluded = Instant(self._device), self._excluded
        try:
            yield
        finally:
            seconds = Instant(self._device).seconds_since(started) - (self._excluded - excluded)
            if phase is None:
                self.total += seconds
            else:
                self.phases[phase] += seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the method; after an exception the time until then counts."""
        before, excluded = stops(), self._stops_excluded
        try:
            with self._timed(None):
                yield
        finally:
            self.stops += stops() - before - (self._stops_excluded - excluded)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time a part of the method."""
        return self._timed(name)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent here out of the total and of every phase."""
        started, excluded = Instant(self._device), self._excluded
        before, stops_excluded = stops(), self._stops_excluded
        try:
            yield
        finally:
            # Set, not added: a pause within this one is part of it.
            self._excluded = excluded + Instant(self._device).seconds_since(started)
            self._stops_excluded = stops_excluded + stops() - before

    def add_stored_cost(self, name: str, seconds: float, stopped: int = 0) -> None:
        """Add seconds measured elsewhere (a stored training, for example) to a phase and the total.

        Args:
            name: of the phase.
            seconds: measured then.
            stopped: how often the process was stopped meanwhile.
        """
        self.phases[name] += seconds
        self.total += seconds
        self.stops += stopped
