"""The figure of weight distances: whose retrained model stands in a panel."""

from __future__ import annotations

from typing import Any

from tests.report.figures.test_figures import details, record
from unsir_bench.report.figures.data import Drawing, scenes
from unsir_bench.report.figures.style import style
from unsir_bench.report.figures.weight_distance import WEIGHT_DISTANCE


def drawn(there: dict[str, Any]) -> Drawing:
    """Of a run on a CPU and one on a GPU, whose details are given; distances on the CPU are 2."""
    runs = [
        record(details=details(1.0), environment={"device": "cpu"}),
        record(run_id="there", details=there, environment={"device": "A GPU"}),
    ]
    with style():
        (drawing,) = WEIGHT_DISTANCE.draw(scenes("s", runs)[0])
        drawing.figure.draw_without_rendering()
    return drawing


def retrained_in(drawing: Drawing) -> dict[str, list[list[float]]]:
    """By panel, the distances of each retrained model in it."""
    return {
        panel.get_title(loc="left"): [list(line.get_ydata()) for line in panel.lines if line.get_marker() == "_"]
        for panel in drawing.figure.axes
    }


def legend(drawing: Drawing) -> list[str]:
    [shown] = drawing.figure.legends
    return [text.get_text() for text in shown.get_texts()]


def test_each_panel_has_the_retrained_model_of_its_own_conditions() -> None:
    drawing = drawn(details(2.0))
    assert retrained_in(drawing) == {"unsir (device=A GPU)": [[4.0]], "unsir (device=cpu)": [[2.0]]}
    assert legend(drawing) == ["retrain, in every panel"]


def test_a_panel_without_a_retrained_model_of_its_conditions_borrows_none() -> None:
    own = {name: value for name, value in details(2.0).items() if not name.startswith("retrain_")}
    drawing = drawn(own)
    assert retrained_in(drawing) == {"unsir (device=A GPU)": [], "unsir (device=cpu)": [[2.0]]}
    assert legend(drawing) == ["retrain, in panels of the same conditions"]
