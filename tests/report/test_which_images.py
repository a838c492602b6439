"""Runs on different images, or that forget different samples, are different rows, whatever their files are called."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_files_of_weights_are_told_apart_by_their_content_wherever_they_lie() -> None:
    def started(path: str, content: str, accuracy: float, seed: int = 0) -> Any:
        config = {"model": {"name": "net", "weights": path}}
        fingerprints = {"initial_weights": content}
        return record(seed=seed, metrics={"acc_forget_test": accuracy}, config=config, fingerprints=fingerprints)

    alike = [started("/a/net.safetensors", "1" * 16, 0.25), started("/b/net.safetensors", "1" * 16, 0.75, seed=1)]
    assert own_rows(*alike) == {"unsir": (2, 0.5)}
    other = started("/a/net.safetensors", "2" * 16, 0.5)
    assert own_rows(alike[0], other) == {
        "unsir (model.weights=11111111)": (1, 0.25), "unsir (model.weights=22222222)": (1, 0.5)
    }  # fmt: skip


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


def of_file(place: str, split: str | None, seed: int = 0, accuracy: float = 0.25, **changes: Any) -> Any:
    forget = {"name": "indices", "file": f"{place}/ids.json"}
    run = record(
        seed=seed, metrics={"acc_forget_test": accuracy},
        **{"fingerprints": {"data": "d", "split": split}, "config": {"forget": forget}, **changes},
    )  # fmt: skip
    run.run_id, run.forget_set = f"{place}-{seed}-{split}", "indices"
    return run


def forget_sets(*records: Any) -> dict[str, tuple[int, float]]:
    found = [series for series in series_of(model_table(list(records))) if series.method == "unsir"]
    return {one.place.forget: (len(one.values), float(one.values["acc_forget_test"].mean())) for one in found}


def test_two_files_of_one_name_are_two_forget_sets_named_by_their_content() -> None:
    runs = [of_file(place, split * 16, seed, accuracy)
            for place, split, accuracy in (("a", "1", 0.1), ("b", "2", 0.9)) for seed in (0, 1)]  # fmt: skip
    assert forget_sets(*runs) == {
        "indices (ids.json) content=11111111": (2, 0.1), "indices (ids.json) content=22222222": (2, 0.9),
    }  # fmt: skip
    assert [row["n"] for row in summary(model_table(runs)) if row["method"] == "unsir"] == ["2", "2"]


def test_one_file_in_two_places_and_on_other_data_is_one_forget_set() -> None:
    runs = [of_file("a", "1" * 16), of_file("b", "1" * 16, seed=1), of_file("a", None, seed=2, status="failed")]
    assert forget_sets(*runs) == {"indices (ids.json)": (2, 0.25)}
    other = of_file("a", "2" * 16, fingerprints={"data": "e", "split": "2" * 16}, dataset="other")
    assert set(forget_sets(*runs, other)) == {"indices (ids.json)"}


@pytest.mark.parametrize(
    ("forget", "label"),
    [
        ({"sequence": [[0], "x/ids.json"]}, "indices {0}, ids.json"),
        ({"column": "camera", "value": "old"}, "indices (camera=old)"),
    ],
)
def test_files_of_sequences_and_of_attributes_are_told_apart_too(forget: dict[str, Any], label: str) -> None:
    runs = [of_file("a", name * 16, config={"forget": forget}) for name in "12"]
    assert set(forget_sets(*runs)) == {f"{label} content={name * 8}" for name in "12"}


@pytest.mark.parametrize(
    "forget", [{"share": 0.1}, {"random_k": 2}, {"sequence": ["ids.json", {"count": 5}]}, {"classes": [0]}]
)
def test_draws_that_differ_by_seed_stay_one_forget_set(forget: dict[str, Any]) -> None:
    runs = [of_file("a", str(seed) * 16, seed, config={"forget": forget}) for seed in (0, 1)]
    assert [n for n, _ in forget_sets(*runs).values()] == [2]
