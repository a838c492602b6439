"""The relearning figure: bands, plateaus and median times by hand; nothing outside its axes."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import Drawing, scenes
from unsir_bench.report.figures.relearn_curves import RELEARN_CURVES
from unsir_bench.report.figures.style import WIDTH, style
from unsir_bench.report.plots.relearning import band

RETRAIN = [[0, 0.0], [10, 0.2], [20, 0.6]]
CURVES = {"unsir": ([[0, 0.0], [10, 0.6], [20, 0.9]], [[0, 0.2], [10, 0.5], [20, 0.7]], [[0, 0.1], [10, 0.9]])}


def record(method: str, seed: int, **details: Any) -> RunRecord:
    curve = CURVES.get(method, ([[0, 0.0], [10, 0.1], [20, 0.3]],) * 3)[seed]
    metrics = {"original_acc_forget_test": 0.95, "relearn_censored": int(len(curve) > 2), "retrain_relearn_censored": 1}
    found = {
        "relearn_curve": curve, "retrain_relearn_curve": RETRAIN, "original_relearn_curve": [[0, 0.95]],
        "samples": {"forget_test": 10}, **details,
    }  # fmt: skip
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, dataset="digits", model="net", seed=seed,
        forget_set="single", forget_classes=[0], status="done", config={}, metrics=metrics, details=found,
    )  # fmt: skip


def drawn(records: list[RunRecord]) -> list[Drawing]:
    [scene] = scenes("s", records)
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawings = list(RELEARN_CURVES.draw(scene))
        for drawing in drawings:
            drawing.figure.draw_without_rendering()
    return drawings


def test_a_band_is_the_mean_of_all_seeds_at_every_check_of_any() -> None:
    found = band([[[0, 0.0], [5, 0.2], [10, 0.4]], [[0, 0.0], [4, 0.8]]], None)
    assert [(point.batches, point.measured) for point in found] == [(0, 2), (4, 2), (5, 1), (10, 1)]
    assert [point.mean for point in found] == pytest.approx([0, (0.16 + 0.8) / 2, 0.5, 0.6])
    half = stats.t.ppf(0.975, 1) * np.std([0.4, 0.8], ddof=1) / 2**0.5
    assert found[-1].low == max(0, 0.6 - half) and found[-1].high == min(1, 0.6 + half)


def test_seeds_that_agree_leave_the_room_of_their_samples_and_one_seed_has_no_band() -> None:
    [point] = band([[[0, 0.0]]] * 3, 10)
    assert (point.low, point.high) == (0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert math.isnan(band([[[0, 0.5]]], 10)[0].low)


def test_the_table_says_when_retrain_s_plateau_was_reached() -> None:
    """The plateau is 0.6, 95 % of it 0.57: unsir's seeds have it after 10, 20 and 10 batches, finetune's never."""
    [drawing] = drawn([record(method, seed) for method in ("unsir", "finetune") for seed in range(3)])
    table = drawing.data.set_index("method")
    assert set(table.loc["unsir", "median_batches_to_plateau"]) == {"10"}
    assert set(table.loc["finetune", "median_batches_to_plateau"]) == {">20"}
    assert table.loc["unsir", "a_df_percent"].tolist() == pytest.approx([10, 200 / 3, 250 / 3])
    assert table.loc["unsir", "seeds_measured"].tolist() == [3, 3, 2]
    assert set(table.loc["unsir", "seeds_censored"]) == {2}


def test_retrain_s_plateau_is_a_line_in_every_panel_and_nothing_is_cut() -> None:
    [drawing] = drawn([record(method, seed) for method in ("unsir", "finetune") for seed in range(3)])
    panels = drawing.figure.axes
    assert [panel.get_title(loc="left").split("\n") for panel in panels] == [
        ["unsir", "◇ 10"], ["finetune", "◇ >20 (3 of 3 censored)"],
    ]  # fmt: skip
    for panel in panels:
        lines = [line for line in panel.lines if len(line.get_xdata()) == 2]
        assert [line.get_ydata()[0] for line in lines if len(set(line.get_ydata())) == 1] == pytest.approx([60, 95])
        (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
        assert len(panel.lines) >= 6
        for line in panel.lines:
            assert left < min(line.get_xdata()) and max(line.get_xdata()) < right
            assert low < min(line.get_ydata()) and max(line.get_ydata()) < high
    width = drawing.figure.get_window_extent().width
    assert drawing.figure.get_figwidth() == WIDTH
    for text in (drawing.figure.legends[0], drawing.figure._suptitle, *(panel.title for panel in panels)):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width


def test_a_panel_has_the_plateau_and_the_references_of_its_own_conditions() -> None:
    """Retraining ended at 0.6 on the one device and at 0.4 on the other."""
    here = replace(record("unsir", 0), environment={"device": "cpu"})
    there = record("unsir", 0, retrain_relearn_curve=[[0, 0.0], [10, 0.4]], original_relearn_curve=[[0, 0.9]])
    [drawing] = drawn([here, replace(there, run_id="there", environment={"device": "A GPU"})])
    flat = {
        panel.get_title(loc="left").split("\n")[0]: [
            line.get_ydata()[0] for line in panel.lines if len(set(line.get_ydata())) == 1 < len(line.get_xdata())
        ]
        for panel in drawing.figure.axes
    }
    assert flat["unsir (device=A GPU)"] == pytest.approx([40, 90])
    assert flat["unsir (device=cpu)"] == pytest.approx([60, 95])
