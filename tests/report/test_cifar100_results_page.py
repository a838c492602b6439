"""The page on CIFAR-100 says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import RESULTS, SWEEPS, interval, number, percents, ratio, stages, table_below
from unsir_bench.records import RunRecord

PAGE = (RESULTS / "paper_cifar100.md").read_text(encoding="utf-8")
ACCURACIES = ("acc_retain_test", "acc_forget_test")
BEYOND = ("probe_linear_auc", "retention_forget_accuracy", "mia_loss_accuracy")
SEEDS = [0, 1, 2]
LOW_RATES, NO_NOISE = "unsir, rates 0.001 and 0.0005", "unsir, no noise"
METHODS = ("original", "retrain", "unsir", "unsir_notebook", LOW_RATES, NO_NOISE, "logit_mask")
RECORDS = SWEEPS["cifar100_paper"] + SWEEPS["ablation_noise_cifar100"]


def of(method: str) -> list[RunRecord]:
    found = sorted((each for each in RECORDS if shown(each) == method), key=lambda record: record.seed)
    assert [each.seed for each in found] == SEEDS
    return found


def shown(record: RunRecord) -> str:
    """The method, with what the user set."""
    if record.settings != "user":
        return record.method
    return NO_NOISE if record.config["method"]["noise"]["copies"] == 0 else LOW_RATES


def row_of(method: str) -> list[str]:
    records = of(method)
    timed = method not in ("original", "logit_mask")
    return [
        *percents(records, *ACCURACIES),
        *(stages(records, *ACCURACIES) if method.startswith("unsir") else ["–", "–"]),
        " / ".join(relearned(record) for record in records),
        *percents(records, *BEYOND),
        interval([number(record, "unlearn_seconds") for record in records], 0) if timed else "–",
        "1" if method == "retrain" else ratio([number(each, "speedup_vs_retrain") for each in records])
        if timed else "–",
    ]  # fmt: skip


def relearned(record: RunRecord) -> str:
    found = record.metrics["relearn_batches"]
    return f"> {record.relearn_cap}" if found is None else f"{found:.0f}"


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_that_of_its_records(method: str) -> None:
    assert table_below(PAGE, "20 classes")[method] == row_of(method)


def test_each_seed_forgets_20_classes_of_its_own() -> None:
    assert set(table_below(PAGE, "20 classes")) == set(METHODS)
    drawn = [frozenset(record.forget_classes) for record in of("retrain")]
    assert all(len(classes) == 20 for classes in drawn) and len(set(drawn)) == len(SEEDS)
