"""`unsir-bench train ...`: the original and the retrained model of a run, side by side, before any method runs."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence

from unsir_bench.runtime.cores import keep_to, own_cores, shares

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
        for role, cores in zip(ROLES, shares(own_cores(), len(ROLES)), strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return int(any(process.exitcode for process in processes))


def _train(words: list[str], role: str, cores: list[int]) -> None:
    keep_to(cores)  # before torch counts them
    import logging
    from dataclasses import replace

    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.errors import UnsirBenchError
    from unsir_bench.runner import log_failure, train_reference

    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    # No method is run: whether the one named here, or the default, suits the forget set does not matter.
    config = replace(compose(words), method=compose(["method=original"]).method, withheld=[])
    try:
        train_reference(config, role)
    except UnsirBenchError as error:
        log_failure(error, f"the {role} model was not trained")
        sys.exit(1)
