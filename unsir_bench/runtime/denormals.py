"""Denormal numbers, flushed to zero or kept by every thread that torch computes with."""

from __future__ import annotations

import ctypes

import torch

from unsir_bench.errors import ConfigError

GRAIN = 32_768  # elements: torch gives a thread no fewer
HARD = 1  # omp_pause_hard of OpenMP 5.0: threads end, and the next operation starts others


def flush_denormals(flag: bool) -> None:
    """Flush denormal numbers to zero in all threads of this process's pool, or in none.

    torch sets the flag of the calling thread alone. The threads of the pool have that of the thread that started them,
    so where an earlier run of this process left others, the pool is ended and begun anew. Nothing is done on a CPU that
    has no such flag.

    Raises:
        ConfigError: there are threads that keep the earlier setting, since this OpenMP library cannot end them.
    """
    if not torch.set_flush_denormal(flag) or _everywhere(flag):
        return
    end_pool = getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
    if end_pool is None or end_pool(HARD) or not _everywhere(flag):
        raise ConfigError([
            f"hardware.flush_denormal={str(flag).lower()}: threads of this process compute otherwise since an earlier "
            "run; start the run in a new process, or set hardware.threads=1"
        ])  # fmt: skip


def _everywhere(flag: bool) -> bool:
    """Whether each thread of torch's pool, which this starts, flushes denormal numbers or, without ``flag``, none."""
    smallest = torch.ones(GRAIN * torch.get_num_threads(), dtype=torch.int32).view(torch.float32)
    return bool((((smallest * 1.0).view(torch.int32) == 0) == flag).all())
