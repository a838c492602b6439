"""Progress for a person: a bar with rate and time left at a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from unsir_bench.runtime.durations import duration

LOG = logging.getLogger("unsir_bench")
QUIET_SECONDS = 2.0
LOG_EVERY_SECONDS = 30.0


@dataclass
class Task:
    """One task in progress; call ``advance`` as it proceeds."""

    name: str
    total: int
    unit: str
    bar: Any
    started: float
    last_line: float
    earlier: int = 0  # units of a session that was interrupted: no part of the rate
    done: int = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.earlier

    def advance(self, count: int = 1, **shown: float) -> None:
        """Add ``count`` units; ``shown`` are values to display, such as the loss."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
            if shown:
                self.bar.set_postfix({key: f"{value:.3g}" for key, value in shown.items()}, refresh=False)
        elif time.monotonic() - self.last_line > LOG_EVERY_SECONDS:
            self.last_line = time.monotonic()
            self._log_line(shown)

    def _log_line(self, shown: dict[str, float]) -> None:
        rate = (self.done - self.earlier) / (self.last_line - self.started)
        left = duration((self.total - self.done) / rate) if rate else "?"
        values = "".join(f", {key} {value:.3g}" for key, value in shown.items())
        LOG.info(
            "%s: %d/%d %s, %.1f %s/s, %s left%s",
            self.name, self.done, self.total, self.unit, rate, self.unit, left, values,
        )  # fmt: skip


class Progress:
    """Shows tasks; silent if one takes less than two seconds."""

    def __init__(self, *, interactive: bool | None = None):
        self.interactive = sys.stderr.isatty() if interactive is None else interactive

    @contextmanager
    def task(self, name: str, total: int, unit: str = "batches", earlier: int = 0) -> Iterator[Task]:
        """Show one task of ``total`` units, of which ``earlier`` were done before, while the block runs."""
        bar: Any = None
        if self.interactive:
            bar = tqdm(
                total=total, initial=earlier, desc=name, unit=f" {unit}", delay=QUIET_SECONDS, leave=False,
                dynamic_ncols=True,
            )  # fmt: skip
        started = time.monotonic()
        task = Task(name, total, unit, bar, started, started, earlier)
        try:
            yield task
        finally:
            if bar is not None:
                bar.close()
        elapsed = time.monotonic() - started
        if bar is None and elapsed > QUIET_SECONDS:
            LOG.info("%s: %d %s in %.1f s", name, task.done - earlier, unit, elapsed)
