"""The committed records of the paper's own setting, and their numbers as the pages show them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import read_sweep, sweep_folders

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


class Sweeps(Mapping[str, list[RunRecord]]):
    """Committed records by the name of their sweep; each sweep is read when it is first asked for."""

    def __init__(self, folder: Path):
        self._folders = {each.name: each for each in sweep_folders(folder)}
        self._read: dict[str, list[RunRecord]] = {}

    def __getitem__(self, name: str) -> list[RunRecord]:
        if name not in self._read:
            self._read[name] = read_sweep(self._folders[name]).records
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


SWEEPS = Sweeps(RESULTS / "paper")


class Records(Sequence[RunRecord]):
    """The records of some sweeps, read when they are first looked at."""

    def __init__(self, *sweeps: str):
        self._sweeps = sweeps

    def _all(self) -> list[RunRecord]:
        return [record for name in self._sweeps for record in SWEEPS[name]]

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self._all())


ACCURACIES = ("acc_retain_test", "acc_forget_test")
BEYOND = ("probe_linear_auc", "retention_forget_accuracy", "mia_loss_accuracy")  # what accuracies do not tell

T_975 = {2: 12.7062, 3: 4.3027, 4: 3.1824, 5: 2.7764}  # quantiles of Student's t, by the number of seeds


def interval(values: Sequence[float], digits: int = 1) -> str:
    """Mean and half the width of its 95 % interval, if values differ."""
    if len(set(values)) == 1:
        return f"{values[0]:.{digits}f}"
    half = T_975[len(values)] * stdev(values) / math.sqrt(len(values))
    return f"{fmean(values):.{digits}f} ± {half:.{digits}f}"


def ratio(values: Sequence[float]) -> str:
    """Geometric mean and its 95 % interval, of the logarithms."""
    logs = [math.log(value) for value in values]
    half = T_975[len(values)] * stdev(logs) / math.sqrt(len(values))
    low, high = (math.exp(fmean(logs) + side * half) for side in (-1, 1))
    return f"{math.exp(fmean(logs)):.0f} [{low:.0f}, {high:.0f}]"


def percents(records: Sequence[RunRecord], *names: str) -> list[str]:
    return [interval([100 * number(record, name) for record in records]) for name in names]


def stages(records: Sequence[RunRecord], *names: str) -> list[str]:
    found = [record.details["stages"] for record in records]
    return [interval([100 * stage[name] for [stage] in found]) for name in names]


def number(record: RunRecord, name: str) -> float:
    found = record.metrics[name]
    assert found is not None
    return found


def percent(record: RunRecord, *names: str) -> list[str]:
    return [f"{100 * number(record, name):.2f}" for name in names]


def has_no_noise(record: RunRecord) -> bool:
    """Whether a run of UNSIR showed impair the retain subset alone."""
    return bool(record.config["method"]["noise"]["copies"] == 0)


def table_below(page: str, head: str) -> dict[str, list[str]]:
    """The rows of the page's table whose first column has this title: cells by the first one, without its marks."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in page.splitlines()]
    [start] = [place for place, cells in enumerate(lines) if cells[0] == head]
    rows: dict[str, list[str]] = {}
    for first, *others in lines[start + 2 :]:
        if not others:
            break
        rows[first.replace("`", "").removesuffix(" (control)")] = others
    return rows
