"""The committed records of the paper's own setting, and their numbers as the pages show them."""

from __future__ import annotations

from pathlib import Path

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import read_sweep, sweep_folders

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
SWEEPS = {folder.name: read_sweep(folder).records for folder in sweep_folders(RESULTS / "paper")}


def number(record: RunRecord, name: str) -> float:
    found = record.metrics[name]
    assert found is not None
    return found


def percent(record: RunRecord, *names: str) -> list[str]:
    return [f"{100 * number(record, name):.2f}" for name in names]


def after_impair(record: RunRecord, *names: str) -> list[str]:
    [stage] = record.details["stages"]
    return [f"{100 * stage[name]:.2f}" for name in names]
