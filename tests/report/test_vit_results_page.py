"""The page on the vision transformer says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import (
    ACCURACIES,
    BEYOND,
    RESULTS,
    Records,
    has_no_noise,
    interval,
    number,
    percents,
    ratio,
    stages,
    table_below,
)
from unsir_bench.records import RunRecord

PAGE = (RESULTS / "paper_vit.md").read_text(encoding="utf-8")
SEEDS = [0, 1, 2]
RATES = {0.02: "", 0.003: ", rates 0.003 and 0.0005", 0.001: ", rates 0.001 and 0.0005"}  # by impair's
OF_UNSIR = [f"unsir{rates}" for rates in RATES.values()]
NO_NOISE = ["unsir, no noise", "unsir, no noise, rates 0.001 and 0.0005"]
METHODS = ("original", "retrain", *OF_UNSIR, *NO_NOISE, "unsir_gentle", "random_label", "logit_mask")
RECORDS = Records("cifar10_vit", "ablation_noise_vit")


def of(method: str) -> list[RunRecord]:
    """Of the original's row, retrain's records: they hold its numbers under a prefix."""
    name = "retrain" if method == "original" else method
    found = sorted((each for each in RECORDS if shown(each) == name), key=lambda record: record.seed)
    assert [each.seed for each in found] == SEEDS
    return found


def shown(record: RunRecord) -> str:
    """The method, with what the user set."""
    if record.method != "unsir":
        return record.method
    return f"unsir{', no noise' if has_no_noise(record) else ''}{RATES[record.config['method']['impair']['lr']]}"


def row_of(method: str) -> list[str]:
    records = of(method)
    prefix = "original_" if method == "original" else ""
    return [
        *percents(records, *(prefix + name for name in ACCURACIES)),
        *(stages(records, *ACCURACIES) if method.startswith("unsir") else ["–", "–"]),
        *percents(records, *(prefix + name for name in BEYOND)),
        *costs(method, records),
    ]


def costs(method: str, records: list[RunRecord]) -> list[str]:
    """Seconds, and times as fast as retraining."""
    if method in ("original", "logit_mask"):
        return ["–" if method == "original" else "0", "–"]
    seconds = interval([number(record, "unlearn_seconds") for record in records], 0)
    speedups = [number(record, "speedup_vs_retrain") for record in records]
    return [seconds, "1" if method == "retrain" else ratio(speedups)]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_that_of_its_records(method: str) -> None:
    assert table_below(PAGE, "{0}")[method] == row_of(method)


def test_the_table_has_no_other_rows() -> None:
    assert set(table_below(PAGE, "{0}")) == set(METHODS)
