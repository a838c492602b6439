"""Figures of the gain of repair and of what A_Df hides: their numbers by hand, and when there are none."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from scipy import stats

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.any_forget_class import ANY_FORGET_CLASS
from unsir_bench.report.figures.data import Drawing, across_forget_sets, scenes
from unsir_bench.report.figures.draw import write_figures
from unsir_bench.report.figures.repair_gain import REPAIR_GAIN
from unsir_bench.report.figures.style import style
from unsir_bench.report.folders import Sweep


def record(method: str, seed: int, classes: list[int], impaired: float | None = 0.5, **metrics: float) -> RunRecord:
    found = {
        "acc_forget_test": 0.1 * (seed + 1), "acc_retain_test": 0.7 + 0.1 * seed,
        "forget_answered_any_forget_class": 0.5 + 0.2 * seed, "original_acc_forget_test": 1.0,
        "original_acc_retain_test": 0.9, "original_forget_answered_any_forget_class": 1.0,
        "retrain_acc_forget_test": 0.0, "retrain_acc_retain_test": 0.9, "retrain_forget_answered_any_forget_class": 0.0,
        **metrics,
    }  # fmt: skip
    stages = (
        [] if impaired is None else [{"stage": "impair", "step": 0, "acc_retain_test": impaired, "acc_forget_test": 0}]
    )
    return RunRecord(
        run_id=f"{method}-{len(classes)}-{seed}", sweep="s", method=method, dataset="digits", model="net", seed=seed,
        forget_set="single", forget_classes=classes, forget_steps=[classes], status="done", config={}, metrics=found,
        details={"stages": stages, "samples": {"forget_test": 100, "retain_test": 300}},
    )  # fmt: skip


def drawn(kind: Any, scene: Any) -> list[Drawing]:
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawings = list(kind.draw(scene))
        for drawing in drawings:
            drawing.figure.draw_without_rendering()
    return drawings


def test_the_gain_of_repair_by_hand_against_the_number_of_classes() -> None:
    runs = [record("unsir", seed, classes) for seed in (0, 1) for classes in ([0], [1, 2])]
    runs += [record("unsir_slim", 0, [0], impaired=0.7), record("finetune", 0, [0], impaired=None)]
    runs += [record("unsir", 0, [3, 4])]
    runs[-1].forget_steps = [[3], [4]]  # a sequence takes no part
    [scene] = across_forget_sets(scenes("s", runs))
    [drawing] = drawn(REPAIR_GAIN, scene)
    table = drawing.data.set_index(["label", "classes"])
    assert set(table.index) == {("unsir", 1), ("unsir", 2), ("unsir_slim", 1)}
    half = stats.t.ppf(0.975, 1) * np.std([20, 30], ddof=1) / 2**0.5
    for classes in (1, 2):
        row = table.loc[("unsir", classes)]
        assert (row["n"], row["a_dr_gain_points"]) == (2, pytest.approx(25))
        assert row["a_dr_gain_points_high"] == pytest.approx(25 + half)
        assert row["a_df_gain_points"] == pytest.approx(15)
    assert table.loc[("unsir_slim", 1), "a_dr_gain_points"] == pytest.approx(0)
    assert [tick.get_text() for tick in drawing.figure.axes[1].get_xticklabels()] == ["1", "2"]


def test_settings_of_a_method_have_tones_of_its_colour() -> None:
    """The second of two is seven tenths of the way from #D55E00 to white."""
    rates = {rate: replace(record("unsir", 0, [0]), run_id=f"r{rate}") for rate in (0.1, 0.2)}
    for rate, run in rates.items():
        run.config = {"method": {"lr": rate}}
    [scene] = scenes("s", list(rates.values()))
    [drawing] = drawn(REPAIR_GAIN, scene)
    colors = [to_rgb(container.lines[0].get_color()) for container in drawing.figure.axes[0].containers]
    full = np.array([213, 94, 0]) / 255
    assert [*colors[0], *colors[1]] == pytest.approx([*full, *(full + 0.7 * (1 - full))])


def test_the_gain_is_one_figure_of_all_forget_sets(tmp_path: Path) -> None:
    runs = [record("unsir", 0, [0]), record("unsir", 0, [1, 2])]
    said = list(write_figures([Sweep(tmp_path / "s", [(tmp_path / "s" / one.run_id, one) for one in runs])], tmp_path))
    assert {path.name for path in (tmp_path / "s").glob("repair_gain*.csv")} == {
        "repair_gain-digits-net-all_forget_sets.csv"
    }
    [line] = [line for line in said if "all forget sets" in line]
    assert line.startswith("s, digits, net, all forget sets: 1 figures in")


def test_a_gain_that_no_seed_varies_is_no_surer_than_its_test_samples() -> None:
    """From 0 to 0 of 100 forgotten test samples: Clopper-Pearson, 1 - 0.025^(1/100), to either side."""
    runs = [record("unsir", seed, [0], acc_forget_test=0.0) for seed in (0, 1)]
    [drawing] = drawn(REPAIR_GAIN, scenes("s", runs)[0])
    [row] = drawing.data.to_dict("records")
    high = 100 * (1 - 0.025 ** (1 / 100))
    assert row["a_df_gain_points"] == 0
    assert (row["a_df_gain_points_low"], row["a_df_gain_points_high"]) == pytest.approx((-high, high))
    [bar] = drawing.figure.axes[1].containers[0].lines[2]
    assert bar.get_segments()[0][:, 1] == pytest.approx([-high, high])


def test_a_gain_over_several_forget_sets_counts_the_fewest_test_samples_of_any() -> None:
    runs = [record("unsir", seed, classes, acc_forget_test=0.0) for seed in (0, 1) for classes in ([0], [1])]
    for run in runs:
        run.run_id += f"-{run.forget_classes}"
        run.details["samples"]["forget_test"] = 40 if run.forget_classes == [1] else 100
    [scene] = across_forget_sets(scenes("s", runs))
    [row] = drawn(REPAIR_GAIN, scene)[0].data.to_dict("records")
    assert row["a_df_gain_points_high"] == pytest.approx(100 * (1 - 0.025 ** (1 / 40)))


def test_what_a_df_hides_by_hand() -> None:
    [scene] = scenes("s", [record("unsir", seed, [3, 5]) for seed in (0, 1, 2)])
    [drawing] = drawn(ANY_FORGET_CLASS, scene)
    row = drawing.data.set_index("method").loc["unsir"]
    assert (row["a_df_percent"], row["any_forget_class_percent"]) == pytest.approx((20, 70))
    assert row["hidden_points"] == pytest.approx(50)
    half = stats.t.ppf(0.975, 2) * np.std([40, 50, 60], ddof=1) / 3**0.5
    assert row["hidden_points_high"] == pytest.approx(50 + half)
    assert drawing.data["method"].tolist() == ["original", "retrain", "unsir"]


def test_what_a_df_hides_is_no_surer_than_the_test_samples() -> None:
    """0 of 36 on all seeds: Clopper-Pearson, 1 - 0.025^(1/36), is 9.7 %."""
    none = {"acc_forget_test": 0.0, "forget_answered_any_forget_class": 0.0}
    runs = [record("unsir", seed, [3, 5], **none) for seed in (0, 1, 2)]
    for run in runs:
        run.details["samples"]["forget_test"] = 36
    [drawing] = drawn(ANY_FORGET_CLASS, scenes("s", runs)[0])
    row = drawing.data.set_index("method").loc["unsir"]
    assert (row["hidden_points"], row["hidden_points_low"]) == (0, 0)
    assert row["hidden_points_high"] == pytest.approx(9.74, abs=0.005)


def test_what_a_seed_lacks_makes_what_a_df_hides_one_of_fewer_seeds() -> None:
    runs = [record("unsir", seed, [3, 5]) for seed in (0, 1, 2)]
    runs[2].metrics["forget_answered_any_forget_class"] = None
    [drawing] = drawn(ANY_FORGET_CLASS, scenes("s", runs)[0])
    row = drawing.data.set_index("method").loc["unsir"]
    assert (row["a_df_percent_n"], row["any_forget_class_percent_n"], row["hidden_points_n"]) == (3, 2, 2)
    assert "n = 2 to 3 seeds" in " ".join(drawing.figure.get_suptitle().split())


def test_a_single_class_hides_nothing_and_has_no_figure() -> None:
    [scene] = scenes("s", [record("unsir", 0, [3])])
    assert drawn(ANY_FORGET_CLASS, scene) == []
    [without] = scenes("s", [record("unsir", 0, [3, 5], forget_answered_any_forget_class=np.nan)])
    assert "unsir" not in pd.concat([drawing.data for drawing in drawn(ANY_FORGET_CLASS, without)])["method"].tolist()


def test_a_gain_that_a_seed_lacks_is_one_of_fewer_seeds() -> None:
    runs = [record("unsir", seed, [0]) for seed in (0, 1, 2)]
    runs[2].details["stages"][0]["acc_forget_test"] = None
    [drawing] = drawn(REPAIR_GAIN, scenes("s", runs)[0])
    [row] = drawing.data.to_dict("records")
    assert (row["n"], row["a_dr_gain_points_n"], row["a_df_gain_points_n"]) == (3, 3, 2)
    assert "n = 2 to 3 seeds" in " ".join(drawing.figure.get_suptitle().split())
    for run in runs:
        run.details["stages"][0] |= {"acc_forget_test": None, "acc_retain_test": None}
    assert drawn(REPAIR_GAIN, scenes("s", runs)[0]) == []
