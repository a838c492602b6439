"""The figure of several requests: means over seeds by hand, one retrained line a condition, and looks that differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from matplotlib.colors import to_rgb

from tests.report.test_requests import record, step
from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import TIMED_APART, Drawing, scenes
from unsir_bench.report.figures.requests import REQUESTS
from unsir_bench.report.figures.style import style
from unsir_bench.report.method_style import VERMILION

LIGHTER = (0.3 * 213 / 255 + 0.7, 0.3 * 94 / 255 + 0.7, 0.7)  # of #D55E00, seven tenths of the way to white


def run(kept: float, retrained: float, seed: int = 0, method: str = "unsir", **changes: Any) -> RunRecord:
    return replace(record(method, [step(kept, retrained, 1.0)], seed), **changes)


def drawn(*runs: RunRecord) -> Drawing:
    [scene] = scenes("s", runs)
    with style():
        [drawing] = REQUESTS.draw(scene)
        drawing.figure.draw_without_rendering()
    return drawing


def dashed(drawing: Drawing) -> list[float]:
    """The retrained models' A_Dr after the only request."""
    lines = [line for line in drawing.figure.axes[0].lines if line.get_linestyle() == "--"]
    return sorted(float(height) for line in lines for height in line.get_ydata())


def test_a_seed_of_several_runs_counts_once_and_so_does_its_retrained_model() -> None:
    """Seed 0 has the mean of 0.5 and 0.7; over the three runs it would be 0.7, and 0.867 for retraining."""
    drawing = drawn(run(0.5, 0.9), run(0.7, 0.9, run_id="again"), run(0.9, 0.8, seed=1))
    [row] = drawing.data.to_dict("records")
    assert (row["acc_retain_test"], row["n"], row["request"]) == (pytest.approx(0.75), 2, 1)
    assert dashed(drawing) == pytest.approx([85])


def test_conditions_have_a_retrained_line_each_and_seconds_of_two_machines_are_said_to_be() -> None:
    alone = drawn(run(0.5, 0.9, environment={"device": "cpu"}))
    both = drawn(
        run(0.5, 0.9, environment={"device": "cpu"}),
        run(0.6, 0.7, run_id="there", environment={"device": "A GPU"}),
    )
    assert dashed(alone) == pytest.approx([90]) and dashed(both) == pytest.approx([70, 90])
    titles = [" ".join(drawing.figure.get_suptitle().split()) for drawing in (alone, both)]
    assert [TIMED_APART in title for title in titles] == [False, True]


def test_methods_of_a_family_differ_by_marker_and_settings_of_a_method_by_tone() -> None:
    settings = [run(0.5, 0.9, run_id=f"r{rate}", config={"method": {"lr": rate}}) for rate in (0.1, 0.2)]
    drawing = drawn(*settings, run(0.6, 0.9, method="unsir_notebook", config={}))
    first, second, other = drawing.figure.axes[0].get_lines()[:3]
    assert [line.get_marker() for line in (first, second, other)] == ["o", "o", "s"]
    assert to_rgb(first.get_color()) == to_rgb(other.get_color()) == to_rgb(VERMILION)
    assert to_rgb(second.get_color()) == pytest.approx(LIGHTER)
