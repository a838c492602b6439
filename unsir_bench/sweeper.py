"""The sweeper behind `-m`: Hydra's own grid, of which only the runs that are not finished are launched.

Hydra composes each job from its files, a fifth of a second each. Here the choices of groups are composed once, and the
plain values are set on a copy, by Hydra's own function: hundreds of finished runs are found in seconds.
"""

from __future__ import annotations

import copy
import logging
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from unsir_bench.config import typed
from unsir_bench.errors import ConfigError
from unsir_bench.launch import LAUNCH, SweepJob
from unsir_bench.plan import print_plan

LOG = logging.getLogger("unsir_bench")


@dataclass
class JobComposer:
    """Composes the configurations of many jobs quickly.

    Attributes:
        loader: Hydra's.
        master: the sweep's own configuration.
    """

    loader: ConfigLoaderImpl
    master: DictConfig
    _composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    def job(self, overrides: Sequence[str]) -> SweepJob:
        """Compose one job.

        Raises:
            hydra.errors.HydraException: an override names a key or an option that does not exist.
        """
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(overrides))
        groups = tuple(entry.input_line or "" for entry in parsed if self._chooses(entry))
        if groups not in self._composed:
            self._composed[groups] = self._compose(groups)
        composed = copy.deepcopy(self._composed[groups])
        values = [entry for entry in parsed if not self._chooses(entry)]
        self.loader._apply_overrides_to_config(values, composed)
        try:
            return SweepJob(tuple(overrides), typed(composed))
        except ConfigError as error:
            return SweepJob(tuple(overrides), error)

    def _chooses(self, override: Override) -> bool:
        """Whether it chooses an option of a group, or concerns Hydra itself; the rest are plain values."""
        is_group = self.loader.repository.group_exists(override.key_or_group)
        return override.key_or_group.startswith("hydra") or (is_group and not isinstance(override.value(), dict))

    def _compose(self, groups: Sequence[str]) -> DictConfig:
        hydra_overrides = OmegaConf.to_container(self.master.hydra.overrides.hydra)
        composed = self.loader.load_configuration(
            config_name=self.master.hydra.job.config_name,
            overrides=[*hydra_overrides, *groups],  # type: ignore[misc]
            run_mode=RunMode.RUN,
        )
        with open_dict(composed):
            composed.pop("hydra")
        return composed


class ResumingSweeper(Sweeper):
    """The grid of Hydra's basic sweeper, less what is finished; a launcher that breaks down ends with a report, too."""

    __module__ = "hydra_plugins.unsir_bench"  # Hydra instantiates plug-ins of this namespace alone

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
        """Launch the unfinished runs, or only say what would be launched."""
        composer = JobComposer(self._loader, self._config)
        LAUNCH.jobs = [composer.job(overrides) for overrides in self._grid(arguments)]
        if LAUNCH.plan_only:
            print_plan(LAUNCH.jobs)
            return []
        folder = Path(self._config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / "multirun.yaml")
        missing = [job for job in LAUNCH.jobs if job.finished is None]
        LOG.info("%d of %d runs are finished and skipped", len(LAUNCH.jobs) - len(missing), len(LAUNCH.jobs))
        return self._launched([list(job.overrides) for job in missing])

    def _grid(self, arguments: list[str]) -> list[list[str]]:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # Hydra loads it anew when it looks around

        parser = OverridesParser.create(config_loader=self._loader)
        preset = [f"{key}={value}" for key, value in self._params.items()]
        return BasicSweeper.split_arguments(parser.parse_overrides([*preset, *arguments]), None)[0]

    def _launched(self, jobs: list[list[str]]) -> list[Any]:
        results: list[Any] = []
        size = self._batch_size or len(jobs) or 1
        try:
            for start in range(0, len(jobs), size):
                done = self._launcher.launch(jobs[start : start + size], initial_job_idx=start)
                results.append(done)
                for job in done:
                    _ = job.return_value  # raises what the job raised
        except Exception as error:  # of the launcher, or of a job before its run began
            LAUNCH.stopped = f"the launcher stopped: {type(error).__name__}: {error}".splitlines()[0]
            LOG.error("%s\n%s", LAUNCH.stopped, traceback.format_exc())
        return results


@dataclass
class ResumingSweeperConf:
    """The options of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.unsir_bench.ResumingSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


def register_sweeper() -> None:
    """Make ``hydra/sweeper=resuming`` known to Hydra.

    Hydra finds installed plug-ins by walking the namespace ``hydra_plugins``, which an editable installation hides from
    it: so the class is registered, and found under its name there, without a file of that place.
    """
    namespace, _, _ = ResumingSweeper.__module__.partition(".")
    if find_spec(namespace) is None:
        sys.modules[namespace] = ModuleType(namespace)
    sys.modules[ResumingSweeper.__module__] = sys.modules[__name__]
    Plugins.instance().register(ResumingSweeper)
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="resuming", node=ResumingSweeperConf, provider="unsir_bench")
