"""Which setting of a method scored best, from the records of a tuning sweep."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.data import run_table
from unsir_bench.report.tables.tuning import main, tuning_rows


def record(
    method: str, rate: float, forget: float, retain: float, *, status: str = "done", classes: tuple[int, ...] = (0,)
) -> RunRecord:
    """A run whose retrained model scores 0 on the forget samples and 0.8 on the others."""
    metrics: dict[str, float | int | None] = {
        "acc_forget_test": forget,
        "acc_retain_test": retain,
        "retrain_acc_forget_test": 0.0,
        "retrain_acc_retain_test": 0.8,
    }
    return RunRecord(
        run_id=f"{method}-{rate}-{len(classes)}",
        sweep="tuning",
        method=method,
        dataset="digits",
        model="allcnn_slim",
        seed=100,
        config={"method": {"name": method, "train": {"lr": rate}}},
        status=status,
        forget_set="single" if len(classes) == 1 else "pair",
        forget_classes=list(classes),
        metrics=metrics if status == "done" else {},
    )


def both(method: str, rate: float, first: tuple[float, float], second: tuple[float, float]) -> list[RunRecord]:
    """The runs of one setting on one and on two classes."""
    return [record(method, rate, *first), record(method, rate, *second, classes=(1, 2))]


def rows_of(records: list[RunRecord]) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["method"], row["setting"]): row for row in tuning_rows(run_table(records))}


# Scores by hand, (1 − |A_Df − 0|)(1 − |A_Dr − 0.8|): 1 · 1 = 1 and 0.5 · 0.9 = 0.45, mean 0.725;
# 0.9 · 0.8 = 0.72 and 0.75 · 1 = 0.75, mean 0.735; being above the retrained model costs as much as being below.
RECORDS = [
    *both("finetune", 0.1, (0.0, 0.8), (0.5, 0.7)),
    *both("finetune", 0.2, (0.1, 0.6), (0.25, 0.8)),
    *both("neggrad", 0.1, (0.0, 1.0), (0.0, 0.6)),
    *both("neggrad", 0.2, (1.0, 0.8), (0.2, 0.8)),
]


def test_scores_by_hand() -> None:
    rows = rows_of(RECORDS)
    assert {key: (row["score"], row["A_Df %"], row["A_Dr %"], row["n"]) for key, row in rows.items()} == {
        ("finetune", "lr=0.1"): ("0.7250", "25.00", "75.00", "2"),
        ("finetune", "lr=0.2"): ("0.7350", "17.50", "70.00", "2"),
        ("neggrad", "lr=0.1"): ("0.8000", "0.00", "80.00", "2"),
        ("neggrad", "lr=0.2"): ("0.4000", "60.00", "80.00", "2"),
    }


def test_the_score_is_the_mean_of_scores_and_not_the_score_of_means() -> None:
    """Retain accuracies 0.2 above and 0.2 below: their mean has no gap, yet neither run is like retraining."""
    assert rows_of(RECORDS)["neggrad", "lr=0.1"]["score"] == "0.8000"


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_each_method_is_marked_whatever_the_order_of_records(seed: int) -> None:
    records = random.Random(seed).sample(RECORDS, len(RECORDS))
    assert {key for key, row in rows_of(records).items() if row["best"] == "best"} == {
        ("finetune", "lr=0.2"),
        ("neggrad", "lr=0.1"),
    }


def test_settings_that_score_alike_are_all_best() -> None:
    """0.1 below and 0.1 above the retrained model are equally far from it, whatever the last bits say."""
    rows = rows_of(
        [record("ssd", rate, 0.0, retain) for rate, retain in ((0.1, 0.7), (0.2, 0.9), (0.3, 0.95))],
    )
    assert {key: (row["score"], row["best"]) for key, row in rows.items()} == {
        ("ssd", "lr=0.1"): ("0.9000", "best"),
        ("ssd", "lr=0.2"): ("0.9000", "best"),
        ("ssd", "lr=0.3"): ("0.8500", ""),
    }


@pytest.mark.parametrize("status", ["failed", "diverged", "skipped"])
def test_a_run_that_did_not_finish_scores_nothing(status: str) -> None:
    """1 and 0 make 0.5, less than 0.6 on both forget sets: half a success is no success."""
    rows = rows_of(
        [
            record("neggrad", 0.1, 0.0, 0.8),
            record("neggrad", 0.1, 0.0, 0.8, status=status, classes=(1, 2)),
            *both("neggrad", 0.2, (0.4, 0.8), (0.4, 0.8)),
        ]
    )
    assert {key: (row["score"], row["n"], row["best"]) for key, row in rows.items()} == {
        ("neggrad", "lr=0.1"): ("0.5000", "2", ""),
        ("neggrad", "lr=0.2"): ("0.6000", "2", "best"),
    }


def test_a_diverged_run_that_left_accuracies_scores_nothing() -> None:
    broken = record("neggrad", 0.1, 0.0, 0.8)
    broken.status = "diverged"
    rows = rows_of([broken, record("neggrad", 0.2, 0.9, 0.8)])
    assert rows["neggrad", "lr=0.1"]["score"] == "0.0000"
    assert rows["neggrad", "lr=0.2"]["best"] == "best"


def test_a_method_that_never_finished_keeps_its_rows_and_scores_nothing() -> None:
    failed = [record("scrub", rate, 0.0, 0.8, status="failed") for rate in (0.1, 0.2)]
    rows = rows_of([*RECORDS, *failed])
    assert {key: row["score"] for key, row in rows.items() if key[0] == "scrub"} == {
        ("scrub", "lr=0.1"): "0.0000",
        ("scrub", "lr=0.2"): "0.0000",
    }
    assert rows["finetune", "lr=0.2"]["best"] == rows["neggrad", "lr=0.1"]["best"] == "best"


def test_the_command_prints_the_table_and_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in RECORDS:
        one.write(tmp_path / one.run_id)
    monkeypatch.setattr("sys.argv", ["tuning", str(tmp_path)])
    main()
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (tmp_path / "tuning.md").read_text(encoding="utf-8").splitlines()
    ]
    titles, _, *body = lines
    found: list[dict[str, Any]] = [dict(zip(titles, cells, strict=True)) for cells in body]
    assert found == tuning_rows(run_table(RECORDS))
    assert len(found) == 4
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("lr=0.2", "0.7350", "best", tmp_path.name))


def test_nothing_finished_marks_nothing_best() -> None:
    failed = [record("scrub", rate, 0.0, 0.8, status="failed") for rate in (0.1, 0.2)]
    assert all(
        row["best"] == "" and "nan" not in row.values()
        for row in rows_of([*RECORDS, *failed]).values()
        if row["method"] == "scrub"
    )


def test_a_sweep_without_gaps_has_no_tuning_table() -> None:
    assert tuning_rows(run_table([])) == []
