"""The notebook of docs/notebooks runs cell by cell, and shows what it shows there; a record shows itself, escaped."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from unsir_bench import load_records
from unsir_bench.records import RunRecord
from unsir_bench.report.units import units

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "a_run_and_its_record.ipynb"


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def shown(cell: dict[str, Any]) -> str:
    """What the notebook shows below a cell, as plain text; empty where it is drawn."""
    data = [output["data"].get("text/plain", []) for output in cell["outputs"] if "data" in output]
    return "".join(line for lines in data for line in lines)


def execute(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names) if last else None


def test_every_cell_runs_and_what_no_cpu_changes_is_what_the_notebook_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    values = [execute("".join(cell["source"]), names) for cell in code_cells()]
    printed = capsys.readouterr().out
    same = [value for cell, value in zip(code_cells(), values, strict=True) if shown(cell) and value is not None
            and not isinstance(value, float)]  # fmt: skip
    expected = [shown(cell) for cell in code_cells() if shown(cell)]
    assert same == [ast.literal_eval(text) for text in expected if text[0] in "'{"]
    record = next(value for value in values if isinstance(value, RunRecord))
    assert record.status == "done", record.reason
    assert names["record"].evaluated, "the cell of evaluate added something"
    assert "retrain done" in printed and "finetune done" in printed
    assert sorted(names["frame"]["method"]) == ["finetune", "retrain", "unsir"]


def test_the_notebook_was_executed_from_its_first_cell_to_its_last() -> None:
    assert [cell["execution_count"] for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    assert not [output for cell in code_cells() for output in cell["outputs"] if output["output_type"] == "error"]


def record(**changes: Any) -> RunRecord:
    metrics = {"acc_retain_test": 0.5, "retrain_acc_retain_test": None, "unlearn_seconds": 2.0, "unsir_steps": 3,
               "peak_memory_bytes": 5, "retrain_relearn_batches": 7, "speedup_vs_retrain": 4.0}  # fmt: skip
    fields: dict[str, Any] = {"run_id": "r", "sweep": "s", "method": "m", "dataset": "d", "model": "n", "seed": 1,
                              "config": {}, "metrics": metrics, "status": "done"}  # fmt: skip
    return RunRecord(**{**fields, **changes})


def test_a_record_shows_its_accuracies_and_escapes_every_name() -> None:
    evil = "<script>alert(1)</script>"
    html = record(method=evil, run_id=evil, status="failed", reason=evil)._repr_html_()
    assert "<script" not in html and html.count("&lt;script&gt;") == 3
    assert "<td>50.00</td><td>–</td>" in html, "A_Dr in per cent, and A_Df which it lacks"
    assert "<caption>r<br>done</caption>" in record()._repr_html_()


def test_a_frame_says_the_unit_of_each_number(tmp_path: Path) -> None:
    record().write(tmp_path / "r")
    frame = load_records(tmp_path)
    assert frame.attrs["units"] == units(frame)
    told = {
        "acc_retain_test": "fraction", "unlearn_seconds": "s", "unsir_steps": "optimiser steps",
        "peak_memory_bytes": "bytes", "retrain_relearn_batches": "batches", "speedup_vs_retrain": "1",
        "retrain_acc_retain_test": "fraction",
    }  # fmt: skip
    assert {name: frame.attrs["units"][name] for name in told} == told
    assert "seed" not in frame.attrs["units"] and "method" not in frame.attrs["units"]


def test_a_folder_without_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no record that can be read"):
        load_records(tmp_path / "nothing")
