"""The CPU cores of this process, and shares of them; imports no torch, which counts the cores when it is imported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise


def own_cores() -> list[int]:
    """The CPU cores that this process may use; none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def keep_to(cores: Sequence[int]) -> None:
    """Pin this process and its future children to ``cores``, where the system can; to none: as before."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def shares(cores: Sequence[int], count: int) -> list[list[int]]:
    """The cores in ``count`` shares whose sizes differ by one at most; each gets all where there are too few."""
    if len(cores) < count:
        return [list(cores)] * count
    bounds = [index * len(cores) // count for index in range(count + 1)]
    return [list(cores[low:high]) for low, high in pairwise(bounds)]
