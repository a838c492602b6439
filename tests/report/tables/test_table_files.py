"""The files that `unsir-report tables` writes: their numbers read back, and which there are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.report.tables.test_paper_tables import record
from unsir_bench.report.command import main
from unsir_bench.report.tables.paper import all_runs, write_tables
from unsir_bench.report.tables.standard_columns import chosen_columns


def test_the_numbers_can_be_read_back(tmp_path: Path) -> None:
    runs = [record(seed=0), record(seed=1, metrics={"acc_retain_test": 0.72}), record("b", dataset="digits")]
    paths = {path.name: path for path in write_tables({"one": runs, "two": [record(seed=5)], "none": []}, tmp_path)}
    numbers = pd.read_csv(paths["tables.csv"])
    [row] = numbers[(numbers["method"] == "unsir") & (numbers["sweep"] == "one")].to_dict("records")
    assert (row["n"], row["acc_retain_test"]) == (2, pytest.approx(0.71))
    ends = [row[f"acc_retain_test_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx([0.71 - 0.127062, 0.71 + 0.127062], abs=1e-5)
    assert (row["unlearn_seconds_low"], row["unlearn_seconds_high"]) == (2.0, 2.0)
    assert (row["paper_acc_retain_test"], row["paper_is_same_experiment"]) == (0.7106, True)
    results = pd.read_csv(paths["results.csv"])
    assert results["sweep"].tolist() == ["one"] * 3 + ["two"] and set(results["scale"]) == {"paper"}
    assert len(results) == len(all_runs({"one": runs, "two": [record(seed=5)]}))
    if "results.parquet" in paths:
        assert len(pd.read_parquet(paths["results.parquet"])) == 4


def test_the_numbers_have_intervals_no_narrower_than_the_exact_ones(tmp_path: Path) -> None:
    """0 of 10 images: up to 1 - 0.025 ** (1 / 10)."""
    metrics = {"acc_forget_test": 0.0, "mia_svc_member_share": 0.0}
    samples = {"samples": {"forget_test": 10, "forget_train": 10}}
    runs = [record(seed=seed, metrics=metrics, details=samples) for seed in (0, 1, 2)]
    runs.append(record(seed=3, metrics={"acc_forget_test": None}, details=samples))
    write_tables({"s": runs}, tmp_path, chosen_columns(["acc_forget_test", "MIA", "relearn_batches"]))
    numbers = pd.read_csv(tmp_path / "tables.csv").set_index("method").loc["unsir"]
    assert numbers[["acc_forget_test_low", "acc_forget_test_high"]].tolist() == pytest.approx([0, 0.308497])
    shares = ["mia_svc_nonmember_share_low", "mia_svc_nonmember_share_high"]
    assert numbers[shares].tolist() == pytest.approx([1 - 0.308497, 1])
    assert not any(name.endswith("half_width") for name in numbers.index)


def test_without_pyarrow_no_parquet_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unsir_bench.report.tables.paper.find_spec", lambda name: None)
    assert {path.name for path in write_tables({"s": [record()]}, tmp_path)} == {
        "tables.md", "tables.tex", "tables.csv", "results.csv",
    }  # fmt: skip
    with pytest.raises(ValueError, match="no record"):
        write_tables({"s": []}, tmp_path)


def test_the_command_keeps_sweeps_of_the_same_name_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for parent in ("a", "b"):
        record().write(tmp_path / parent / "same" / "run")
    with pytest.raises(SystemExit) as ended:
        main(["tables", str(tmp_path), str(tmp_path / "a"), "--output", str(tmp_path / "out")])
    assert ended.value.code == 0 and "tables.tex" in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results["sweep"].nunique() == 2 and len(results) == 2
