"""The page on UNSIR's settings in the paper's own setting says what its committed records say."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.report.paper_records import RESULTS, SWEEPS, number
from unsir_bench.records import RunRecord

ABLATIONS = (RESULTS / "paper_ablations.md").read_text(encoding="utf-8")

# The first cell of a table's header, the sweep, the setting that its rows vary, and what 1 in a cell stands for.
VARIED = [
    ("share of each retain class", "retain_share", "retain_share", 0.01),
    ("rate", "impair_rate", "impair.lr", 1),
    ("λ", "lambda", "noise.weight_penalty", 1),
    ("epochs", "repair_epochs", "repair.epochs", 1),
]
SEEDS = [0, 2]
ODDITIES = ("corrected", "three_images", "label_zero", "batch_statistics", "all_three")


def table(first: str) -> list[dict[str, str]]:
    """The rows of the table of the ablations whose header begins with ``first``, by the cells of the header."""
    lines = ABLATIONS[ABLATIONS.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def measured(record: RunRecord, header: str) -> str:
    if header == "seconds":
        return f"{number(record, 'unlearn_seconds'):.0f}"
    name = {"A_Dr": "acc_retain_test", "A_Df": "acc_forget_test"}[header.split(" ", maxsplit=1)[0]]
    if header.endswith("after impair"):
        [stage] = record.details["stages"]
        return f"{100 * stage[name]:.1f}"
    return f"{100 * number(record, name):.1f}"


def assert_measured(row: dict[str, str], *records: RunRecord) -> None:
    """That a row's cells hold the measures of these records, one after the other."""
    measures = {header: cell for header, cell in row.items() if header == "seconds" or header.startswith("A_D")}
    assert len(measures) >= 3
    assert measures == {header: " / ".join(measured(each, header) for each in records) for header in measures}


def by_seed(sweep: str, *settings: str) -> dict[tuple[Any, ...], list[RunRecord]]:
    """The records of a sweep by the values of these settings, each with one record of seed 0 and one of seed 2."""
    found = defaultdict(list)
    for record in sorted(SWEEPS[sweep], key=lambda record: record.seed):
        config = OmegaConf.create(record.config)
        found[tuple(OmegaConf.select(config, f"method.{setting}") for setting in settings)].append(record)
    assert all([record.seed for record in records] == SEEDS for records in found.values())
    return found


@pytest.mark.parametrize(("first", "sweep", "setting", "unit"), VARIED)
def test_a_table_of_one_varied_setting(first: str, sweep: str, setting: str, unit: float) -> None:
    records = {float(value): found for (value,), found in by_seed(f"ablation_{sweep}_paper", setting).items()}
    found = {round(float(row[first].split(" ")[0]) * unit, 6): row for row in table(first)}
    assert found.keys() == records.keys()
    for value, row in found.items():
        assert_measured(row, *records[value])


def test_the_table_of_both_rates() -> None:
    records = {
        (record.config["method"]["impair"]["lr"], record.config["method"]["repair"]["lr"]): record
        for record in SWEEPS["ablation_learning_rates_paper"]
    }
    first = "seed 0: impair; repair"
    found = {
        (float(row[first]), float(rate)): cell for row in table(first) for rate, cell in row.items() if rate != first
    }
    assert len(found) == 20 and {record.seed for record in records.values()} == {0}
    assert found == {
        rates: " / ".join(measured(record, header) for header in ("A_Dr %", "A_Df %"))
        for rates, record in records.items()
    }


def test_the_table_of_fewer_images() -> None:
    found = {
        (row["training images"] == "10,000", int(row["batches"])): (row.pop("original A_Dr %"), row)
        for row in table("training images")
    }
    for record in SWEEPS["why_unsir"]:
        key = (record.config["dataset"]["subset"] == 1000, record.config["method"]["noise"]["batch_size"])
        original, row = found.pop(key)
        assert original == f"{100 * number(record, 'original_acc_retain_test'):.1f}"
        assert_measured(row, record)
    assert not found


def test_the_table_of_the_notebooks_oddities() -> None:
    found = {
        name: sorted(
            (each for each in SWEEPS["ablation_fidelity_paper"] if each.method == name), key=lambda it: it.seed
        )
        for name in ODDITIES
    }
    for row, records in zip(table("noise"), found.values(), strict=True):
        assert [record.seed for record in records] == SEEDS
        assert_measured(row, *records)


NOISE = {"noise, learned (published)": (40, 20), "noise as drawn": (0, 20), "no noise": (0, 0)}  # steps, copies
FORGOTTEN = {"{1, 2}": [1, 2], "{3, 4, 5, 6}": [3, 4, 5, 6], "{3, …, 9}": list(range(3, 10))}


def noise_of(record: RunRecord) -> tuple[int, int]:
    noise = record.config["method"]["noise"]
    return noise["steps"], noise["copies"]


def test_the_table_of_the_noise() -> None:
    records = {noise_of(record): record for record in SWEEPS["ablation_noise"]}
    assert len(records) == len(SWEEPS["ablation_noise"]) == 3
    for row in table("impair sees, beside the retain subset"):
        record = records[NOISE[row["impair sees, beside the retain subset"]]]
        assert_measured(row, record)
        assert row["relearn batches"] == f"{number(record, 'relearn_batches'):.0f}"
        names = ("probe_linear_auc", "retention_forget_accuracy")
        shown = [row["linear probe, AUC %"], row["new head, A_Df %"]]
        assert shown == [f"{100 * number(record, name):.1f}" for name in names]


def test_the_table_of_a_quarter_of_the_rates() -> None:
    records = {noise_of(record): record for record in SWEEPS["ablation_noise_rates"]}
    rows = table("a quarter of the rates, seed 2")
    assert len(rows) == len(records) == len(SWEEPS["ablation_noise_rates"])
    for row in rows:
        record = records[NOISE[row["a quarter of the rates, seed 2"]]]
        method = record.config["method"]
        assert (record.seed, method["impair"]["lr"], method["repair"]["lr"]) == (2, 0.005, 0.0025)
        assert_measured(row, record)


def test_the_table_of_several_classes_without_noise() -> None:
    rows = table("forget, seed 2")
    assert [row["forget, seed 2"] for row in rows] == [classes for classes in FORGOTTEN for _ in range(2)]
    for row in rows:
        sweep = "ablation_noise_several" if row["UNSIR's noise"] == "none" else "cifar10_resnet18_several"
        classes = FORGOTTEN[row["forget, seed 2"]]
        [record] = [
            each for each in SWEEPS[sweep] if (each.method, each.seed, each.forget_classes) == ("unsir", 2, classes)
        ]
        assert noise_of(record) == ((0, 0) if row["UNSIR's noise"] == "none" else (40, 20))
        assert_measured(row, record)


def test_the_page_says_of_how_many_seeds_it_is() -> None:
    assert "(n = 2)" in ABLATIONS.splitlines()[0] and len(re.findall(r"n = 1", ABLATIONS)) >= 2
