"""The page on the paper's own setting says what its committed records say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.folders import read_sweep, sweep_folders

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
PAGE = (RESULTS / "paper.md").read_text(encoding="utf-8")
RECORDS = [record for folder in sweep_folders(RESULTS / "paper") for record in read_sweep(folder).records]
SEVERAL = {"{0}": [0], "{1, 2}": [1, 2], "{3, 4, 5, 6}": [3, 4, 5, 6], "{3, …, 9}": list(range(3, 10))}


def record_of(method: str, classes: list[int]) -> RunRecord:
    [found] = [each for each in RECORDS if (each.method, each.forget_classes) == (method, classes)]
    return found


def percent(record: RunRecord, *names: str) -> list[str]:
    return [f"{100 * record.metrics[name]:.2f}" for name in names]  # type: ignore[operator]


def after_impair(record: RunRecord, *names: str) -> list[str]:
    [stage] = record.details["stages"]
    return [f"{100 * stage[name]:.2f}" for name in names]


def rows(start: str) -> list[list[str]]:
    """The cells of the page's lines that begin with ``start``."""
    lines = [line for line in PAGE.splitlines() if line.startswith(start)]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


@pytest.mark.parametrize("preset", ["unsir", "unsir_notebook", "unsir_gentle", "unsir_later"])
def test_a_row_of_one_class(preset: str) -> None:
    record = record_of(preset, [0])
    [row] = [row for row in rows(f"| `{preset}` |") if len(row) == 8]
    metrics = record.metrics
    assert row[1:] == [
        *percent(record, "acc_retain_test", "acc_forget_test"),
        *after_impair(record, "acc_retain_test", "acc_forget_test"),
        f"{metrics['relearn_batches']:.0f}",
        f"{metrics['unlearn_seconds']:.0f}",
        f"{metrics['speedup_vs_retrain']:.0f}",
    ]


@pytest.mark.parametrize("classes", SEVERAL)
@pytest.mark.parametrize("preset", ["unsir", "unsir_notebook"])
def test_a_row_of_several_classes(preset: str, classes: str) -> None:
    record = record_of(preset, SEVERAL[classes])
    [row] = rows(f"| {classes} | `{preset}` |")
    [impaired] = after_impair(record, "acc_retain_test")
    original, kept, forgotten = percent(record, "original_acc_retain_test", "acc_retain_test", "acc_forget_test")
    assert row[2:5] == [original, impaired, kept] and row[6] == forgotten
    gain = float(row[5].replace("−", "-"))
    assert gain == pytest.approx(float(kept) - float(impaired), abs=0.06)
    assert row[7] == f"{record.metrics['unlearn_seconds']:.0f}"


def test_the_notebooks_own_case() -> None:
    for preset in ("unsir", "unsir_notebook"):
        record = record_of(preset, [0, 2])
        [row] = [row for row in rows(f"| `{preset}` |") if len(row) == 5]
        assert row[1:] == [
            *after_impair(record, "acc_forget_test", "acc_retain_test"),
            *percent(record, "acc_forget_test", "acc_retain_test"),
        ]


def test_all_records_are_of_one_clean_commit_and_one_kind_of_cpu() -> None:
    made_in = {
        (each.environment["commit"], each.environment["dirty"], each.environment["cpu_capability"]) for each in RECORDS
    }
    assert len(made_in) == 1 and not next(iter(made_in))[1]
    assert len(re.findall(r"n = 1", PAGE)) >= 2
