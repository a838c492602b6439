"""The comparison table of a sweep: its rows, means and intervals, what is not done, and its files."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.report.tables.rows_of_records import METRICS, record, summary, with_accuracy
from unsir_bench.report.data import run_table
from unsir_bench.report.samples import INTERVALS
from unsir_bench.report.tables.comparison import comparison_tables
from unsir_bench.report.tables.guarantees import guarantee_legend
from unsir_bench.report.tables.paper import LEGEND, cells
from unsir_bench.report.tables.requests import LEGEND as REQUESTS_LEGEND
from unsir_bench.report.tables.stages import LEGEND as STAGES_LEGEND
from unsir_bench.report.tables.sweep import write_sweep_table


def test_a_row_shows_mean_interval_and_n_in_percent():
    many = {"samples": {"retain_test": 1_000_000}}
    (row,) = summary([with_accuracy(seed, value, details=many) for seed, value in enumerate([0.90, 0.92, 0.94])])
    # s = 2 %, half-width 4.30265 · 2 / √3 = 4.97.
    assert row["A_Dr %"] == "92.00 ± 4.97"
    assert row["A_Df %"] == "0.00 ± 0.00"
    assert row["seconds"] == "2.00 ± 0.00"
    assert row["n"] == "3"


def test_a_single_run_shows_no_interval():
    (row,) = summary([record()])
    assert row["A_Dr %"] == "90.00"
    assert row["n"] == "1"


# Rows


def test_each_data_set_model_forget_set_and_method_has_its_row():
    records = [
        record(),
        record(seed=1),
        record(dataset="cifar10"),
        record(model="resnet18"),
        record(forget_classes=[1]),
        record(forget_set="pair", forget_classes=[0, 1]),
        record(method="retrain"),
    ]
    rows = summary(records)
    assert len(rows) == 6
    assert sum(int(row["n"]) for row in rows) == 7
    assert {row["forget"] for row in rows} == {"single {0}", "single {1}", "pair {0, 1}"}


def test_references_stand_first_and_the_rest_by_name():
    methods = ["unsir_gentle", "finetune", "zeta", "unsir", "retrain", "amnesiac", "original"]
    rows = summary([record(method=method) for method in methods])
    assert [row["method"] for row in rows] == [
        "original", "retrain", "unsir", "finetune", "amnesiac", "unsir_gentle", "zeta",
    ]  # fmt: skip


@pytest.mark.parametrize("status", ["failed", "diverged", "skipped"])
def test_a_run_that_is_not_done_is_shown_and_kept_out_of_the_mean(status: str):
    broken = record(seed=9, status=status, metrics={"acc_retain_test": 0.0})
    (row,) = summary([with_accuracy(0, 0.9), with_accuracy(1, 0.9), broken])
    assert row["not done"] == f"1 {status}"
    assert row["n"] == "2"
    # Shares of 0.9, 0.92 and 0.93 are of 100 samples at least: the exact interval of 90 of them.
    assert row["A_Dr %"] == "90.00 [82.38, 95.10]"


def test_a_method_of_which_no_run_is_done_keeps_its_row():
    rows = summary(
        [record(), record("fisher", 0, "diverged"), record("fisher", 1, "failed"), record("fisher", 2, "failed")]
    )
    row = next(row for row in rows if row["method"] == "fisher")
    assert row["n"] == "0"
    assert row["A_Dr %"] == "–"
    assert set(row["not done"].split(", ")) == {"1 diverged", "2 failed"}


def test_a_sweep_in_which_nothing_is_done_still_has_a_table():
    (row,) = summary([record(status="failed")])
    assert (row["n"], row["not done"], row["seconds"]) == ("0", "1 failed", "–")


@pytest.mark.parametrize(
    ("section", "key", "values"),
    [("train", "epochs", (2, 3)), ("dataset", "subset", (10, 20)), ("model", "width", (4, 8)),
     ("hardware", "compile", (False, True))],
)  # fmt: skip
def test_runs_under_one_name_that_were_trained_otherwise_are_no_seeds_of_each_other(
    section: str, key: str, values: tuple[Any, Any]
):
    runs = [
        with_accuracy(seed, accuracy, config={section: {key: value}})
        for value, accuracies in zip(values, ((0.5, 0.6), (0.8, 0.9)), strict=True)
        for seed, accuracy in enumerate(accuracies)
    ]
    rows = {(row["method"], row["setting"]): row for row in summary(runs)}
    words = [f"{section}.{key}={value}" for value in values]
    assert {setting for _, setting in rows} == set(words)
    assert {row["n"] for row in rows.values()} == {"2"}
    assert [rows["unsir", each]["A_Dr %"].split()[0] for each in words] == ["55.00", "85.00"]


def test_a_field_that_only_newer_records_have_and_names_of_no_weight_set_nothing_apart():
    older, newer = {"train": {"name": "a", "epochs": 2}}, {"train": {"name": "b", "epochs": 2, "averaged": True}}
    [row] = [row for row in summary([record(seed=0, config=older), record(seed=1, config=newer)]) if row["n"] == "2"
             and row["method"] == "unsir"]  # fmt: skip
    assert "setting" not in row


def test_a_sequence_is_named_with_its_order():
    orders = ([[0], [1], [2]], [[2], [1], [0]], [[0, 1], [2]])
    runs = [record(seed=0, forget_set="sequence", forget_classes=[0, 1, 2], forget_steps=order) for order in orders]
    assert {row["forget"] for row in summary(runs)} == {
        "sequence {0}, {1}, {2}", "sequence {2}, {1}, {0}", "sequence {0, 1}, {2}",
    }  # fmt: skip


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_sweep_of_retrain_that_is_not_whole_hides_no_reference_that_runs_measured(status: str):
    references = {"retrain_acc_forget_test": 0.0, "original_acc_forget_test": 0.9}
    runs = [record(seed=seed, metrics={**METRICS, **references}) for seed in range(3)]
    [row] = [row for row in summary([*runs, record("retrain", 0, status)]) if row["method"] == "retrain"]
    assert row["n"] == "3"


def test_a_missing_metric_is_a_dash_not_a_zero():
    without = {key: value for key, value in METRICS.items() if key != "unlearn_seconds"}
    (row,) = summary([record(metrics={**without, "speedup_vs_retrain": None})])
    assert row["seconds"] == "–"
    assert row["speed-up"] == "–"
    assert row["A_Dr %"] == "90.00"


def test_the_null_speed_up_of_a_method_that_does_nothing_stays_null():
    """An older record that lacks the field has its ratio; the retrained model, which the run measured, has one too."""
    known = {key: value for key, value in METRICS.items() if key != "speedup_vs_retrain"} | {"retrain_seconds": 80.0}
    absent = record("older", metrics=known)
    rows = summary([absent, record(metrics={**known, "speedup_vs_retrain": None})])
    found = {row["method"]: row["speed-up"] for row in rows}
    assert (found["unsir"], found["older"]) == ("–", "40.00")


def test_every_row_has_the_same_columns():
    rows = summary([record(), record("fisher", status="failed")])
    assert list(rows[0]) == list(rows[1])


def test_no_record_makes_no_row():
    assert summary([]) == []


def test_runs_that_failed_before_their_own_accuracies_still_have_a_table():
    half_done = {"retrain_acc_retain_test": 0.93, "retrain_acc_forget_test": 0.0}
    runs = run_table([record(status="failed", metrics=half_done)])
    assert "gap_retain_test" not in runs and len(runs) == 1
    assert summary([record(status="failed", metrics=half_done)])[0]["not done"] == "1 failed"


# Files


def test_a_sweep_folder_gets_markdown_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for one in (record(), record(seed=1), record("fisher", status="failed")):
        one.write(tmp_path / one.run_id)
    written = write_sweep_table(tmp_path)
    assert [path.name for path in written] == ["table.md", "results.csv"]
    text = written[0].read_text(encoding="utf-8")
    assert text.count("\n") == 2 + 2 + 2 and text.startswith(f"Test data; {INTERVALS}.\n\n|")
    with written[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"], row["status"]) for row in rows] == [
        ("fisher", "0", "failed"),
        ("unsir", "0", "done"),
        ("unsir", "1", "done"),
    ]
    assert "fisher" in capsys.readouterr().out


def test_seconds_of_several_machines_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    here, there = {"device": "cpu", "threads": 1}, {"device": "cpu", "threads": 2}
    runs = [
        record(seed=0, environment=here),
        record(seed=1, environment=there),
        record(seed=2, environment={"device": "mps"}, status="failed"),
        record(seed=0, model="another", environment={"device": "Some GPU"}),
    ]
    for name, apart in {"alike": runs[:1] + runs[2:], "apart": runs}.items():
        for place, each in enumerate(apart):
            each.write(tmp_path / name / str(place))
        write_sweep_table(tmp_path / name)
        words = "Seconds were not all taken alike (device cpu, threads 1; device cpu, threads 2): compare"
        assert [words in text for text in (capsys.readouterr().out, (tmp_path / name / "table.md").read_text())] == (
            [name == "apart"] * 2
        )


def test_an_empty_folder_gets_no_file(tmp_path: Path):
    assert write_sweep_table(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_does_not_cost_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    record().write(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "record.json").write_text('{"schema_version": 1, "run')
    assert len(write_sweep_table(tmp_path)) == 2
    assert str(tmp_path / "bad" / "record.json") in caplog.text


# What a row mixes


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"commit": "a", "dirty": False, "cpu": "x", "cpu_capability": "AVX2"}, None),
        ({"commit": "b", "dirty": False, "cpu": "x", "cpu_capability": "AVX2"}, "2 commits"),
        ({"commit": "a", "dirty": False, "cpu": "x", "cpu_capability": "AVX512"}, "2 kinds of CPU"),
        ({"commit": "a", "dirty": False, "cpu": "x"}, None),
        ({"commit": "a", "dirty": False, "cpu": "y"}, "2 kinds of CPU"),
        (
            {"commit": "b", "dirty": True, "cpu": "y", "cpu_capability": "AVX2"},
            "2 commits, 2 kinds of CPU, an unclean tree",
        ),
    ],
)
def test_a_mean_over_several_commits_or_cpus_or_an_unclean_tree_is_marked(
    second: dict[str, Any], words: str | None
) -> None:
    first = {"commit": "a", "dirty": False, "cpu": "x", "cpu_capability": "AVX2"}
    rows = summary([record(seed=0, environment=first), record(seed=1, environment=second)])
    assert {row.get("mixes") for row in rows if row["method"] == "unsir"} == {words}


def test_a_mean_over_two_definitions_of_a_metric_is_marked() -> None:
    def mixes(*versions: int | None) -> str | None:
        told = [{} if each is None else {"versions": {"EVALUATION_VERSION": each}} for each in versions]
        rows = summary([record(seed=seed, environment=each) for seed, each in enumerate(told)])
        return next(row.get("mixes") for row in rows if row["method"] == "unsir")

    assert mixes(3, 3) is mixes(3, None) is None
    assert mixes(3, 4) == "2 values of EVALUATION_VERSION"


def test_a_mean_over_runs_that_were_measured_differently_is_marked() -> None:
    """But not one over runs of which some left a metric out, or whose settings are not recorded."""

    def mixes(*settings: dict[str, Any]) -> str:
        runs = [record(seed=seed, config={"metrics": each}) for seed, each in enumerate(settings)]
        return next(row.get("mixes", "") for row in summary(runs) if row["method"] == "unsir")

    slow, fast = ({"relearn": {"lr": lr, "cap": 200}} for lr in (1e-5, 1e-3))
    assert mixes(slow, slow, fast, fast) == "2 values of metrics.relearn.lr"
    assert mixes(slow, {"relearn": {"lr": 1e-3, "cap": 0}}, {}) == ""
    assert mixes({"lira_shadows": 3, "bank_size": 30}, {"lira_shadows": 5, "bank_size": 0}) == (
        "2 values of metrics.lira_shadows"
    )


def test_a_cell_of_fewer_seeds_than_its_row_says_so() -> None:
    runs = [record(seed=seed) for seed in (0, 1, 2)]
    runs[2].metrics["unlearn_seconds"] = None
    [row] = [row for row in summary(runs) if row["method"] == "unsir"]
    assert (row["n"], row["seconds"], row["speed-up"]) == ("3", "2.00 ± 0.00 (n = 2)", "40.00 ± 0.00")
    [table] = comparison_tables("s", runs)
    [line] = [line for line in cells(table) if line["method"].words == "unsir"]
    assert (line["seconds"].words, line["× retrain"].words) == ("2.00 ± 0.00 (n = 2)", "40.00 ± 0.00")


def test_every_legend_above_such_cells_explains_both_forms_of_an_interval() -> None:
    assert "or [low, high] where the number of test samples leaves more room" in INTERVALS
    assert all(INTERVALS in text for text in (LEGEND, REQUESTS_LEGEND, STAGES_LEGEND, guarantee_legend([])))
