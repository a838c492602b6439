"""The table's words for access and settings, and the gaps to retraining."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import access_words
from unsir_bench.report.data import model_table
from unsir_bench.report.tables.sweep import write_sweep_table
from unsir_bench.report.tables.table import summary as summary_of
from unsir_bench.report.tables.text import markdown

METRICS = {
    "acc_forget_test": 0.25,
    "acc_retain_test": 0.75,
    "original_acc_forget_test": 0.875,
    "original_acc_retain_test": 0.9375,
    "retrain_acc_forget_test": 0.125,
    "retrain_acc_retain_test": 0.875,
    "unlearn_seconds": 2.0,
    "retrain_seconds": 16.0,
    "speedup_vs_retrain": 8.0,
}
ACCESS = "forget / retain / stored"


def record(method: str = "unsir", seed: int = 0, status: str = "done", **changes: Any) -> RunRecord:
    own = changes.pop("method_config", {})
    metrics = {**METRICS, **changes.pop("metrics", {})} if status == "done" else {}
    fields: dict[str, Any] = {
        "run_id": f"{method}-{seed}-{abs(hash(repr((own, changes))))}",
        "sweep": "s",
        "method": method,
        "dataset": "digits",
        "model": "allcnn",
        "seed": seed,
        "config": {"method": {"name": method, **own}},
        "status": status,
        "forget_set": "single",
        "forget_classes": [0],
        "metrics": metrics,
    }
    return RunRecord(**{**fields, **changes})


def summary(records: list[RunRecord]) -> list[dict[str, str]]:
    return summary_of(model_table(records))


def tuned(seed: int = 0, *, rate: float = 0.1, score: float = 0.75, **changes: Any) -> RunRecord:
    """A run whose method's config holds a learning rate within ``train``, one within ``noise`` and a plain number."""
    own = {"train": {"lr": rate, "epochs": 2}, "noise": {"lr": 0.5}, "k": 1, **changes.pop("method_config", {})}
    return record(seed=seed, metrics={"acc_retain_test": score}, method_config=own, **changes)


def rows_of(rows: list[dict[str, str]], method: str) -> list[dict[str, str]]:
    return [row for row in rows if row["method"] == method]


# Access


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ([], "– / – / –"),
        (["forget_data"], "all / – / –"),
        (["retain_data"], "– / all / –"),
        (["retain_subset"], "– / subset / –"),
        (["forget_data", "retain_subset"], "all / subset / –"),
        (["forget_data", "retain_data", "retain_subset"], "all / all / –"),
        (["retain_data", "initial_weights"], "– / all / initial weights"),
        (["train_history", "retain_data"], "– / all / training log"),
        (["initial_weights", "train_history"], "– / – / training log, initial weights"),
    ],
)
def test_declared_access_in_words(declared: list[str], words: str) -> None:
    for order in itertools.permutations(declared):
        assert access_words(order) == words


def test_each_row_says_what_its_method_may_touch() -> None:
    rows = summary(
        [
            record("unsir", access={"declared": ["retain_subset"]}),
            record("neggrad", access={"declared": ["forget_data"]}),
            record("fisher", access={"declared": ["retain_data"]}),
        ]
    )
    assert {row["method"]: row[ACCESS] for row in rows} == {
        "original": "– / – / –",
        "retrain": "– / all / initial weights",
        "unsir": "– / subset / –",
        "neggrad": "all / – / –",
        "fisher": "– / all / –",
    }


# Settings


def test_runs_of_one_setting_are_averaged_and_no_setting_is_shown() -> None:
    rows = rows_of(summary([tuned(0, score=0.5), tuned(1, score=0.75)]), "unsir")
    assert [(row["n"], row["A_Dr %"].split(" ")[0]) for row in rows] == [("2", "62.50")]
    assert "setting" not in rows[0]


def test_runs_of_two_settings_are_never_averaged() -> None:
    records = [
        tuned(seed, rate=rate, score=score)
        for rate, scores in ((0.1, (0.25, 0.5)), (0.2, (0.75, 1.0)))
        for seed, score in enumerate(scores)
    ]
    rows = {row["setting"]: row for row in rows_of(summary(records), "unsir")}
    assert {setting: row["A_Dr %"].split(" ")[0] for setting, row in rows.items()} == {
        "lr=0.1": "37.50",
        "lr=0.2": "87.50",
    }
    assert {row["n"] for row in rows.values()} == {"2"}


def test_a_setting_names_every_key_that_differs_and_no_other() -> None:
    records = [
        tuned(rate=rate, method_config={"noise": {"lr": noise}, "k": 1, "flag": True})
        for rate in (0.1, 0.2)
        for noise in (0.5, 1.0)
    ]
    settings = sorted(row["setting"] for row in rows_of(summary(records), "unsir"))
    assert settings == [f"lr={rate}, noise.lr={noise}" for rate in (0.1, 0.2) for noise in (0.5, 1.0)]


def test_a_value_of_none_or_a_list_sets_runs_apart_too() -> None:
    records = [tuned(method_config={"layers": layers}) for layers in (None, [1], [1, 2])]
    assert sorted(row["setting"] for row in rows_of(summary(records), "unsir")) == [
        "layers=None",
        "layers=[1, 2]",
        "layers=[1]",
    ]


def test_a_key_that_only_some_runs_know_sets_them_apart() -> None:
    rows = rows_of(summary([tuned(), tuned(method_config={"rounds": 2})]), "unsir")
    assert sorted(row["setting"] for row in rows) == ["", "rounds=2"]


def test_settings_are_told_apart_among_runs_of_the_same_method_data_and_model_alone() -> None:
    """A batch size that follows the data set is no choice of setting."""
    records = [
        tuned(dataset=name, method_config={"batch": size}) for name, size in (("digits", 32), ("cifar10", 256))
    ] + [tuned(model="resnet", rate=0.3), record("finetune", method_config={"train": {"lr": 0.7}})]
    rows = summary(records)
    assert all("setting" not in row for row in rows)
    assert len([row for row in rows if row["method"] not in ("original", "retrain")]) == 4


def test_a_setting_is_named_on_every_forget_set_though_one_has_it_alone() -> None:
    records = [
        tuned(rate=0.1),
        tuned(rate=0.2),
        tuned(rate=0.2, forget_set="pair", forget_classes=[1, 2]),
    ]
    rows = rows_of(summary(records), "unsir")
    assert [(row["forget"], row["setting"]) for row in rows] == [
        ("single {0}", "lr=0.1"),
        ("single {0}", "lr=0.2"),
        ("pair {1, 2}", "lr=0.2"),
    ]


def test_references_are_shown_once_beside_several_settings() -> None:
    rows = summary([tuned(rate=rate) for rate in (0.1, 0.2)])
    assert [(row["method"], row["setting"]) for row in rows] == [
        ("original", ""), ("retrain", ""), ("unsir", "lr=0.1"), ("unsir", "lr=0.2"),
    ]  # fmt: skip
    assert all(row["n"] == "1" for row in rows)


def test_settings_reach_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, one in enumerate([tuned(rate=0.1), tuned(rate=0.2)]):
        one.write(tmp_path / str(index))
    table, results, *_ = write_sweep_table(tmp_path)
    for path in (table, results):
        assert "lr=0.1" in path.read_text() and "lr=0.2" in path.read_text()
    assert "lr=0.2" in capsys.readouterr().out


# Gaps


def test_gaps_are_differences_to_the_retrained_model_in_points() -> None:
    """0.25 − 0.125 and 0.75 − 0.875; the original: 0.875 − 0.125 and 0.9375 − 0.875."""
    rows = {row["method"]: (row["A_Df gap"], row["A_Dr gap"]) for row in summary([record()])}
    assert rows == {"original": ("75.00", "6.25"), "retrain": ("0.00", "0.00"), "unsir": ("12.50", "-12.50")}


def test_a_mean_gap_is_the_mean_of_the_gaps_of_each_seed() -> None:
    """Of seeds whose retrained models differ: (0.25 − 0.125, 0.5 − 0.25), mean 0.1875."""
    second = {"acc_forget_test": 0.5, "retrain_acc_forget_test": 0.25}
    (row,) = rows_of(summary([record(), record(seed=1, metrics=second)]), "unsir")
    assert row["A_Df gap"].split(" ")[0] == "18.75"


@pytest.mark.parametrize("absent", ["null", "missing"])
def test_without_a_retrained_model_there_is_no_gap(absent: str) -> None:
    one = record(metrics={name: None for name in METRICS if name.startswith("retrain_")})
    if absent == "missing":
        one.metrics = {name: value for name, value in one.metrics.items() if not name.startswith("retrain_")}
    rows = summary([one])
    assert [row["method"] for row in rows] == ["original", "unsir"]
    assert all("A_Df gap" not in row and "A_Dr gap" not in row for row in rows)
    assert rows[1]["A_Dr %"] == "75.00"


def test_a_run_without_a_retrained_model_has_no_gap_beside_one_that_has() -> None:
    without = {name: None for name in METRICS if name.startswith("retrain_")}
    rows = {row["method"]: row for row in summary([record(), record("neggrad", metrics=without)])}
    assert (rows["unsir"]["A_Df gap"], rows["neggrad"]["A_Df gap"]) == ("12.50", "–")


# Fisher


def timed(method: str, seconds: float, seed: int = 0, **changes: Any) -> RunRecord:
    return record(method, seed, metrics={"unlearn_seconds": seconds}, **changes)


def test_the_table_shows_the_speed_up_over_fisher_and_none_for_the_original() -> None:
    rows = summary([timed("unsir", 2), timed("fisher", 60)])
    shown = {row["method"]: row["vs Fisher"] for row in rows}
    assert shown == {"original": "–", "retrain": "3.75", "unsir": "30.00", "fisher": "1.00"}  # retrain took 16 s


def test_a_retrained_model_that_was_timed_elsewhere_has_no_speed_up() -> None:
    elsewhere = record(metrics={"unlearn_seconds": 2.0, "retrain_seconds": None, "speedup_vs_retrain": None})
    shown = {row["method"]: (row["seconds"], row["speed-up"]) for row in summary([elsewhere])}
    assert shown["retrain"] == ("–", "–")


# Runs that were skipped


def test_a_skipped_method_keeps_its_row_and_says_so() -> None:
    access = {"declared": ["retain_subset"]}
    rows = summary([record(access=access), record("neggrad", status="skipped"), record("neggrad", 1, "skipped")])
    (row,) = rows_of(rows, "neggrad")
    assert (row["n"], row["not done"]) == ("0", "2 skipped")
    assert (row["A_Df %"], row["A_Dr %"], row["A_Df gap"], row["seconds"]) == ("–", "–", "–", "–")
    assert rows_of(rows, "unsir")[0]["not done"] == ""
    assert "2 skipped" in markdown(rows)


def test_a_table_of_skipped_runs_alone_has_a_row_for_each_method() -> None:
    rows = summary([record("neggrad", status="skipped"), record("ssd", status="skipped")])
    assert [(row["method"], row["n"], row["not done"]) for row in rows] == [
        ("neggrad", "0", "1 skipped"),
        ("ssd", "0", "1 skipped"),
    ]
