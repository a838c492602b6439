"""The one table: which runs are the same experiment, whose retraining and whose Fisher run a run is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.data import SECOND_RETRAIN, model_table, run_table, series_of
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.standard_columns import with_standard_columns
from unsir_bench.report.tables.table import summary

METRICS = {
    "acc_forget_test": 0.25, "acc_retain_test": 0.75, "original_acc_forget_test": 0.875,
    "original_acc_retain_test": 0.9375, "retrain_acc_forget_test": 0.125, "retrain_acc_retain_test": 0.875,
    "unlearn_seconds": 2.0, "retrain_seconds": 16.0,
}  # fmt: skip


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    own_metrics = changes.pop("metrics", {})
    metrics = {**METRICS, **own_metrics} if status == "done" else {}
    config = {"method": {"name": method, **changes.pop("own", {})}, **changes.pop("config", {})}
    fields: dict[str, Any] = {"dataset": "digits", "model": "allcnn", "forget_classes": [0], **changes}
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, seed=seed, status=status, forget_set="single",
        metrics=metrics, **{"config": config, **fields},
    )  # fmt: skip


def timed(method: str, seconds: float, seed: int = 0, **changes: Any) -> RunRecord:
    return record(method, seed, metrics={"unlearn_seconds": seconds}, **changes)


def over_fisher(*records: RunRecord) -> list[float]:
    """The speed-ups over Fisher of the runs themselves."""
    table = model_table(records)
    found = table.get("speedup_vs_fisher")
    return [float("nan")] * len(records) if found is None else found[table["prefix"] == ""].tolist()


# Fisher


def test_the_speed_up_over_fisher_pairs_runs_of_the_same_seed_and_forget_set() -> None:
    """Fisher took 60 s and 30 s, and 100 s on two classes; UNSIR 2 s, 3 s and 4 s: 30, 10 and 25 times."""
    pair: dict[str, Any] = {"forget_classes": [1, 2]}
    found = over_fisher(
        timed("unsir", 2, 0), timed("unsir", 3, 1), timed("unsir", 4, 0, **pair),
        timed("fisher", 60, 0), timed("fisher", 30, 1), timed("fisher", 100, 0, **pair),
    )  # fmt: skip
    assert found == pytest.approx([30, 10, 25, 1, 1, 1])


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"dataset": "cifar10"}, {"model": "resnet"}, {"forget_classes": [3]},
     {"environment": {"device": "cpu", "threads": 9}}, {"config": {"train": {"epochs": 3}}},
     {"config": {"dataset": {"subset": 10}}}, {"config": {"hardware": {"precision": "bf16"}}},
     {"fingerprints": {"data": "another"}}, {"own": {"labels": "mc"}}, {"status": "failed"}],
    ids=str,
)  # fmt: skip
def test_a_fisher_run_of_another_experiment_or_of_drawn_labels_is_no_partner(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"config": {"train": {"epochs": 2}, "hardware": {"precision": "fp32"}},
                            "fingerprints": {"data": "digits"}}  # fmt: skip
    partner = timed("fisher", 60, own={"labels": "exact"}, **base)
    assert over_fisher(timed("unsir", 2, **base), partner)[0] == 30
    other = timed("fisher", 100, **{**base, **change})
    alone = model_table([timed("unsir", 2, **base), other]).set_index("run_id")
    assert "speedup_vs_fisher" not in alone or alone["speedup_vs_fisher"].isna()["unsir-0"]
    # Beside the true partner it must not shift the mean either.
    assert over_fisher(timed("unsir", 2, **base), partner, other)[0] == 30


def test_two_settings_of_the_exact_fisher_run_are_compared_with_by_their_mean_time() -> None:
    """(20 + 60) / 2 = 40 s over 2 s; the estimate with drawn labels, of 4 s, takes no part."""
    fishers = [timed("fisher", 20, own={"alpha": 1}), timed("fisher", 60, own={"alpha": 2, "labels": "exact"})]
    assert over_fisher(timed("unsir", 2), *fishers, timed("fisher", 4, own={"alpha": 1, "labels": "mc"}))[0] == 20


def test_the_original_has_no_speed_up_over_fisher_even_where_it_was_swept() -> None:
    table = model_table([timed("original", 1e-6), timed("fisher", 60)])
    shown = dict(zip(table["method"], table["speedup_vs_fisher"].isna(), strict=True))
    assert shown == {"original": True, "fisher": False, "retrain": False}


@pytest.mark.parametrize("status", ["failed", "skipped", "diverged", None])
def test_without_a_finished_fisher_run_there_is_no_such_column(status: str | None) -> None:
    fisher = [record("fisher", status=status)] if status else []
    assert "speedup_vs_fisher" not in model_table([timed("unsir", 2), *fisher])


# References


def test_each_reference_is_a_row_once_a_seed_whichever_runs_measured_it() -> None:
    floor = {"floor_acc_retain_test": 0.86, "floor_gap_acc_retain_test": -0.015}
    table = model_table([record(seed=0), record("finetune", metrics=floor), record(seed=1)])
    counts = table.groupby("method").size().to_dict()
    assert counts == {"unsir": 2, "finetune": 1, "original": 2, "retrain": 2, SECOND_RETRAIN: 1}
    [second] = table[table["method"] == SECOND_RETRAIN].to_dict("records")
    assert (second["acc_retain_test"], second["seed"]) == (0.86, 0)
    assert SECOND_RETRAIN not in {one.method for one in series_of(table)}


def test_references_stand_beside_methods_that_forget_samples_whose_a_df_is_null() -> None:
    """Where samples are forgotten no test sample is; A_Df is null for every model, original and retrain included."""
    nulls = {name: None for name in METRICS if name.endswith("acc_forget_test")}
    samples: dict[str, Any] = {"forget_classes": [], "config": {"forget": {"share": 0.1}}, "metrics": nulls}
    rows = {row["method"]: row for row in summary(model_table([record(**samples)]))}
    assert rows["retrain"]["A_Dr %"] == "87.50" and rows["original"]["A_Dr %"] == "93.75"
    table = model_table([record(**samples), record()])
    shown = [(one.place.forget, one.method) for one in series_of(table)]
    methods = ("original", "retrain", "unsir")
    assert shown == [
        *(("single {0}", each) for each in methods),
        *(("single (0.1, drawn by seed)", each) for each in methods),
    ]


def test_a_reference_without_a_df_is_left_out_where_others_have_it() -> None:
    alone = record(metrics={"retrain_acc_forget_test": None})
    assert [one.method for one in series_of(model_table([alone]))] == ["original", "unsir"]
    assert series_of(model_table([])) == []


def test_a_reference_has_its_accuracies_gaps_costs_and_details() -> None:
    details = {"retrain_relearn_curve": [[0, 0.5]], "relearn_curve": [[0, 0.1]]}
    table = model_table([record(details=details)]).set_index("method")
    assert table.loc["retrain", ["acc_retain_test", "gap_retain_test", "unlearn_seconds"]].tolist() == [
        0.875,
        0.0,
        16.0,
    ]
    assert table.loc["retrain", "speedup_vs_retrain"] == 1.0
    assert table.loc["original", "gap_forget_test"] == 0.75
    assert table.loc["retrain", "details"] == {"relearn_curve": [[0, 0.5]]}
    assert table["speedup_vs_retrain"].isna()["original"]


def test_retraining_for_a_sequence_costs_what_it_took_at_each_request() -> None:
    """As methods' seconds: 16 s are of the last request alone, 48 s of all three."""
    table = model_table([record(metrics={"retrain_seconds_so_far": 48.0, "speedup_vs_retrain": 24.0})])
    found = table.set_index("method")[["unlearn_seconds", "speedup_vs_retrain"]]
    assert found.loc[["unsir", "retrain"]].to_numpy().tolist() == [[2.0, 24.0], [48.0, 1.0]]


def test_a_swept_retraining_stands_for_the_reference_of_its_seed_alone() -> None:
    table = model_table([record(seed=0), record(seed=1), record("retrain", 0), record("retrain", 1, "failed")])
    retrained = table[(table["method"] == "retrain") & (table["status"] == "done")]
    assert sorted(zip(retrained["seed"], retrained["prefix"], strict=True)) == [(0, ""), (1, "retrain_")]


def test_trainings_that_differ_have_references_of_their_own() -> None:
    runs = [
        record(config={"train": {"epochs": epochs}}, metrics={"retrain_acc_retain_test": epochs / 10})
        for epochs in (2, 3)
    ]
    table = model_table(runs)
    assert {one.label for one in series_of(table) if not one.reference} == {
        "unsir (train.epochs=2)", "unsir (train.epochs=3)",
    }  # fmt: skip
    retrained = table[table["method"] == "retrain"].set_index("label")["acc_retain_test"]
    assert retrained.to_dict() == {"retrain (train.epochs=2)": 0.2, "retrain (train.epochs=3)": 0.3}


def test_runs_on_two_devices_are_two_rows_each_with_the_references_of_its_device() -> None:
    """The tables of a paper hold one device each and name it in their caption: no setting repeats it there."""
    accuracies = {"retrain_acc_retain_test": 1.0}
    runs = [
        record(seed=seed, environment={"device": device}, metrics=accuracies | {"acc_retain_test": kept})
        for seed, (device, kept) in enumerate((("cpu", 0.5), ("cpu", 0.75), ("A GPU", 0.25)))
    ]
    found = {one.label: one.values["acc_retain_test"].tolist() for one in series_of(model_table(runs))}
    assert (found["unsir (device=cpu)"], found["unsir (device=A GPU)"]) == ([0.5, 0.75], [0.25])
    assert (found["retrain (device=cpu)"], found["retrain (device=A GPU)"]) == ([1, 1], [1])
    tables = comparison_tables("s", runs)
    assert [{row.setting for row in table.rows} for table in tables] == [{""}, {""}]
    assert {one.label for one in series_of(model_table(runs[:2]))} == {"original", "retrain", "unsir"}


def test_a_run_that_does_not_say_its_device_takes_nothing_from_those_that_do() -> None:
    runs = [record(seed=seed, environment={"device": device}) for seed, device in enumerate(("cpu", "A GPU"))]
    labels = [one.label for one in series_of(model_table([*runs, record(seed=2)])) if one.method == "unsir"]
    assert labels == ["unsir", "unsir (device=A GPU)", "unsir (device=cpu)"]
    assert {one.label for one in series_of(model_table([runs[0], record(seed=2)]))} == {"original", "retrain", "unsir"}


# Runs


def test_the_run_table_has_one_row_per_run_and_none_for_references() -> None:
    table = run_table([record(), record("fisher", status="failed", access={"forget": {"samples": 7}})])
    assert table["status"].tolist() == ["done", "failed"]
    assert table["acc_retain_test"].isna().tolist() == [False, True]
    assert table["gap_forget_test"].tolist()[0] == 0.125
    assert table["forget_samples_touched"].tolist()[1] == 7


def test_a_sequence_has_a_row_after_each_step() -> None:
    steps = [{"classes": [label], "metrics": {**METRICS, "acc_forget_test": label / 10}} for label in (3, 1)]
    table = model_table([record(forget_classes=[3, 1], forget_steps=[[3], [1]], details={"steps": steps})], steps=True)
    own = table[table["prefix"] == ""]
    assert own["forget"].tolist() == ["single {3}, {1}, after 1: {3}", "single {3}, {1}, after 2: {1, 3}"]
    assert own["acc_forget_test"].tolist() == [0.3, 0.1]
    assert (table["method"] == "retrain").sum() == 2


def test_the_last_step_of_a_sequence_keeps_how_many_test_samples_there_are() -> None:
    """0 of 72 on both seeds: Clopper-Pearson, 1 - 0.025^(1/72), is 4.99 %."""
    steps = [{"classes": [label], "metrics": {**METRICS, "acc_forget_test": 0.0}} for label in (3, 1)]
    details = {"steps": steps, "samples": {"forget_test": 72, "retain_test": 288}}
    runs = [record(seed=seed, forget_classes=[3, 1], forget_steps=[[3], [1]], details=details) for seed in (0, 1)]
    own = [row for row in summary(model_table(runs, steps=True)) if row["method"] == "unsir"]
    assert [row["A_Df %"] for row in own] == ["0.00 [0.00, 36.94]", "0.00 [0.00, 4.99]"]


def test_no_record_makes_no_series() -> None:
    assert series_of(model_table([])) == []


@pytest.mark.filterwarnings("error")
def test_records_of_hundreds_of_metrics_are_tabled_without_a_warning() -> None:
    names = [f"{prefix}metric_{number}" for prefix in ("", "original_", "retrain_") for number in range(150)]
    wide = {name: number / 1000 if number % 2 else number for number, name in enumerate(names)}
    nulls = dict.fromkeys(names[:300:2])
    runs = [record(seed=0, metrics=wide), record(seed=1, metrics=wide | nulls)]
    table = with_standard_columns(model_table(runs))
    assert table["metric_0"].dtype == float
    assert set(table["metric_149"]) == {0.149, 0.299, 0.449}
