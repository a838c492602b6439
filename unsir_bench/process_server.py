"""The server from which the runs of a sweep are forked; it imports everything once.

This module imports nothing heavy: the command starts the server before its own imports, so that both import at once.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext, SpawnContext

# Importing it imports all that a run needs, the baselines and plug-ins included.
EVERYTHING = "unsir_bench.cli"


def process_context() -> ForkServerContext | SpawnContext:
    """How processes of runs are started: forked from the server, where the system has one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([EVERYTHING])
    return context


def warm_up() -> None:
    """Start the server, where the system has one."""
    if isinstance(process_context(), ForkServerContext):
        from multiprocessing import forkserver

        forkserver.ensure_running()
