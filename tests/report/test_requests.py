"""Requests over time in reports: each request's share of the seconds, and the deletion capacity, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import scenes
from unsir_bench.report.figures.requests import REQUESTS
from unsir_bench.report.requests import deletion_capacity, request_table
from unsir_bench.report.tables.paper import write_tables
from unsir_bench.report.tables.requests import capacity_rows, request_rows


def step(retain: float, retrained: float | None, seconds: float, samples: int = 10) -> dict[str, Any]:
    metrics = {
        "acc_retain_test": retain, "retrain_acc_retain_test": retrained, "mia_loss_accuracy": 0.5,
        "unlearn_seconds": seconds, "retrain_seconds": 100.0, "acc_forget_test": None,
    }  # fmt: skip
    return {"classes": [], "request": f"count={samples}", "samples": samples, "metrics": metrics}


def record(method: str, steps: list[dict[str, Any]], seed: int = 0) -> RunRecord:
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, dataset="digits", model="net", seed=seed, status="done",
        forget_set="sequence", forget_steps=[[] for _ in steps], metrics=steps[-1]["metrics"], details={"steps": steps},
        config={"forget": {"sequence": [{"count": each["samples"]} for each in steps]}},
    )  # fmt: skip


HARMED = [step(0.90, 0.91, 2.0), step(0.89, 0.91, 5.0), step(0.70, 0.90, 9.0), step(0.90, 0.90, 10.0)]


def test_each_request_has_its_own_seconds_and_all_samples_so_far() -> None:
    table = request_table([record("ssd", HARMED)])
    assert table["seconds"].tolist() == [2.0, 3.0, 4.0, 1.0]
    assert table["seconds_so_far"].tolist() == [2.0, 5.0, 9.0, 10.0]
    assert table["samples"].tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (HARMED, (2, 20, 4)),  # 0.89 is on the margin of two points; what recovers later does not count
        (HARMED[:2], (2, 20, 2)),
        ([step(0.5, 0.9, 1.0)], (0, 0, 1)),
        ([step(0.99, 0.9, 1.0, 7)], (1, 7, 1)),  # better than retraining is no harm
        ([step(0.9, 0.9, 1.0), step(0.9, None, 2.0)], None),
    ],
)
def test_the_deletion_capacity_by_hand(steps: list[dict[str, Any]], expected: tuple[int, int, int] | None) -> None:
    assert deletion_capacity(request_table([record("ssd", steps)])) == expected


def test_the_capacity_of_a_method_is_the_least_over_seeds_and_the_rows_are_means() -> None:
    runs = [record("ssd", HARMED), record("ssd", HARMED[:2] * 2, seed=1)]
    [row] = capacity_rows(runs)
    assert (row["deletion capacity"], row["samples"], row["n"]) == ("2 of 4 requests", "20", "2")
    rows = request_rows(runs)
    assert [each["request"] for each in rows] == [f"{place}: count=10" for place in (1, 2, 3, 4)]
    assert rows[2]["A_Dr %"].startswith("80.00 ±") and rows[2]["samples so far"].startswith("30")


def test_a_capacity_that_not_all_seeds_know_says_how_many_do() -> None:
    unknown = [step(0.5, None, 1.0), step(0.5, None, 2.0)]
    [row] = capacity_rows([record("ssd", HARMED[:2]), *(record("ssd", unknown, seed) for seed in (1, 2))])
    assert (row["n"], row["deletion capacity"]) == ("3", "2 of 2 requests (1 of 3 seeds)")
    [row] = capacity_rows([record("ssd", unknown), record("ssd", unknown, seed=1)])
    assert (row["n"], row["deletion capacity"]) == ("2", "–")


def test_shares_of_each_request_have_intervals_as_its_own_samples_allow() -> None:
    """0 of 10 samples, then of 20: up to 1 - 0.025 ** (1 / 10) and 1 - 0.025 ** (1 / 20)."""
    steps = [step(1.0, 1.0, 2.0), step(1.0, 1.0, 5.0)]
    for each in steps:
        each["metrics"]["acc_forget_train"] = 0.0
    runs = [record("ssd", steps, seed) for seed in (0, 1)]
    for run in runs:
        run.details["samples"] = {"forget_train": 20, "retain_test": 10}
    first, second = request_rows(runs)
    assert (first["A_Df train %"], second["A_Df train %"]) == ("0.00 [0.00, 30.85]", "0.00 [0.00, 16.84]")
    assert first["A_Dr %"] == first["retrain's"] == "100.00 [69.15, 100.00]"
    assert (first["MIA (loss) %"], first["seconds"]) == ("50.00 ± 0.00", "2.00 ± 0.00")


def test_reports_have_requests_where_a_run_served_several_alone(tmp_path: Path) -> None:
    alone = RunRecord(run_id="x", sweep="s", method="ssd", dataset="d", model="m", seed=0, status="done", config={})
    assert request_rows([alone]) == [] == capacity_rows([alone])
    write_tables({"s": [record("ssd", HARMED), record("finetune", HARMED[:2])]}, tmp_path)
    text = (tmp_path / "requests.md").read_text()
    assert "2 of 4 requests" in text and "2 of 2 requests" in text and text.count("count=10") == 6
    [scene] = scenes("s", [record("ssd", HARMED)])
    [drawing] = REQUESTS.draw(scene)
    assert drawing.data["acc_retain_test"].tolist() == [0.90, 0.89, 0.70, 0.90]


def test_requests_that_several_commits_served_are_marked() -> None:
    runs = [record("ssd", HARMED, seed) for seed in (0, 1)]
    for run in runs:
        run.environment = {"commit": str(run.seed)}
    assert {row["mixes"] for row in (*request_rows(runs), *capacity_rows(runs))} == {"2 commits"}
    assert all("mixes" not in row for row in (*request_rows(runs[:1]), *capacity_rows(runs[:1])))
