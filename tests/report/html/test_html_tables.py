"""The tables of the page: what they hold, and the numbers that they sort by."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.report.html.hostile_sweep import IMAGE, RETAIN, SCRIPT, record, swept
from tests.report.html.page_reader import Reader, read
from unsir_bench.report.html.page import write_page
from unsir_bench.report.html.tables import leading_number, note_table


def test_each_number_of_the_summary_sorts_by_the_mean_it_shows(reader: Reader) -> None:
    methods = [text for text, _ in reader.column("s0-summary", "method")]
    shown = reader.column("s0-summary", "A_Dr %")
    orders = {method: known["data-order"] for method, (_, known) in zip(methods[:4], shown[:4], strict=True)}
    assert {method: float(order) for method, order in orders.items()} == pytest.approx(
        {method: 100 * np.mean(values) for method, values in RETAIN.items()}
    )
    assert all(" ± " in text for text, _ in shown[:4])


def test_runs_of_a_row_stand_in_the_order_of_their_seeds(tmp_path: Path) -> None:
    kept = {"acc_forget_test": 0.0, "acc_retain_test": 0.9}
    sweep = swept(tmp_path / "s", [record(seed=seed, metrics=kept, details={}) for seed in (10, 2, 1)])
    found = read(write_page([sweep], tmp_path / "report.html"))
    methods = [text for text, _ in found.column("s0-summary", "method")]
    runs, _ = found.column("s0-summary", "runs")[methods.index("unsir")]
    assert runs.splitlines()[0] == "seed 1 seed 2 seed 10"


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("57.26 ± 102.97", 57.26),
        ("-2.79 ± 7.34", -2.79),
        ("= -0.3 ± 1.0", -0.3),
        ("≠ +98.7 ± 1.0", 98.7),
        ("37.50 [1.20, 80.00]", 37.5),
        ("× +3.0 [-9.0, 15.0]", 3.0),
        ("3", 3.0),
        ("–", None),
        ("", None),
        ("3 images", None),
        ("1 failed", None),
    ],
)
def test_the_number_that_a_cell_sorts_by(words: str, number: float | None) -> None:
    assert leading_number(words) == number


def test_a_missing_number_has_no_place_in_the_order(reader: Reader) -> None:
    place = [text for text, _ in reader.column("s0-summary", "method")].index("original")
    text, known = reader.column("s0-summary", "speed-up")[place]
    assert (text, known["data-order"]) == ("–", "")


def test_every_run_stands_in_the_table_with_its_status_and_reason(reader: Reader) -> None:
    status = [text for text, _ in reader.column("s0-runs", "status")]
    assert sorted(status) == ["diverged"] + ["done"] * 9 + ["failed", "skipped"]
    reasons = [text for text, _ in reader.column("s0-runs", "why")]
    failed = reasons[status.index("failed")]
    assert failed.startswith(f"{IMAGE} is missing")
    assert "Traceback" in failed and "details" in reader.tags
    assert reasons[status.index("skipped")] == "needs forget data"


def test_null_metrics_are_counted_by_reason(reader: Reader) -> None:
    assert reader.column("s0-notes", "why it is null or needs care")[0][0] == SCRIPT
    assert reader.column("s0-notes", "runs")[0][0] == "2"


def test_numbers_that_need_care_are_among_the_notes() -> None:
    details = {f"{model}mia_loss_caution": "only 5 samples" for model in ("", "retrain_")}
    table = note_table("notes", [replace(record("unsir", seed), details=details) for seed in (0, 1)])
    assert table is not None
    assert [[cell.text for cell in row.cells] for row in table.rows] == [["mia_loss", "only 5 samples", "2", "unsir"]]


def test_the_steps_of_a_sequence_have_their_table(tmp_path: Path) -> None:
    steps = [{"classes": [place], "metrics": {"acc_forget_test": 0.1 * place}} for place in (1, 2)]
    sweep = swept(tmp_path / "s", [record(details={"steps": steps})])
    found = read(write_page([sweep], tmp_path / "report.html"))
    assert [text for text, _ in found.column("s0-steps", "A_Df %")] == ["10.00", "20.00"]
