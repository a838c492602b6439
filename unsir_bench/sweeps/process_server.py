"""The server from which the runs of a sweep are forked; it imports everything once.

This module imports nothing heavy: the command starts the server before its own imports, so that both import at once.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, SpawnContext

# Importing it imports all that a run needs, the baselines and plug-ins included.
EVERYTHING = "unsir_bench.cli.main"
# What Weights & Biases imports when a run starts, two seconds each time; the server passes over what it cannot import.
TRACKING = ("wandb", "wandb.sdk.launch")


def process_context() -> ForkServerContext | SpawnContext:
    """How processes of runs are started: forked from the server, where the system has one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    tracking = () if "tracker=none" in sys.argv else TRACKING
    context.set_forkserver_preload([EVERYTHING, *tracking])
    return context


def forks_runs(words: Sequence[str]) -> bool:
    """Whether a command line asks for a sweep whose runs start from here, not in a launcher's own processes."""
    launched_elsewhere = any(word.startswith("hydra/launcher=") and word != "hydra/launcher=basic" for word in words)
    planned = words[:1] == ["plan"]
    return bool({"-m", "--multirun"} & set(words)) and not planned and not launched_elsewhere


def warm_up() -> None:
    """Start the server, where the system has one."""
    if isinstance(process_context(), ForkServerContext):
        from multiprocessing import forkserver

        forkserver.ensure_running()
