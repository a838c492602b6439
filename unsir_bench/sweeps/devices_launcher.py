"""`hydra/launcher=devices`: one run of a sweep on each GPU, or on each group of CPU cores, of this machine.

Each run sees one device alone and keeps to cores of its own, so that its seconds stay comparable with those of a run
that has the machine to itself, as far as the devices share no memory bus.

A worker process for each device composes the jobs, as Hydra's basic launcher does. It asks this process for the runs:
workers and runs are all forked from the one server of `isolation.py`, which has imported everything once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from unsir_bench.errors import ConfigError
from unsir_bench.records import RunRecord
from unsir_bench.runtime.cores import own_cores, shares
from unsir_bench.sweeps.hydra_plugin import NAMESPACE, register
from unsir_bench.sweeps.isolation import Surroundings, process_context, run_in_own_process
from unsir_bench.sweeps.outcome import launching
from unsir_bench.sweeps.watch import die_with_parent

LAUNCHER = f"{NAMESPACE}.DevicesLauncher"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """Where one worker's runs go: a GPU, named as CUDA's variable names it, or none; and CPU cores."""

    gpu: str | None
    cores: tuple[int, ...]

    def surroundings(self) -> Surroundings:
        """Those of this process, but for the slot's device and cores."""
        here = Surroundings.here()
        visible = {} if self.gpu is None else {VISIBLE: self.gpu}
        return Surroundings(here.environment | visible, here.folder, self.cores)


def slots(gpus: Sequence[str], cores: Sequence[int], per_device: int, cores_per_run: int | None) -> list[Slot]:
    """The places for runs that go on at the same time.

    Args:
        gpus: as CUDA's variable names them; none: groups of CPU cores are the devices.
        cores: of this process.
        per_device: runs at the same time on each device.
        cores_per_run: CPU cores of each run; None: one on CPUs, an even share of all beside GPUs.

    Raises:
        ConfigError: a number is below 1, or there are fewer cores than one run is to have.
    """
    given = {"per_device": per_device, "cores_per_run": cores_per_run}
    low = [f"hydra.launcher.{key}={value}" for key, value in given.items() if value is not None and value < 1]
    if low:
        raise ConfigError([f"{setting}: must be at least 1; leave it out for the default" for setting in low])
    size = cores_per_run or 1
    if cores and len(cores) < size:
        raise ConfigError([f"hydra.launcher.cores_per_run={size}: this process may use {len(cores)} core(s)"])
    if not gpus:
        groups = shares(cores, max(1, len(cores) // size))
        return [Slot(None, tuple(group[:size])) for group in groups for _ in range(per_device)]
    places = [gpu for gpu in gpus for _ in range(per_device)]
    groups = [group[:cores_per_run] for group in shares(cores, len(places))]
    if cores and cores_per_run is not None and len(cores) < len(places) * cores_per_run:
        raise ConfigError([
            f"hydra.launcher.cores_per_run={cores_per_run}: {len(places)} runs at a time have {len(cores)} cores in "
            "all; choose fewer, a lower hydra.launcher.per_device, or leave it out for an even share"
        ])  # fmt: skip
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
        places = slots(gpus, own_cores(), self._per_device, self._cores_per_run)[: len(job_overrides)]
        # Hydra's state holds functions that plain pickling does not take.
        launch_one = wrap_non_picklable_objects(partial(_launch_one, self._given, Singleton.get_state()))
        jobs = _Jobs(job_overrides, initial_job_idx)
        workers = [_started_worker(place, launch_one) for place in places]
        with ThreadPoolExecutor(len(workers)) as pool:
            serving = [pool.submit(_serve, *worker, jobs) for worker in workers]
            try:
                for each in serving:
                    each.result()
            except KeyboardInterrupt:
                jobs.waiting.clear()
                _interrupt_children()
                raise
        return [jobs.done[number] for number in sorted(jobs.done)]


class _Jobs:
    """What the workers of a launch share: the jobs that wait, by number, and the results of those that are done."""

    def __init__(self, job_overrides: Sequence[Sequence[str]], first: int):
        self.waiting = deque((list(overrides), number) for number, overrides in enumerate(job_overrides, first))
        self.done: dict[int, JobReturn] = {}

    def next(self) -> tuple[list[str], int] | None:
        """The overrides and the number of a job for this worker alone; None where none waits."""
        with suppress(IndexError):
            return self.waiting.popleft()
        return None


def _started_worker(slot: Slot, launch_one: Callable[..., JobReturn]) -> tuple[BaseProcess, Connection]:
    context = process_context()
    ours, its = context.Pipe()
    worker = context.Process(target=_work, args=(slot.surroundings(), launch_one, its))
    worker.start()
    its.close()
    return worker, ours


def _serve(worker: BaseProcess, line: Connection, jobs: _Jobs) -> None:
    """Give the jobs that wait to a worker, one after another, and do the runs that it asks for.

    Raises:
        EOFError: the worker has ended.
    """
    try:
        while job := jobs.next():
            line.send(job)
            while not isinstance(answer := line.recv(), JobReturn):
                line.send(_run_or_error(*answer))
            jobs.done[job[1]] = answer
        line.send(None)
    finally:
        line.close()
        worker.join()


def _run_or_error(*run: Any) -> RunRecord | Exception:
    try:
        return run_in_own_process(*run)
    except Exception as error:  # the worker raises it
        return error


def _work(surroundings: Surroundings, launch_one: Callable[..., JobReturn], asks: Connection) -> None:
    """What a worker does: Hydra's part of each job that arrives, until no more come."""
    die_with_parent()
    surroundings.enter()
    with suppress(EOFError, KeyboardInterrupt), launching() as launch:
        launch.run = partial(_ask_for_run, asks)
        while job := asks.recv():
            asks.send(launch_one(*job))


def _ask_for_run(asks: Connection, *run: Any) -> RunRecord:
    asks.send((*run, Surroundings.here()))
    answer = asks.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer  # type: ignore[no-any-return]


def _interrupt_children() -> None:
    """An interruption may have been sent to this process alone; workers and runs end at once, as at a terminal."""
    for child in multiprocessing.active_children():
        with suppress(OSError):
            os.kill(child.pid or 0, signal.SIGINT)


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
