"""`hydra/launcher=devices`: one run of a sweep on each GPU, or on each group of CPU cores, of this machine.

Each worker process sees one device alone and keeps to cores of its own, so that the seconds of its runs stay comparable
with those of a run that has the machine to itself, as far as the devices share no memory bus.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from unsir_bench.errors import ConfigError
from unsir_bench.runtime.cores import keep_to, own_cores, shares
from unsir_bench.sweeps.hydra_plugin import NAMESPACE, register

LAUNCHER = f"{NAMESPACE}.DevicesLauncher"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """Where one worker's runs go: a GPU, named as CUDA's variable names it, or none; and CPU cores."""

    gpu: str | None
    cores: tuple[int, ...]

    def take(self) -> None:
        """Keep this process, and what it starts, to the slot; before torch is imported."""
        if self.gpu is not None:
            os.environ[VISIBLE] = self.gpu
        keep_to(self.cores)


def slots(gpus: Sequence[str], cores: Sequence[int], per_device: int, cores_per_run: int | None) -> list[Slot]:
    """The places for runs that go on at the same time.

    Args:
        gpus: as CUDA's variable names them; none: groups of CPU cores are the devices.
        cores: of this process.
        per_device: runs at the same time on each device.
        cores_per_run: CPU cores of each run; None: one on CPUs, an even share of all beside GPUs.

    Raises:
        ConfigError: there are fewer cores than one run is to have.
    """
    size = cores_per_run or 1
    if cores and len(cores) < size:
        raise ConfigError([f"hydra.launcher.cores_per_run={size}: this process may use {len(cores)} core(s)"])
    if not gpus:
        groups = shares(cores, max(1, len(cores) // size))
        return [Slot(None, tuple(group[:size])) for group in groups for _ in range(per_device)]
    places = [gpu for gpu in gpus for _ in range(per_device)]
    groups = [group[:cores_per_run] for group in shares(cores, len(places))]
    return [Slot(gpu, tuple(group)) for gpu, group in zip(places, groups, strict=True)]


def visible_gpus(accelerator: str) -> list[str]:
    """The GPUs that runs with ``hardware.accelerator`` would use, as CUDA's variable names them."""
    import torch

    if accelerator not in ("auto", "cuda"):
        return []
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(index) for index in range(count)]


class DevicesLauncher(Launcher):
    """Hydra's basic launcher in one worker process for each slot."""

    __module__ = NAMESPACE

    def __init__(self, per_device: int = 1, cores_per_run: int | None = None):
        self._per_device, self._cores_per_run = per_device, cores_per_run

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._given = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from joblib import wrap_non_picklable_objects

        gpus = visible_gpus(self._given[2].hardware.accelerator)
        places = slots(gpus, own_cores(), self._per_device, self._cores_per_run)
        spawn = get_context("spawn")
        waiting: Queue[Slot] = spawn.Queue()
        for place in places:
            waiting.put(place)
        # Hydra's state holds functions that plain pickling does not take.
        launch_one = wrap_non_picklable_objects(partial(_launch_one, self._given, Singleton.get_state()))
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        with ProcessPoolExecutor(len(places), spawn, _take_slot, (waiting,)) as pool:
            return list(pool.map(launch_one, map(list, job_overrides), numbers))


def _take_slot(waiting: Queue[Slot]) -> None:
    waiting.get().take()


def _launch_one(
    given: tuple[HydraContext, TaskFunction, DictConfig], singletons: dict[Any, Any], overrides: list[str], number: int
) -> JobReturn:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    Singleton.set_state(singletons)
    launcher = BasicLauncher()
    context, task, config = given
    launcher.setup(hydra_context=context, task_function=task, config=config)
    return launcher.launch([overrides], number)[0]


@dataclass
class DevicesLauncherConf:
    """The options of the launcher; see ``slots``."""

    _target_: str = LAUNCHER
    per_device: int = 1
    cores_per_run: int | None = None


def register_devices_launcher() -> None:
    """Make ``hydra/launcher=devices`` known to Hydra."""
    register(DevicesLauncher, "hydra/launcher=devices", DevicesLauncherConf)
