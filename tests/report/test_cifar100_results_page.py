"""The page on CIFAR-100 says what its committed records say."""

from __future__ import annotations

import pytest

from tests.report.paper_records import (
    ACCURACIES,
    BEYOND,
    RESULTS,
    SWEEPS,
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

PAGE = (RESULTS / "paper_cifar100.md").read_text(encoding="utf-8")
SEEDS = [0, 1, 2]
LOW_SEEDS = [0, 2]  # of the lowest rates
RATES = {0.02: "", 0.005: ", rates 0.005 and 0.0025", 0.001: ", rates 0.001 and 0.0005"}  # by impair's
OF_UNSIR = [f"unsir{rates}" for rates in RATES.values()]
NO_NOISE = [f"unsir, no noise{RATES[rate]}" for rate in (0.02, 0.005)]
IN_ALL_LAYERS = "unsir, rates in all layers"
HEADS = {1: "1 class", 20: "20 classes", 40: "40 classes"}
METHODS = {
    1: ("original", "unsir"),
    20: ("original", "retrain", *OF_UNSIR, *NO_NOISE, IN_ALL_LAYERS),
    40: ("original", "retrain", "unsir"),
}
RECORDS = Records("cifar100_paper", "cifar100_one", "cifar100_rates", "ablation_noise_cifar100", "cifar100_full_rates")
ROWS = [(classes, method) for classes, methods in METHODS.items() for method in methods]


def of(classes: int, method: str) -> list[RunRecord]:
    """Of the original's row, records of a method that hold its numbers under a prefix."""
    name = method if method != "original" else "unsir"
    chosen = [each for each in RECORDS if (shown(each), len(each.forget_classes)) == (name, classes)]
    found = sorted(chosen, key=lambda record: record.seed)
    assert [each.seed for each in found] == (LOW_SEEDS if method == OF_UNSIR[2] else SEEDS)
    return found


def shown(record: RunRecord) -> str:
    """The method, with what the user set."""
    if record.method != "unsir":
        return record.method
    impair = record.config["method"]["impair"]
    everywhere = ", rates in all layers" if impair.get("backbone_lr_scale") == 1 else ""
    return f"unsir{', no noise' if has_no_noise(record) else ''}{RATES[impair['lr']]}{everywhere}"


def row_of(classes: int, method: str) -> list[str]:
    records = of(classes, method)
    prefix = "original_" if method == "original" else ""
    cells = [
        *percents(records, *(prefix + name for name in ACCURACIES)),
        *(stages(records, *ACCURACIES) if method.startswith("unsir") else ["–", "–"]),
        *(known_percents(records, prefix + name) for name in BEYOND),
        "–" if prefix else interval([number(record, "unlearn_seconds") for record in records], 0),
        "–" if prefix else "1" if method == "retrain" else speedup(records),
    ]
    return [f"{cell} (n = 2)" for cell in cells] if method == OF_UNSIR[2] else cells


def known_percents(records: list[RunRecord], name: str) -> str:
    """Of the seeds that have more than accuracies, and how many these are where they are not all."""
    known = [each for each in records if each.metrics.get(name) is not None]
    if not known:
        return "–"
    [cell] = percents(known, name)
    return cell if len(known) == len(records) else f"{cell} (n = {len(known)})"


def speedup(records: list[RunRecord]) -> str:
    """A dash where no model was retrained."""
    if records[0].metrics.get("speedup_vs_retrain") is None:
        return "–"
    return ratio([number(record, "speedup_vs_retrain") for record in records])


@pytest.mark.parametrize(("classes", "method"), ROWS)
def test_a_row_is_that_of_its_records(classes: int, method: str) -> None:
    assert table_below(PAGE, HEADS[classes])[method] == row_of(classes, method)


@pytest.mark.parametrize("classes", HEADS)
def test_each_seed_forgets_classes_of_its_own(classes: int) -> None:
    assert set(table_below(PAGE, HEADS[classes])) == set(METHODS[classes])
    drawn = [frozenset(record.forget_classes) for record in of(classes, "unsir")]
    assert {len(each) for each in drawn} == {classes} and len(set(drawn)) == len(SEEDS)


def test_the_rows_of_mobilenetv2() -> None:
    def row(record: RunRecord) -> list[str]:
        [stage] = record.details["stages"]
        before = [number(record, f"original_{name}") for name in ACCURACIES]
        after = [number(record, name) for name in ACCURACIES]
        percent = [f"{100 * value:.1f}" for value in (before[0], stage[ACCURACIES[0]], after[0], before[1], after[1])]
        return [*percent, f"{number(record, 'unlearn_seconds'):.0f}"]

    records = SWEEPS["cifar100_mobilenetv2"]
    made = {f"{HEADS[len(record.forget_classes)]}, {shown(record)}": row(record) for record in records}
    assert {(record.seed, record.config["model"]["name"]) for record in records} == {(0, "mobilenetv2")}
    assert table_below(PAGE, "MobileNetV2, seed 0") == made
