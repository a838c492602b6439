"""Weights & Biases, offline unless asked otherwise; a fault of the tracker never costs a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsir_bench.field_checks import choice, neutral

LOG = logging.getLogger("unsir_bench")
Point = tuple[str, int, dict[str, float]]


@dataclass
class TrackerConfig:
    """Whether and where runs are logged to Weights & Biases."""

    name: str = neutral("wandb_offline")
    mode: str = neutral(choice("offline", ("offline", "online", "none")))
    project: str = neutral("unsir-bench")
    entity: str | None = neutral(None)


class Tracker:
    """Logs one run. After the first fault of the tracker it warns once and falls silent."""

    def __init__(self, run: Any | None):
        self._run = run
        self._held: list[Point] | None = None

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Log a point of the curves of ``phase``."""
        if self._held is not None:
            self._held.append((phase, step, values))
        elif self._run is not None:
            point = {f"{phase}/{name}": value for name, value in values.items()}
            self._guarded(lambda run: run.log({**point, f"{phase}/step": step}))

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep points back while a clock runs; they are logged when it has stopped."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for point in held:
                self.log(*point)

    def summarise(self, values: dict[str, Any]) -> None:
        """Set the run's summary."""
        self._guarded(lambda run: run.summary.update(values))

    def finish(self, *, failed: bool) -> None:
        """End the run, so that the next one in this process is another."""
        self._guarded(lambda run: run.finish(exit_code=int(failed)))
        self._run = None

    def _guarded(self, action: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # whatever the tracker does, the run goes on
            LOG.warning("Weights & Biases failed (%s: %s); the run goes on without it", type(error).__name__, error)
            self._run = None


class RememberingTracker(Tracker):
    """Keeps points for another process to log: those of a run on several devices have no tracker of their own."""

    def __init__(self) -> None:
        super().__init__(None)
        self.points: list[Point] = []

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Keep a point."""
        self.points.append((phase, step, values))


def start_tracker(
    config: TrackerConfig, folder: Path, run_id: str, group: str, job_type: str, settings: dict[str, Any]
) -> Tracker:
    """Begin logging a run.

    Args:
        config: mode, project and entity.
        folder: where offline files are kept.
        run_id: the run's own id.
        group: the sweep.
        job_type: the method.
        settings: the whole configuration.
    """
    if config.mode == "none":
        return Tracker(None)
    try:
        return Tracker(_wandb_run(config, folder, run_id, group, job_type, settings))
    except Exception as error:  # whatever the tracker does, the run goes on
        LOG.warning("Weights & Biases did not start (%s: %s); the run goes on without it", type(error).__name__, error)
        return Tracker(None)


def _wandb_run(
    config: TrackerConfig, folder: Path, run_id: str, group: str, job_type: str, settings: dict[str, Any]
) -> Any:
    import wandb  # a second's import that `tracker=none` need not pay

    folder.mkdir(parents=True, exist_ok=True)  # wandb warns of one that is missing
    run = wandb.init(
        mode=config.mode,  # type: ignore[arg-type]
        project=config.project,
        entity=config.entity,
        dir=folder,
        id=run_id,
        name=run_id,
        group=group,
        job_type=job_type,
        config=settings,
        reinit="create_new",
        settings=wandb.Settings(silent=True, console="off"),
    )
    for phase in ("original", "retrain", "noise", "impair", "repair", "finetune", "train", "ascent", "log"):
        run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
    return run
