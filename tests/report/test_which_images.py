"""Runs on different images are different rows, whatever their data sets are called."""

from __future__ import annotations

from typing import Any

from tests.report.test_data import record
from unsir_bench.report.data import model_table, series_of
from unsir_bench.report.tables.table import summary


def on(root: str, content: str | None, *, accuracy: float = 0.25, seed: int = 0, **options: Any) -> Any:
    return record(
        seed=seed, dataset="mine", metrics={"acc_forget_test": accuracy}, fingerprints={"data": content},
        config={"dataset": {"name": "mine", "root": root, **options}},
    )  # fmt: skip


def own_rows(*records: Any) -> dict[str, tuple[int, float]]:
    """Of each series of the method its number of seeds and its mean accuracy on the forget class."""
    found = [series for series in series_of(model_table(list(records))) if series.method == "unsir"]
    return {one.label: (one.values["seed"].nunique(), float(one.values["acc_forget_test"].mean())) for one in found}


def test_two_folders_are_two_rows_named_by_their_roots() -> None:
    rows = own_rows(on("a", "1" * 16, accuracy=0.1), on("b", "2" * 16, accuracy=0.3))
    assert rows == {"unsir (root=a)": (1, 0.1), "unsir (root=b)": (1, 0.3)}


def test_a_folder_that_grew_is_two_rows_named_by_their_content() -> None:
    rows = own_rows(on("a", "1" * 16, accuracy=0.1), on("a", "2" * 16, accuracy=0.3))
    assert rows == {"unsir (content=11111111)": (1, 0.1), "unsir (content=22222222)": (1, 0.3)}


def test_the_same_images_in_two_places_are_one_row() -> None:
    assert own_rows(on("a", "1" * 16), on("b", "1" * 16, seed=1)) == {"unsir": (2, 0.25)}


def test_runs_whose_options_tell_them_apart_are_told_apart_by_those_alone() -> None:
    rows = own_rows(on("a", "1" * 16, subset=5), on("a", "2" * 16, subset=6))
    assert set(rows) == {"unsir (dataset.subset=5)", "unsir (dataset.subset=6)"}


def test_a_run_that_failed_before_its_images_were_read_separates_nothing() -> None:
    failed = record(seed=3, dataset="mine", status="failed", config={"dataset": {"name": "mine", "root": "b"}})
    assert own_rows(on("a", "1" * 16), on("a", "1" * 16, seed=1), failed)["unsir"] == (2, 0.25)


def test_the_table_of_a_sweep_has_a_row_for_each_folder_with_its_own_references() -> None:
    rows = summary(model_table([on("a", "1" * 16), on("b", "2" * 16)]))
    assert sum(row["method"].startswith("unsir") for row in rows) == 2
    assert sum(row["method"].startswith("retrain") for row in rows) == 2
    assert all(row["n"] == "1" for row in rows)
