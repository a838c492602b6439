"""Hardware settings that change numbers, side by side: each method is compared with the retraining of its own."""

from __future__ import annotations

from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.leaderboard.boards import boards
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.paper import cells

# Retraining keeps 90 % without flushing and 60 % with it: "near" is 1 point off its own, "far" 9 points.
RETAINED = {False: {"retrain": 0.9, "near": 0.89, "far": 0.81}, True: {"retrain": 0.6, "near": 0.61, "far": 0.69}}


def run(method: str, seed: int, flushed: bool) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": f"{method}-{seed}-{flushed}", "sweep": "s", "method": method, "dataset": "digits", "model": "net",
        "seed": seed, "status": "done", "forget_set": "single", "forget_classes": [0], "forget_steps": [[0]],
        "config": {"method": {"name": method}, "hardware": {"flush_denormal": flushed}},
        "metrics": {"acc_retain_test": RETAINED[flushed][method], "acc_forget_test": 0.0},
        "details": {"samples": {"retain_test": 9000, "forget_test": 1000}},
    }  # fmt: skip
    return RunRecord(**fields)


@pytest.fixture
def records() -> list[RunRecord]:
    return [run(method, seed, flushed) for flushed in RETAINED for method in RETAINED[flushed] for seed in (0, 1)]


def test_the_best_is_nearest_to_the_retraining_of_its_own_hardware(records: list[RunRecord]) -> None:
    [table] = comparison_tables("s", records)
    bold = [(line["method"].words, line["setting"].words) for line in cells(table) if line["A_Dr %"].bold]
    assert sorted(bold) == [("near", f"hardware.flush_denormal={flushed}") for flushed in (False, True)]


def test_distances_on_the_leaderboard_are_to_the_retraining_of_the_own_hardware(records: list[RunRecord]) -> None:
    [board] = boards(records)
    found = {(each.name, each.setting[-5:].strip("=")): each.distance.split(" ")[0] for each in board.methods
             if each.name != "retrain"}  # fmt: skip
    assert found == {("near", "False"): "0.50", ("near", "True"): "0.50", ("far", "False"): "4.50",
                     ("far", "True"): "4.50"}  # fmt: skip
    assert [each.name for each in board.methods[-4:]] == ["near", "near", "far", "far"]


def test_a_retrained_model_made_elsewhere_is_no_baseline(records: list[RunRecord]) -> None:
    own = [one for one in records if one.method != "retrain" and "False" in one.run_id]
    foreign = [run("far", seed, False) for seed in (0, 1)]
    for one in foreign:
        one.run_id, one.checkpoints = f"foreign-{one.seed}", {"original": "o", "retrain": "r", "unlearned": "u"}
        one.metrics |= {"retrain_acc_retain_test": 0.3, "retrain_acc_forget_test": 0.0}
    [table] = comparison_tables("s", [*foreign, *own])
    assert [line["method"].words for line in cells(table) if line["A_Dr %"].bold] == []
