"""How much memory this process may still take, on a machine, in a container or in a job of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from unsir_bench.errors import NotApplicable, NotEnoughMemoryError

GROUPS_OF_PROCESS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# By version of Linux's control groups: limit, use, and the count of cached files, which the system takes back.
FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def available_memory() -> int:
    """Bytes: what the machine has free, or what a control group leaves of its limit (Slurm, containers)."""
    return min([psutil.virtual_memory().available, *(left for _, left in _groups())])


def require_memory(needed: int, what: str, instead: str) -> None:
    """Refuse what does not fit, for good or for now.

    Args:
        needed: bytes.
        what: that needs them, for the message.
        instead: what needs less.

    Raises:
        NotApplicable: they are more than this process may ever take.
        NotEnoughMemoryError: they are more than is free now.
    """
    words = f"{what} would need {needed / 2**30:.0f} GiB"
    if needed > (most := min([psutil.virtual_memory().total, *(limit for limit, _ in _groups())])):
        raise NotApplicable(f"{words}, and there are {most / 2**30:.0f} GiB in all; {instead}")
    if needed > (free := available_memory()):
        raise NotEnoughMemoryError(f"{words}, and {free / 2**30:.0f} GiB are free; {instead}")


def _groups() -> Iterator[tuple[int, int]]:
    """Limit and what is left of it, of each control group that the process is in."""
    try:
        lines = GROUPS_OF_PROCESS.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        version = 2 if not kinds else 1
        if version == 1 and "memory" not in kinds.split(","):
            continue
        root = GROUPS if version == 2 else GROUPS / "memory"
        own = root / path.lstrip("/")
        # In a container the path may be the host's, of which nothing is seen here but the root.
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left_in(group, *FILES[version])


def _left_in(group: Path, limit: str, use: str, cached: str) -> Iterator[tuple[int, int]]:
    try:
        most = int((group / limit).read_text())
        used = int((group / use).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group here, or "max": without a limit
        return
    yield most, max(0, most - used + int(counts.get(cached, 0)))
