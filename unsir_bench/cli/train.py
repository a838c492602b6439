"""`unsir-bench train ...`: the original and the retrained model of a run, side by side, before any method runs."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence

ROLES = ("original", "retrain")


def train_command(words: Sequence[str]) -> int:
    """Train what the store lacks of a run's two reference models, each in a process with cores of its own.

    Returns:
        The exit status: 1 if the configuration is wrong or a training failed.
    """
    from hydra.errors import HydraException

    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.config import validate
    from unsir_bench.errors import ConfigError
    from unsir_bench.records import printable

    try:
        validate(compose(words))
    except (ConfigError, HydraException) as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_train, args=(list(words), role, cores), name=role)
        for role, cores in zip(ROLES, shares(own_cores()), strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return int(any(process.exitcode for process in processes))


def own_cores() -> list[int]:
    """The CPU cores that this process may use; none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def shares(cores: Sequence[int]) -> tuple[list[int], list[int]]:
    """Cores for each of the two trainings; both get all where there is but one."""
    half = len(cores) // 2
    return (list(cores[:half]), list(cores[half:])) if half else (list(cores), list(cores))


def _train(words: list[str], role: str, cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)  # before torch counts them
    import logging

    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.runner import train_reference

    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    train_reference(compose(words), role)
