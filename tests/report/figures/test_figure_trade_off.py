"""The Pareto front of the trade-off figure: who is on it, and who takes no part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.report.figures.test_figures import PLACE, make, record, table
from unsir_bench.report.figures.data import scenes
from unsir_bench.report.figures.style import style
from unsir_bench.report.figures.trade_off import TRADE_OFF
from unsir_bench.report.plots.trade_off import pareto_front


def test_the_pareto_front_is_that_of_brute_force() -> None:
    random = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in random.integers(0, 12, (60, 2))]
    expected = []
    for (x, y), front in zip(points, pareto_front(points), strict=True):
        better = [(a, b) for a, b in points if a <= x and b >= y and (a, b) != (x, y)]
        expected.append(front is (not better))
    assert all(expected) and 0 < sum(pareto_front(points)) < len(points)
    assert all(pareto_front([(0.0, 1.0), (0.0, 1.0)]))


def test_references_and_the_mask_stand_outside_the_front(tmp_path: Path) -> None:
    worse = {"acc_forget_test": 0.5, "acc_retain_test": 0.5}
    masked = {"acc_forget_test": 0.0, "acc_retain_test": 1.0}
    others = [record("scrub", metrics=worse, details={}), record("logit_mask", metrics=masked, details={})]
    make(tmp_path, [record(details={}), *others])
    front = table(tmp_path, f"trade_off-{PLACE}")["pareto_front"].to_dict()
    assert front == {"original": False, "retrain": False, "unsir": True, "scrub": False, "logit_mask": False}


def test_models_made_elsewhere_stand_outside_the_front(tmp_path: Path) -> None:
    better = {"acc_forget_test": 0.0, "acc_retain_test": 0.95}
    foreign = record("scrub", metrics=better, details={}, checkpoints={"unlearned": {"weights": "abc"}})
    make(tmp_path, [record(details={}), foreign])
    front = table(tmp_path, f"trade_off-{PLACE}")["pareto_front"].to_dict()
    assert front == {"original": False, "retrain": False, "unsir": True, "scrub (made elsewhere)": False}


def test_each_device_has_a_front_of_its_own() -> None:
    better = {"acc_forget_test": 0.0, "acc_retain_test": 0.95}
    runs = [
        record(details={}, environment={"device": "cpu"}),
        record("ssd", metrics=better, details={}, environment={"device": "A GPU"}),
    ]
    with style():
        (drawing,) = TRADE_OFF.draw(scenes("s", runs)[0])
    front = drawing.data.set_index("method")["pareto_front"]
    assert set(front[front].index) == {"unsir (device=cpu)", "ssd (device=A GPU)"}
    assert "ring: Pareto front of the same conditions" in drawing.figure.get_suptitle().replace("\n", " ")
