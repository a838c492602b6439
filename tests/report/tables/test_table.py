"""The comparison table of a sweep: means, intervals, what is not done, and text that must not break a table."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from unsir_bench.records import RunRecord
from unsir_bench.report.data import model_table, run_table
from unsir_bench.report.statistics import mean_and_half_width
from unsir_bench.report.tables.sweep import write_sweep_table
from unsir_bench.report.tables.table import summary as summary_of
from unsir_bench.report.tables.text import job_rows, markdown, print_rows

METRICS = {
    "acc_forget_test": 0.0,
    "acc_retain_test": 0.9,
    "original_acc_retain_test": 0.92,
    "retrain_acc_retain_test": 0.93,
    "unlearn_seconds": 2.0,
    "speedup_vs_retrain": 40.0,
}


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "run_id": f"{method}-{seed}",
        "sweep": "s",
        "method": method,
        "dataset": "digits",
        "model": "allcnn",
        "seed": seed,
        "config": {},
        "status": status,
        "forget_set": "single",
        "forget_classes": [0],
        "metrics": dict(METRICS) if status == "done" else {},
    }
    return RunRecord(**{**fields, **changes})


def summary(records: list[RunRecord]) -> list[dict[str, str]]:
    return summary_of(model_table(records))


def with_accuracy(seed: int, value: float | None, **changes: Any) -> RunRecord:
    return record(seed=seed, metrics={**METRICS, "acc_retain_test": value}, **changes)


# Numbers


def test_mean_and_interval_by_hand():
    """1, 2, 3: mean 2, s = 1, s/√3 = 0.57735; Student's t of 2 degrees of freedom at 97.5 % is 4.30265 (tables)."""
    mean, half = mean_and_half_width([1.0, 2.0, 3.0])
    assert mean == pytest.approx(2)
    assert half == pytest.approx(4.30265 * 0.57735, abs=1e-4)


@pytest.mark.parametrize("count", [2, 5, 30])
def test_interval_is_that_of_scipy(count: int):
    values = np.random.default_rng(count).normal(50, 7, count)
    mean, half = mean_and_half_width(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(count))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    mean, half = mean_and_half_width([3.5])
    assert mean == 3.5
    assert math.isnan(half)


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


def test_every_row_has_the_same_columns():
    rows = summary([record(), record("fisher", status="failed")])
    assert list(rows[0]) == list(rows[1])


def test_no_record_makes_no_row():
    assert summary([]) == []


# Markdown and terminal


def test_runs_that_failed_before_their_own_accuracies_still_have_a_table():
    half_done = {"retrain_acc_retain_test": 0.93, "retrain_acc_forget_test": 0.0}
    runs = run_table([record(status="failed", metrics=half_done)])
    assert "gap_retain_test" not in runs and len(runs) == 1
    assert summary([record(status="failed", metrics=half_done)])[0]["not done"] == "1 failed"


def cells(line: str) -> list[str]:
    """The cells of a GitHub table line: an escaped pipe does not end one."""
    return [cell.replace("\0", "|").strip() for cell in line.replace("\\|", "\0").strip().strip("|").split("|")]


def test_pipes_do_not_break_the_markdown_table():
    rows = summary([record(dataset="a|b", forget_set="x||y")])
    lines = markdown(rows).splitlines()
    assert {len(cells(line)) for line in lines} == {len(rows[0])}
    assert cells(lines[2])[0] == "a|b"
    assert cells(lines[2])[2] == "x||y {0}"


def test_markdown_has_a_header_a_rule_and_a_line_for_each_row():
    rows = summary([record(), record("retrain")])
    lines = markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert cells(lines[0]) == list(rows[0])
    assert set(cells(lines[1])) == {"---"}
    assert [cells(line) for line in lines[2:]] == [list(row.values()) for row in rows]


def test_markdown_of_nothing_says_so():
    assert markdown([]) == "No records.\n"


def test_markup_in_names_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]):
    print_rows(summary([record(dataset="[red]set[/red]", method="[bold]")]), "sweep [blue]1[/blue]")
    printed = capsys.readouterr().out
    for text in ("[red]set[/red]", "[bold]", "sweep [blue]1[/blue]"):
        assert text in printed


@pytest.mark.parametrize("forgotten", [1, 40])
def test_a_pipe_gets_every_cell_whole(capsys: pytest.CaptureFixture[str], forgotten: int):
    values = enumerate([0.5, 0.6, 0.7])
    rows = summary([with_accuracy(seed, value, forget_classes=list(range(forgotten))) for seed, value in values])
    print_rows(rows, "t")
    printed = capsys.readouterr().out
    assert [text for text in [*rows[0], *rows[0].values()] if text not in printed] == []


def test_a_narrow_terminal_folds_numbers_and_cuts_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    rows = summary([with_accuracy(seed, value) for seed, value in enumerate([0.5, 0.6, 0.7])])
    print_rows(rows, "t")
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert "digits" in printed


def test_an_empty_table_can_be_printed(capsys: pytest.CaptureFixture[str]):
    print_rows([], "nothing")
    assert "Traceback" not in capsys.readouterr().err


# Files


def test_a_sweep_folder_gets_markdown_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for one in (record(), record(seed=1), record("fisher", status="failed")):
        one.write(tmp_path / one.run_id)
    written = write_sweep_table(tmp_path)
    assert [path.name for path in written] == ["table.md", "results.csv"]
    assert written[0].read_text(encoding="utf-8").count("\n") == 2 + 2
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


def test_one_run_shows_original_retrained_and_unlearned_side_by_side():
    sides = {"original_": 0.5, "retrain_": 0.25, "": 0.125}
    names = ("forget_test", "retain_test", "forget_train", "retain_train")
    metrics: dict[str, float | int | None] = {
        f"{prefix}acc_{name}": value + 0.01 * i for prefix, value in sides.items() for i, name in enumerate(names)
    }
    metrics |= {"retrain_seconds": 30.0, "unlearn_seconds": 1.5}
    rows = list(job_rows(record(metrics=metrics)))
    assert [row["model"] for row in rows] == ["original", "retrain", "unsir"]
    assert [row["A_Df test %"] for row in rows] == ["50.00", "25.00", "12.50"]
    assert [row["A_Dr train %"] for row in rows] == ["53.00", "28.00", "15.50"]
    assert [row["seconds"] for row in rows] == ["–", "30.00", "1.50"]


# What a row mixes


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"commit": "a", "dirty": False, "cpu": "x", "cpu_capability": "AVX2"}, None),
        ({"commit": "b", "dirty": False, "cpu": "x", "cpu_capability": "AVX2"}, "2 commits"),
        ({"commit": "a", "dirty": False, "cpu": "x", "cpu_capability": "AVX512"}, "2 kinds of CPU"),
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
