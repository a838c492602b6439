"""The page on CIFAR-100 says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import (
    RESULTS,
    SWEEPS,
    has_no_noise,
    interval,
    number,
    percents,
    ratio,
    stages,
    table_below,
)
from unsir_bench.records import RunRecord

PAGE = (RESULTS / "paper_cifar100.md").read_text(encoding="utf-8")
ACCURACIES = ("acc_retain_test", "acc_forget_test")
BEYOND = ("probe_linear_auc", "retention_forget_accuracy", "mia_loss_accuracy")
SEEDS = [0, 1, 2]
LOW_SEEDS = [0, 2]  # of the low rates
LOW_RATES, NO_NOISE = "unsir, rates 0.001 and 0.0005", "unsir, no noise"
METHODS = ("original", "retrain", "unsir", LOW_RATES, NO_NOISE)
RECORDS = SWEEPS["cifar100_paper"] + SWEEPS["ablation_noise_cifar100"]


def of(method: str) -> list[RunRecord]:
    found = sorted((each for each in RECORDS if shown(each) == method), key=lambda record: record.seed)
    assert [each.seed for each in found] == (LOW_SEEDS if method == LOW_RATES else SEEDS)
    return found


def shown(record: RunRecord) -> str:
    """The method, with what the user set."""
    if record.settings != "user":
        return record.method
    return NO_NOISE if has_no_noise(record) else LOW_RATES


def row_of(method: str) -> list[str]:
    """Of the original's row, retrain's records: they hold its numbers under a prefix."""
    if method == "original":
        found = percents(of("retrain"), *(f"original_{name}" for name in (*ACCURACIES, *BEYOND)))
        return [*found[:2], "–", "–", *found[2:], "–", "–"]
    records = of(method)
    speedups = [number(record, "speedup_vs_retrain") for record in records]
    seconds = interval([number(record, "unlearn_seconds") for record in records], 0)
    cells = [
        *percents(records, *ACCURACIES),
        *(stages(records, *ACCURACIES) if method.startswith("unsir") else ["–", "–"]),
        *percents(records, *BEYOND),
        seconds,
        "1" if method == "retrain" else ratio(speedups),
    ]
    return [f"{cell} (n = 2)" if method == LOW_RATES else cell for cell in cells]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_that_of_its_records(method: str) -> None:
    assert table_below(PAGE, "20 classes")[method] == row_of(method)


def test_each_seed_forgets_20_classes_of_its_own() -> None:
    assert set(table_below(PAGE, "20 classes")) == set(METHODS)
    drawn = [frozenset(record.forget_classes) for record in of("retrain")]
    assert all(len(classes) == 20 for classes in drawn) and len(set(drawn)) == len(SEEDS)
