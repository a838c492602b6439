"""What a bank gives has an interval over seeds whose banks share no model, and none over others."""

from __future__ import annotations

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.guarantees import guarantee_rows
from unsir_bench.report.tables.metrics import metric_tables
from unsir_bench.report.tables.paper import cells, legend, numbers
from unsir_bench.report.tables.standard_columns import chosen_columns

COLUMNS = chosen_columns(["acc_retain_test", "ulira_accuracy", "rmia_auc"])


def record(seed: int, accuracy: float, **metrics: int) -> RunRecord:
    return RunRecord(
        run_id=f"a-{seed}-{metrics}", sweep="s", method="a", dataset="digits", model="net", seed=seed, status="done",
        config={"metrics": metrics}, forget_set="single", forget_classes=[0], guarantees={"epsilon": 1.0},
        metrics={
            "acc_retain_test": accuracy, "acc_forget_test": 0.0, "rmia_auc": accuracy,
            "original_acc_retain_test": 0.9,
            **({"ulira_accuracy": accuracy, "original_ulira_accuracy": accuracy} if metrics else {}),
        },
    )  # fmt: skip


def shown(second: int) -> dict[str, str]:
    """The cells of a method with banks of seed 0 and of a second one."""
    [table] = comparison_tables("s", [record(0, 0.6, bank_size=30), record(second, 0.8, bank_size=30)], {}, COLUMNS)
    [line] = [line for line in cells(table) if line["method"].words == "a"]
    return {title: cell.words for title, cell in line.items()}


def test_banks_that_share_models_give_a_mean_alone() -> None:
    assert [shown(second)["U-LiRA %"] for second in (1, 29)] == ["70.00"] * 2
    assert shown(30)["U-LiRA %"] == "70.00 ± 127.06"  # t(0.975, 1) times the standard error of 60 and 80
    assert "±" in shown(1)["RMIA AUC %"], "an attack on the run's own model"


def test_so_do_all_tables_and_the_numbers_of_the_original() -> None:
    runs = [record(0, 0.6, bank_size=30), record(1, 0.8, bank_size=30)]
    [table] = comparison_tables("s", runs, {}, COLUMNS)
    found = numbers([table]).set_index("method").loc["a"]
    assert (found["ulira_accuracy"], found["n"]) == (pytest.approx(0.7), 2)
    assert found[["ulira_accuracy_low", "ulira_accuracy_high"]].isna().all()
    [row] = [row for row in guarantee_rows(runs) if row["method"] == "a"]
    assert row["U-LiRA %"] == "70"
    [line] = [line for line in metric_tables(runs).splitlines() if line.startswith("| ulira")]
    assert line == "| ulira_accuracy | 0.7 | 0.7 |"


def test_a_bank_of_one_of_several_unlearning_seeds_counts() -> None:
    """The mean of a seed's records stands for them, whichever of them has the bank."""
    runs = [record(seed, 0.6, **bank) for seed in (0, 1) for bank in ({}, {"bank_size": 30})]
    [table] = comparison_tables("s", runs, {}, COLUMNS)
    [line] = [line for line in cells(table) if line["method"].words == "a"]
    assert line["U-LiRA %"].words == "60.00"


def test_the_legend_says_so_where_a_bank_is_shown() -> None:
    assert "share models" in legend(COLUMNS)
    assert "share models" not in legend(chosen_columns(["acc_retain_test"]))
