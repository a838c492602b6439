"""The page on AllCNN says what its committed records say."""

from __future__ import annotations

from functools import cache

import pytest

from tests.report.paper_records import ACCURACIES, BEYOND, RESULTS, SWEEPS, number, table_below
from unsir_bench.records import RunRecord

PAGE = (RESULTS / "paper_allcnn.md").read_text(encoding="utf-8")
RATES = {0.02: "", 0.005: ", rates 0.005 and 0.0025", 0.001: ", rates 0.001 and 0.0005"}  # by impair's
METHODS = ("original", *(f"unsir{rates}" for rates in RATES.values()), "unsir_notebook")


@cache
def records() -> dict[str, RunRecord]:
    return {
        f"unsir{RATES[each.config['method']['impair']['lr']]}" if each.method == "unsir" else each.method: each
        for each in SWEEPS["cifar10_allcnn"]
    }


def percents(record: RunRecord, *names: str) -> list[str]:
    return [f"{100 * number(record, name):.1f}" for name in names]


def row_of(method: str) -> list[str]:
    record = records()[method]
    if method == "original":
        return [*percents(record, *ACCURACIES), "–", "–", *percents(record, *BEYOND), "–"]
    [stage] = record.details["stages"]
    after_impair = [f"{100 * stage[name]:.1f}" for name in ACCURACIES]
    seconds = f"{number(record, 'unlearn_seconds'):.0f}"
    return [*percents(record, *ACCURACIES), *after_impair, *percents(record, *BEYOND), seconds]


@pytest.mark.parametrize("method", METHODS)
def test_a_row_is_that_of_its_record(method: str) -> None:
    assert table_below(PAGE, "{0}")[method] == row_of(method)


def test_the_page_shows_all_records_which_are_of_one_seed() -> None:
    assert set(table_below(PAGE, "{0}")) == set(METHODS) == set(records())
    assert {record.seed for record in SWEEPS["cifar10_allcnn"]} == {0} and "(n = 1)" in PAGE.splitlines()[0]
