"""The sweeper behind `-m`: Hydra's own grid, of which only the runs that are not finished are launched.

Jobs are composed by `sweep_jobs`, so that hundreds of finished runs are found in seconds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from unsir_bench.config import Config, typed
from unsir_bench.errors import ConfigError
from unsir_bench.records import printable
from unsir_bench.runtime.files import write_atomic
from unsir_bench.sweeps.compose import JobComposer, grid
from unsir_bench.sweeps.hydra_plugin import NAMESPACE, register
from unsir_bench.sweeps.mistakes import mistakes, told
from unsir_bench.sweeps.outcome import SweepJob, command_of, current_launch

LOG = logging.getLogger("unsir_bench")
SWEEPER = f"{NAMESPACE}.ResumingSweeper"


def sweep_job(composer: JobComposer, overrides: Sequence[str]) -> SweepJob:
    """One job, composed.

    Raises:
        hydra.errors.HydraException: an override names a key or an option that does not exist.
    """
    try:
        return SweepJob.of(overrides, typed(composer.compose(overrides)))
    except ConfigError as error:
        return SweepJob(tuple(overrides), error)


class ResumingSweeper(Sweeper):
    """The grid of Hydra's basic sweeper, less what is finished; a launcher that breaks down ends with a report, too."""

    __module__ = NAMESPACE

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None):
        """Take the options of the basic sweeper: runs launched at a time, and what is swept over."""
        self._batch_size = max_batch_size
        self._params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._config = config
        self._loader = cast(ConfigLoaderImpl, hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the unfinished runs, or do with them what the command does instead."""
        composer = JobComposer.of_sweep(self._loader, self._config)
        jobs = grid(self._loader, self._params, arguments)
        launch = current_launch()
        launch.jobs = [sweep_job(composer, overrides) for overrides in jobs]
        for job in launch.jobs:  # before Hydra's files, records and logs show it
            if isinstance(job.config, Config) and (shown := list(job.config.tracker.password_problems())):
                sys.exit(shown[0])
        if launch.instead is not None:
            launch.instead(launch.jobs)
            return []
        folder = Path(self._config.hydra.sweep.dir)
        write_atomic(folder / "multirun.yaml", OmegaConf.to_yaml(self._config))
        missing = [job for job in launch.jobs if job.finished is None]
        LOG.info("%d of %d runs are finished and skipped", len(launch.jobs) - len(missing), len(launch.jobs))
        # Some may have their turn in hours; each fails then, and the others are done.
        for line in told(mistakes(missing, str(self._config.hydra.runtime.choices.get("hydra/launcher")))):
            LOG.warning("%s", printable(line))
        return self._launched([list(job.overrides) for job in missing])

    def _launched(self, jobs: list[list[str]]) -> list[Any]:
        results: list[Any] = []
        size = self._batch_size or len(jobs) or 1
        try:
            for start in range(0, len(jobs), size):
                done = self._launcher.launch(jobs[start : start + size], initial_job_idx=start)
                results.append(done)
                for job in done:
                    _tell_what_it_raised(job)
        except Exception as error:  # of the launcher
            current_launch().stopped = _told(error, "the launcher stopped")
        return results


def _tell_what_it_raised(job: JobReturn) -> None:
    """Log what a job raised before its run began; it costs the other jobs nothing."""
    try:
        _ = job.return_value  # raises what the job raised
    except Exception as error:
        current_launch().failed.append(_told(error, f"{command_of(job.overrides or ())} stopped"))


def _told(error: Exception, what: str) -> str:
    """What happened and why, in one line, logged as an error."""
    words = "; ".join(error.problems) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    line = f"{what}: {words}".splitlines()[0]
    # A setting that is wrong, and what the disk refuses, is told by the message alone.
    LOG.error("%s", line, exc_info=None if isinstance(error, OSError | ConfigError) else error)
    return line


@dataclass
class ResumingSweeperConf:
    """The options of Hydra's basic sweeper."""

    _target_: str = SWEEPER
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


def register_sweeper() -> None:
    """Make ``hydra/sweeper=resuming`` known to Hydra."""
    register(ResumingSweeper, "hydra/sweeper=resuming", ResumingSweeperConf)
