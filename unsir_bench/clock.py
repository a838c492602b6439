"""The stopwatch of a method: seconds by phase on a synchronised device, with logging and set-up outside."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from unsir_bench.hardware import synchronise


class Stopwatch:
    """Times one method as a whole (``running``) and its phases; work under ``paused`` counts in neither."""

    def __init__(self, device: torch.device):
        self._device = device
        self._excluded = 0.0
        self.total = 0.0
        self.phases: dict[str, float] = defaultdict(float)

    def _now(self) -> float:
        synchronise(self._device)
        return time.perf_counter()

    @contextmanager
    def _timed(self, book: Callable[[float], None]) -> Iterator[None]:
        started, excluded = self._now(), self._excluded
        try:
            yield
        finally:
            book(self._now() - started - (self._excluded - excluded))

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
        started, excluded = self._now(), self._excluded
        try:
            yield
        finally:
            # Set, not added: a pause within this one is part of it.
            self._excluded = excluded + self._now() - started

    def credit(self, name: str, seconds: float) -> None:
        """Book seconds that were spent and measured elsewhere (a stored training)."""
        self.phases[name] += seconds
        self.total += seconds
