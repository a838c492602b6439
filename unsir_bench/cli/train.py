"""`unsir-bench train ...`: the original and the retrained model of a run, before any method runs; side by side where
neither slows the other down."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from unsir_bench.cli.terminal import log_to_terminal
from unsir_bench.runtime.cores import own_cores, shares
from unsir_bench.sweeps.isolation import Surroundings
from unsir_bench.sweeps.watch import die_with_parent

if TYPE_CHECKING:
    from unsir_bench.runtime.hardware import HardwareConfig

ROLES = ("original", "retrain")


def train_command(words: Sequence[str]) -> int:
    """Train what the store lacks of a run's two reference models, each in a process of its own.

    Returns:
        The exit status: 1 if the configuration is wrong or a training failed.
    """
    from hydra.errors import HydraException

    from unsir_bench.cli.bootstrap import compose, refuse_limits
    from unsir_bench.config import validate
    from unsir_bench.errors import ConfigError
    from unsir_bench.records import printable

    try:
        config = compose(words)
        validate(config)
        refuse_limits(config, "train")
    except (ConfigError, HydraException) as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    obstacle = obstacle_side_by_side(config.hardware, config.model.cpu_threads)
    how = "side by side" if obstacle is None else f"one after another: {obstacle}"
    print(f"the original and the retrained model are trained {how}", flush=True)
    where = [Surroundings.here()] * len(ROLES) if obstacle else places_of_their_own(config.hardware)
    return int(any(_exit_codes(list(words), where, at_once=obstacle is None)))


def obstacle_side_by_side(hardware: HardwareConfig, model_threads: int | None) -> str | None:
    """Why two trainings at a time would take longer than one alone, and what changes that; None if they would not.

    Args:
        hardware: of each.
        model_threads: CPU threads that suit the model, used where ``hardware.threads`` is null.
    """
    accelerator, devices = hardware.resolved_accelerator(), hardware.devices
    if accelerator != "cpu":
        have = len(_gpus(hardware)) if accelerator == "cuda" else 1
        return None if have >= 2 * devices else f"side by side they need {2 * devices} GPUs, and {have} can be used"
    cores = len(own_cores()) or os.cpu_count() or 1
    threads, most = hardware.threads or model_threads, cores // (2 * devices)
    if threads is not None and threads <= most:
        return None
    taken = "as many CPU threads as there are cores" if threads is None else f"{threads * devices} CPU threads"
    change = f"; set hardware.threads={most} here and in later runs to train them side by side" if most else ""
    return f"each takes {taken}, and {cores} core(s) can be used{change}"


def places_of_their_own(hardware: HardwareConfig) -> list[Surroundings]:
    """For each training this environment, with CPU cores of its own and, on CUDA, GPUs of its own."""
    from unsir_bench.sweeps.devices_launcher import VISIBLE

    here, count = Surroundings.here(), hardware.devices
    on_cuda = hardware.resolved_accelerator() == "cuda"
    gpus = _gpus(hardware) if on_cuda else []
    found = []
    for number, cores in enumerate(shares(own_cores(), len(ROLES))):
        own = {VISIBLE: ",".join(gpus[number * count : (number + 1) * count])} if on_cuda else {}
        found.append(replace(here, environment=here.environment | own, cores=tuple(cores)))
    return found


def _gpus(hardware: HardwareConfig) -> list[str]:
    from unsir_bench.sweeps.devices_launcher import visible_gpus

    return visible_gpus(hardware.accelerator)


def _exit_codes(words: list[str], where: Sequence[Surroundings], *, at_once: bool) -> list[int | None]:
    """Those of the trainings' processes; each is waited for before the next one starts, or all go on ``at_once``."""
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_train, args=(words, role, place), name=role)
        for role, place in zip(ROLES, where, strict=True)
    ]
    for process in processes:
        process.start()
        if not at_once:
            process.join()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _train(words: list[str], role: str, place: Surroundings) -> None:
    die_with_parent()
    place.enter()  # before torch counts cores and GPUs
    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.runner import log_failure, train_reference

    log_to_terminal()
    # No method is run: whether the one named here, or the default, suits the forget set does not matter.
    config = replace(compose(words), method=compose(["method=original"]).method, withheld=[])
    try:
        train_reference(config, role)
    except Exception as error:  # told as that of a run
        log_failure(error, f"the {role} model was not trained")
        sys.exit(1)
