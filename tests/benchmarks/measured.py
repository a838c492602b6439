"""What the benchmarks share: the clock, means in words, tables, and the file of figures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from unsir_bench.report.statistics import mean_and_half_width
from unsir_bench.runtime.environment import environment
from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.hardware import synchronise

Result = TypeVar("Result")


def timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Seconds and result, the device synchronised."""
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def device_words(device: torch.device) -> str:
    """The device as titles and files name it."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def mean_words(values: Sequence[float], form: str = ".2f") -> str:
    """Mean and half the width of its 95 % interval; of one value, that value alone."""
    mean, half_width = mean_and_half_width(values)
    return f"{mean:{form}}" + (f" ± {half_width:{form.lstrip('+')}}" if math.isfinite(half_width) else "")


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], width: int = 150) -> None:
    """Print a table whose first column is of names and whose others are of numbers."""
    table = Table(title=title)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=width).print(table)


def write_figures(path: Path | None, device: torch.device, **figures: Any) -> None:
    """Write what was measured, and with what, as JSON; nothing without a path."""
    if path is None:
        return
    content = {
        "device": device_words(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "environment": environment(device),
        **figures,
    }
    write_atomic(path, json.dumps(content, indent=2) + "\n")
