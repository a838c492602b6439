"""Hand-over from the first of several processes to the one that started them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsir_bench.runtime.files import write_atomic

if TYPE_CHECKING:
    from lightning_fabric import Fabric

RESULT_FILE = "handed_over.json"


def result_of_first(fabric: Fabric, work: Callable[[Fabric], Any], folder: Path) -> Any:
    """Run ``work`` in each process that Fabric launches and return the result of the first one.

    The result travels through a file: the launcher reads its pipe only after all processes have ended, so a result
    larger than the pipe (64 KiB) would block for ever.

    Args:
        fabric: of several devices.
        work: picklable; its result is plain values as JSON knows them.
        folder: holds the file meanwhile.
    """
    path = folder / RESULT_FILE
    fabric.launch(_work_of_rank, work, path)  # type: ignore[arg-type]
    result = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return result


def _work_of_rank(fabric: Fabric, work: Callable[[Fabric], Any], path: Path) -> None:
    result = work(fabric)
    if fabric.is_global_zero:
        write_atomic(path, json.dumps(result))
