"""A run that was killed, or failed early, knows little of itself: it stands beside the finished runs alike."""

from __future__ import annotations

from typing import Any

import pytest

from tests.report.claims.claim_records import REFERENCES, finding
from unsir_bench.records import RunRecord
from unsir_bench.report.forget_words import forget_labels
from unsir_bench.report.leaderboard.boards import boards
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.paper import not_done_words

FORGET = {"name": "single", "classes": [0]}


def run(method: str, seed: int, **changes: Any) -> RunRecord:
    metrics = {**REFERENCES, "acc_retain_test": 0.8, "acc_forget_test": 0.0}
    fields: dict[str, Any] = {
        "run_id": f"{method}-{seed}", "sweep": "s", "method": method, "dataset": "cifar10_jpeg",
        "model": "resnet18_slim", "seed": seed, "status": "done", "forget_set": "single", "forget_classes": [0],
        "forget_steps": [[0]], "config": {"method": {"name": method}, "forget": FORGET}, "metrics": metrics,
        "environment": {"device": "cpu"}, "fingerprints": {"data": "1" * 16},
        "details": {"samples": {"retain_test": 9000, "forget_test": 1000}},
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def killed(method: str, seed: int, **changes: Any) -> RunRecord:
    """What the parent writes of it: its configuration and how it ended."""
    return run(method, seed, status="failed", **{
        "forget_classes": [], "forget_steps": [], "metrics": {}, "environment": {}, "fingerprints": {}, "details": {},
        **changes,
    })  # fmt: skip


@pytest.fixture
def records() -> list[RunRecord]:
    return [*(run(method, seed) for method in ("unsir", "finetune") for seed in (0, 1)), killed("unsir", 2)]


def test_a_killed_run_stands_in_the_table_of_the_finished_ones(records: list[RunRecord]) -> None:
    [table] = comparison_tables("s", records)
    assert table.conditions.words == "JPEG copies of the images, device cpu"
    assert {row.method: not_done_words(row) for row in table.rows}["unsir"] == "1 failed"


def test_a_killed_run_is_not_done_on_the_leaderboard_and_in_claims(records: list[RunRecord]) -> None:
    [board] = boards(records)
    assert {method.name: method.cells["not done"] for method in board.methods}["unsir"] == "1 failed"
    found = finding("forgets", records)
    assert [str(each) for each in found.not_done] != []


def test_a_killed_run_is_of_no_device_where_the_finished_ones_ran_on_two() -> None:
    both = [run("unsir", seed, run_id=f"{device}-{seed}", environment={"device": device})
            for device in ("cpu", "cuda") for seed in (0, 1)]  # fmt: skip
    assert len(comparison_tables("s", [*both, killed("unsir", 2)])) == 3


@pytest.mark.parametrize(
    ("forget", "known", "label"),
    [
        ({"classes": ["cat", "dog"]}, {"forget_classes": [5, 3], "forget_steps": [[5, 3]]}, "single {3, 5}"),
        ({"classes": ["cat"]}, None, "single {cat}"),
        ({"classes": [4, 1]}, None, "single {1, 4}"),
        ({"sequence": [[0], [2, 1]]}, None, "single {0}, {1, 2}"),
        ({}, None, "single {}"),
    ],
)
def test_a_run_that_failed_before_its_classes_were_known_forgets_those_of_its_configuration(
    forget: dict[str, Any], known: dict[str, Any] | None, label: str
) -> None:
    config = {"method": {"name": "unsir"}, "forget": forget}
    finished = [run("unsir", 0, config=config, **known)] if known else []
    assert forget_labels([*finished, killed("unsir", 2, config=config)]) == [label] * (1 + len(finished))
