"""Two records of one seed count once: in tables, in series of figures, in verdicts and in claims."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.claims.check import evaluate
from unsir_bench.report.claims.definitions import read_claims
from unsir_bench.report.data import model_table, run_table, series_of
from unsir_bench.report.seeds import one_per_seed, seed_values, spread_within_seeds
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.metrics import metric_tables
from unsir_bench.report.tables.paper import as_markdown
from unsir_bench.report.tables.table import summary
from unsir_bench.report.tables.verdicts import verdict_rows


def record(seed: int, acc: float, name: str = "", classes: tuple[int, ...] = (1, 2), **config: Any) -> RunRecord:
    metrics = {
        "acc_forget_test": acc, "acc_retain_test": 0.9, "original_acc_forget_test": 0.9,
        "original_acc_retain_test": 0.92, "retrain_acc_forget_test": 0.0, "retrain_acc_retain_test": 0.9,
        "gap_acc_forget_test": acc,
    }  # fmt: skip
    return RunRecord(
        run_id=f"unsir-{seed}{name}", sweep="s", method="unsir", dataset="digits", model="net", seed=seed,
        config={"method": {"name": "unsir"}, **config}, status="done", forget_set="pair",
        forget_classes=list(classes), forget_steps=[list(classes)], metrics=metrics,
    )  # fmt: skip


# Seed 0 was recorded three times: averaged it is 0.2, and the mean over seeds (0.2 + 0.4) / 2 = 0.3.
TWICE: dict[str, dict[str, Any]] = {
    "another metrics preset": {"metrics": {"name": "full"}},
    "classes by name": {"forget": {"classes": ["one", "two"]}},
    "another order of classes": {"classes": (2, 1)},
    "withheld": {"withheld": ["forget_data"]},
    "another unlearning seed": {"unlearn_seed": 1},
}


@pytest.fixture(params=TWICE.values(), ids=TWICE.keys())
def records(request: pytest.FixtureRequest) -> list[RunRecord]:
    again = [record(0, acc, f"-{acc}", **request.param) for acc in (0.15, 0.35)]
    return [record(0, 0.1), *again, record(1, 0.4)]


def test_tables_average_within_a_seed_and_count_seeds(records: list[RunRecord]) -> None:
    [row] = [row for row in summary(model_table(records)) if row["method"] == "unsir"]
    assert row["n"] == "2" and row["A_Df %"].startswith("30.00 ±")
    # Squares about the mean 0.2: 0.01 + 0.0025 + 0.0225 = 0.035, of two degrees of freedom.
    assert row["sd within seeds"] == "A_Df 13.23"
    [table] = comparison_tables("s", records)
    [row_of_paper] = [row for row in table.rows if row.method == "unsir"]
    assert (row_of_paper.n, sorted(row_of_paper.values("acc_forget_test"))) == (2, pytest.approx([0.2, 0.4]))
    assert "unsir (n = 2)" in metric_tables(records)


def test_figures_verdicts_and_claims_count_seeds(records: list[RunRecord]) -> None:
    [series] = [one for one in series_of(model_table(records)) if one.method == "unsir"]
    assert sorted(series.values["acc_forget_test"]) == pytest.approx([0.2, 0.4])
    [verdict] = verdict_rows(run_table(records))
    assert verdict["n"] == "2"
    found = {finding.claim: finding for finding in evaluate(records, read_claims()) if finding.dataset}
    assert (found["forgets"].n, found["forgets"].number) == (2, pytest.approx(0.3))


def test_single_records_keep_their_rows_and_bits() -> None:
    models = pd.DataFrame({"seed": [3, 1], "acc": [0.1, 0.2]})
    assert one_per_seed(models) is models
    assert spread_within_seeds(models, "acc") is None and spread_within_seeds(models, "absent") is None


def test_a_relearn_time_is_the_median_of_a_seeds_records_and_censored_where_that_is() -> None:
    seeds: dict[int, list[float | None]] = {  # None: the cap was reached first
        0: [10, None], 1: [20], 2: [30, None, 10], 3: [None, 10, None], 4: [10, 20, 60], 5: [None, None],
    }  # fmt: skip
    rows = [(seed, time, int(time is None), f"{seed}") for seed, times in seeds.items() for time in times]
    rows += [(6, None, None, "6"), (6, None, None, "6")]  # not measured
    models = pd.DataFrame(rows, columns=["seed", "relearn_batches", "relearn_censored", "words"])
    merged = one_per_seed(models.astype({"relearn_batches": float, "relearn_censored": float})).fillna(-1)
    assert merged["relearn_batches"].tolist() == [-1, 20, 30, -1, 20, -1, -1]
    assert merged["relearn_censored"].tolist() == [1, 0, 0, 1, 0, 1, -1]
    assert merged["words"].tolist() == ["0", "1", "2", "3", "4", "5", "6"]


def test_an_anamnesis_index_is_the_median_of_a_seeds_records_and_none_where_that_is_censored() -> None:
    """Draws of 50, 60 and over 200 batches, and of 50 and twice over 200; retrain's time is 100, or over 200."""
    draws: dict[int, list[float | None]] = {0: [0.5, 0.6, None], 1: [0.5, None, None], 2: [None, None, None]}
    rows = [(seed, index, int(index is None and seed < 2), int(seed == 2)) for seed in draws for index in draws[seed]]
    columns = ["seed", "anamnesis_index", "relearn_censored", "retrain_relearn_censored"]
    merged = one_per_seed(pd.DataFrame(rows, columns=columns))
    assert merged["anamnesis_index"].fillna(-1).tolist() == [0.6, -1, -1]
    assert one_per_seed(pd.DataFrame([[0, 0.5, 0, 1], [0, 0.7, 0, 1]], columns=columns))["anamnesis_index"].isna().all()


def test_speed_ups_of_one_seed_have_their_geometric_mean_in_tables_and_claims() -> None:
    """Eight times as fast and eight times as slow."""
    runs = [record(0, 0.1, f"-{ratio}", unlearn_seed=place) for place, ratio in enumerate((8.0, 1 / 8))]
    for run, ratio in zip(runs, (8.0, 1 / 8), strict=True):
        run.metrics |= {"speedup_vs_retrain": ratio, "unlearn_seconds": 1.0}
    [row] = [row for row in summary(model_table(runs)) if row["method"] == "unsir"]
    assert row["speed-up"] == "1.00"
    found = {finding.claim: finding for finding in evaluate(runs, read_claims()) if finding.dataset}
    assert found["faster_than_retrain"].number == pytest.approx(1.0)


def test_values_by_seed_leave_out_seeds_without_a_number() -> None:
    models = pd.DataFrame({"seed": [0, 0, 1, 2], "x": [1.0, 3.0, None, 5.0]})
    assert seed_values(models, "x") == {0: 2.0, 2: 5.0} and seed_values(models, "y") == {}


def test_tables_give_accuracies_no_narrower_an_interval_than_their_images() -> None:
    few = [record(seed, 0.0) for seed in range(3)]
    for run in few:
        run.details = {"samples": {"forget_test": 10, "retain_test": 100_000}}
    [row] = [row for row in summary(model_table(few)) if row["method"] == "unsir"]
    assert row["A_Df %"] == "0.00 [0.00, 30.85]"
    [table] = comparison_tables("s", few)
    assert "0.00 [0.00, 30.85]" in as_markdown(table).replace("\\", "")
    [spread] = [row for row in summary(model_table([record(0, 0.1), record(1, 0.4)])) if row["method"] == "unsir"]
    assert "±" in spread["A_Df %"]


def test_of_records_of_one_seed_the_one_with_a_relearning_curve_tells_it() -> None:
    """A run with metrics=fast beside one with all of them: its cap of 0 batches must not stand for the other's 50."""
    fast = record(0, 0.1, metrics={"relearn": {"cap": 0}})
    full = record(0, 0.1, "-full", metrics={"relearn": {"cap": 50}})
    full.metrics |= {
        "relearn_batches": None, "relearn_censored": 1, "retrain_relearn_batches": 40, "retrain_relearn_censored": 0,
    }  # fmt: skip
    full.details = {"relearn_curve": [[0, 0.0], [50, 0.2]], "retrain_relearn_curve": [[0, 0.0], [40, 0.8]]}
    text = metric_tables([fast, full])
    rows = {line.split(" | ")[0].lstrip("| "): line.strip("| ").split(" | ")[1:] for line in text.splitlines()}
    assert rows["relearn_batches"][-1] == ">50"
    # Linear to 0.16 after 40 batches: a mean of 0.08, of an original of 0.9.
    assert rows["relearn area / original's A_Df"][-1] == "0.09"
    assert rows["relearn batches to 95 % of retrain's plateau (median)"][1:] == ["40", ">50 (1 of 1 censored)"]
