"""The table of guarantees beside attacks, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.command import main
from unsir_bench.report.tables.guarantees import guarantee_legend, guarantee_rows
from unsir_bench.report.tables.paper import write_tables


def record(method: str, seed: int = 0, guarantees: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
    metrics = {
        "acc_forget_test": 0.25, "acc_retain_test": 0.75, "mia_loss_accuracy": 0.5 + 0.02 * seed,
        "retrain_acc_forget_test": 0.0, "retrain_acc_retain_test": 0.8, "retrain_mia_loss_accuracy": 0.5,
    }  # fmt: skip
    fields: dict[str, Any] = {"model": "frozen_head", "metrics": metrics, "status": "done", **changes}
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, dataset="digits", seed=seed, forget_set="single",
        forget_classes=[0], forget_steps=[[0]], config={}, guarantees=guarantees or {}, **fields,
    )  # fmt: skip


def test_certificate_and_attack_of_a_method_stand_in_one_row() -> None:
    promised = [
        record("certified_removal", seed, {"epsilon": 1.0, "delta": 1e-5, "residual_norm": 0.5 + seed})
        for seed in (0, 1)
    ]
    by_method = {row["method"]: row for row in guarantee_rows([*promised, record("unsir")])}
    assert list(by_method) == ["retrain", "unsir", "certified_removal"]
    certified, unsir = by_method["certified_removal"], by_method["unsir"]
    assert certified["n"] == "2"
    assert certified["ε"] == "1"
    assert certified["δ"] == "1e-05"
    assert certified["residual"].startswith("1 ± ")
    assert certified["MIA (loss) %"].startswith("51 ± ")
    assert certified["A_Df %"].startswith("25.00")
    assert (unsir["ε"], unsir["residual"], unsir["MIA (loss) %"]) == ("–", "–", "50")
    assert by_method["retrain"]["ε"] == "–"
    assert "U-LiRA %" not in certified


def test_an_attack_that_is_a_share_of_samples_has_the_exact_interval() -> None:
    """0 of 10 members found: up to 1 - 0.025 ** (1 / 10)."""
    runs = [record("dp_sgd", seed, {"epsilon": 1.0}, details={"samples": {"forget_train": 10}}) for seed in (0, 1)]
    for run in runs:
        run.metrics |= {"mia_svc_member_share": 0.0}
    [row] = [row for row in guarantee_rows(runs) if row["method"] == "dp_sgd"]
    assert row["MIA (SVC) %"] == "0 [0, 31]"


def test_rows_of_other_models_stand_beside_but_not_those_of_other_forget_sets() -> None:
    promised = record("statistical_query", guarantees={"exact": 1})
    deep, elsewhere = record("unsir", model="allcnn"), record("ssd", forget_names=["two"])
    elsewhere.forget_classes, elsewhere.forget_steps = [2], [[2]]
    rows = guarantee_rows([promised, deep, elsewhere])
    shown = {(row["model"], row["method"]) for row in rows}
    assert shown >= {("allcnn", "unsir"), ("frozen_head", "statistical_query")}
    assert ("frozen_head", "ssd") not in shown


def test_no_table_where_no_finished_run_promises_anything(tmp_path: Path) -> None:
    assert guarantee_rows([record("unsir"), record("dp_sgd", guarantees={"epsilon": 1.0}, status="failed")]) == []
    written = write_tables({"s": [record("unsir")]}, tmp_path)
    assert "guarantees.md" not in {path.name for path in written}


def test_a_null_is_a_dash_and_an_unknown_name_keeps_a_column_of_its_own() -> None:
    [_, row] = guarantee_rows([record("dp_sgd", guarantees={"epsilon": None, "delta": 0.5, "n": 7.0})])
    assert row["ε"] == "–"
    assert (row["guarantee n"], row["n"]) == ("7", "1")


def test_the_legend_explains_the_columns_that_are_there() -> None:
    legend = guarantee_legend(guarantee_rows([record("statistical_query", guarantees={"exact": 1})]))
    assert "exact: 1: the same distribution" in legend and "ε" not in legend


@pytest.mark.parametrize("command", ["tables", "html"])
def test_the_report_shows_the_table_and_obeys_no_name_in_it(command: str, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|[x](y)"
    for kind, guarantees in (("certified_removal", {"epsilon": 0.125, evil: 3.0}), ("unsir", {})):
        record(kind, guarantees=guarantees).write(tmp_path / "sweep" / f"{kind}-0")
    output = tmp_path / "out" / ("page.html" if command == "html" else "")
    with pytest.raises(SystemExit) as stopped:
        main([command, str(tmp_path / "sweep"), "--output", str(output)])
    assert stopped.value.code == 0
    text = (output if command == "html" else output / "guarantees.md").read_text(encoding="utf-8")
    assert "ε" in text and "0.125" in text
    assert "<script>alert" not in text
    if command == "tables":
        assert r"\[x\](y)" in text and r"\|" in text


def test_a_row_says_what_its_mean_mixes() -> None:
    runs = [record("dp_sgd", seed, {"epsilon": 1.0}, environment={"commit": str(seed)}) for seed in (0, 1)]
    [row] = [row for row in guarantee_rows(runs) if row["method"] == "dp_sgd"]
    assert row["mixes"] == "2 commits"
    assert all("mixes" not in row for row in guarantee_rows(runs[:1]))


def test_a_guarantee_that_a_seed_lacks_is_one_of_fewer_seeds_and_counts_are_whole() -> None:
    stated: list[dict[str, Any]] = [
        {"removable_samples": 1437, "removed_samples": 1437, "residual_norm": 0.5},
        {"removable_samples": 1437, "removed_samples": 1440, "residual_norm": None},
        {"removable_samples": 1437, "removed_samples": 1442, "residual_norm": 0.25},
    ]
    runs = [record("certified_removal", seed, promised) for seed, promised in enumerate(stated)]
    [row] = [row for row in guarantee_rows(runs) if row["method"] == "certified_removal"]
    # 1439.67, and t(0.975, 2) = 4.303 times the standard error of 1437, 1440 and 1442, which is 1.453
    assert (row["removable"], row["removed"]) == ("1437", "1440 ± 6")
    assert row["residual"].startswith("0.375 ± ") and row["residual"].endswith(" (n = 2)")
