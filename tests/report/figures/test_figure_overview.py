"""The picture of the four questions: its numbers by hand, whole intervals, retrain's band, and controls by name."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import TIMED_APART, Drawing, Scene, scenes
from unsir_bench.report.figures.efficiency import EFFICIENCY
from unsir_bench.report.figures.overview import OVERVIEW
from unsir_bench.report.figures.style import style
from unsir_bench.report.figures.trade_off import TRADE_OFF

AREAS = {"unsir": (0.2, 0.3, 0.4), "fisher": (0.9, 0.9, 0.9), "logit_mask": (0.5, 0.5, 0.5)}
LONGEST = "boundary_expand_published"  # the name that leaves the columns the least room


def record(method: str, seed: int, **metrics: float) -> RunRecord:
    area = AREAS.get(method, (0.5,))[seed]
    found = {
        "acc_forget_test": 0.0, "acc_retain_test": 0.8 + 0.01 * seed, "unlearn_seconds": 1.0 + seed,
        "original_acc_forget_test": 1.0, "original_acc_retain_test": 0.9, "retrain_acc_forget_test": 0.0,
        "retrain_acc_retain_test": 0.9 - 0.01 * seed, "retrain_seconds": 100.0, "original_probe_linear_auc": 0.97,
        "retrain_probe_linear_auc": 0.9, "probe_linear_auc": 0.9702 if method == "fisher" else 0.92, **metrics,
    }  # fmt: skip
    curve, theirs = [[0, area], [10, area]], [[0, 0.0], [10, 1.0]]
    return RunRecord(
        run_id=f"{method}-{seed}", sweep="s", method=method, dataset="digits", model="net", seed=seed,
        forget_set="single", forget_classes=[0], status="done", config={}, metrics=found,
        details={
            "relearn_curve": curve, "retrain_relearn_curve": theirs,
            "samples": {"forget_test": 10, "retain_test": 300, "forget_train": 50, "retain_train": 500},
        },
    )  # fmt: skip


@pytest.fixture
def scene() -> Scene:
    [found] = scenes("s", [record(method, seed) for method in AREAS for seed in range(3)])
    return found


def only(scene: Scene, kind: Any) -> Drawing:
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        [drawing] = kind.draw(scene)
        drawing.figure.draw_without_rendering()
    return drawing


def test_the_numbers_are_those_by_hand(scene: Scene) -> None:
    table = only(scene, OVERVIEW).data.set_index("method")
    unsir = table.loc["unsir"]
    # 0 of 10 test samples: Clopper-Pearson, 1 - 0.025^(1/10); no seed varies.
    assert (unsir["a_df_percent"], unsir["a_df_percent_low"]) == (0, 0)
    assert unsir["a_df_percent_high"] == pytest.approx(100 * (1 - 0.025 ** (1 / 10)))
    half = stats.t.ppf(0.975, 2) * np.std([20, 30, 40], ddof=1) / 3**0.5
    assert unsir["relearn_area_percent"] == pytest.approx(30)
    assert unsir["relearn_area_percent_high"] == pytest.approx(30 + half)
    assert (unsir["seconds"], unsir["seconds_shortest"], unsir["seconds_longest"]) == (2, 1, 3)
    assert table.loc["retrain", "seconds"] == 100 and np.isnan(table.loc["original", "seconds"])
    assert table["control"].to_dict() == {
        "original": False, "retrain": False, "unsir": False, "fisher": True, "logit_mask": True,
    }  # fmt: skip


@pytest.mark.parametrize("kind", [OVERVIEW, TRADE_OFF], ids=lambda kind: kind.name)
def test_a_measure_that_a_seed_lacks_is_of_fewer_seeds_and_the_title_says_the_range(kind: Any) -> None:
    runs = [record("unsir", seed) for seed in range(3)]
    runs[2].metrics["acc_retain_test"] = None
    drawing = only(scenes("s", runs)[0], kind)
    unsir = drawing.data.set_index("method").loc["unsir"]
    assert (unsir["n"], unsir["a_df_percent_n"], unsir["a_dr_percent_n"]) == (3, 3, 2)
    assert "n = 2 to 3 seeds" in " ".join(drawing.figure.get_suptitle().split())


@pytest.mark.parametrize("kind", [OVERVIEW, TRADE_OFF], ids=lambda kind: kind.name)
def test_every_interval_and_marker_lies_inside_its_axes_and_nothing_shares_a_row(scene: Scene, kind: Any) -> None:
    for panel in only(scene, kind).figure.axes:
        low, high = panel.get_xlim()
        segments = [line for line in panel.lines if line.get_linestyle() == "-" and len(set(line.get_ydata())) == 1]
        assert len(segments) >= 4
        for line in segments:
            assert low < min(line.get_xdata()) <= max(line.get_xdata()) < high
        rows = [line.get_ydata()[0] for line in segments]
        assert len(rows) == len(set(rows))


def test_retrain_s_interval_is_a_band_behind_each_column(scene: Scene) -> None:
    drawing = only(scene, OVERVIEW)
    retrain = drawing.data.set_index("method").loc["retrain"]
    names = ("a_df_percent", "a_dr_percent", "relearn_area_percent", "seconds")
    for panel, name in zip(drawing.figure.axes, names, strict=True):
        [band] = panel.patches
        ends = band.get_extents().transformed(panel.transData.inverted())
        low_and_high = ("shortest", "longest") if name == "seconds" else ("low", "high")
        expected = [retrain[f"{name}_{end}"] for end in low_and_high]
        np.testing.assert_allclose([ends.x0, ends.x1], expected, rtol=1e-6, atol=1e-6)


def test_controls_are_named_have_open_markers_and_no_ring(scene: Scene) -> None:
    drawing = only(scene, TRADE_OFF)
    first = drawing.figure.axes[0]
    names = [label.get_text() for label in first.get_yticklabels()]
    labels = dict(zip(first.get_yticks(), names, strict=True))
    assert {"fisher †", "logit_mask †", "unsir"} < set(names)
    note = "† control: forgets nothing, or features keep the class"
    assert note in " ".join(drawing.figure.get_suptitle().split())
    for panel in drawing.figure.axes:
        rings = [line for line in panel.lines if line.get_markersize() == 8]
        assert [labels[line.get_ydata()[0]] for line in rings] == ["unsir"]
        markers = [line for line in panel.lines if line.get_markersize() == 4]
        open_ones = {labels[m.get_ydata()[0]] for m in markers if to_hex(m.get_markerfacecolor()) == "#ffffff"}
        assert open_ones == {"fisher †", "logit_mask †"}


def test_without_curves_and_seconds_the_other_columns_are_left() -> None:
    runs = [record("unsir", seed) for seed in range(2)]
    for run in runs:
        run.details = {}
        run.metrics = {name: value for name, value in run.metrics.items() if "seconds" not in name}
    [scene] = scenes("s", runs)
    assert len(only(scene, OVERVIEW).figure.axes) == 2


def test_seconds_that_were_not_taken_alike_are_said_to_be_where_there_are_any() -> None:
    runs = [
        replace(record(method, 0), environment={"device": "cpu", "threads": threads})
        for method, threads in (("unsir", 1), ("fisher", 2))
    ]

    def said(found: list[RunRecord]) -> bool:
        [scene] = scenes("s", found)
        return TIMED_APART in " ".join(only(scene, OVERVIEW).figure.get_suptitle().split())

    assert said(runs) and not said(runs[:1])
    for run in runs:
        run.metrics = {name: value for name, value in run.metrics.items() if "seconds" not in name}
    assert not said(runs)


@pytest.mark.parametrize("retained", [0.3, 0.5, 0.8, 0.92, 0.95, 0.965, 0.97])
@pytest.mark.parametrize("kind", [OVERVIEW, TRADE_OFF], ids=lambda kind: kind.name)
def test_numbers_at_an_axis_never_run_into_each_other(kind: Any, retained: float) -> None:
    near = {"original_acc_retain_test": retained + 0.025, "retrain_acc_retain_test": retained + 0.02}
    runs = [
        record(method, seed, acc_retain_test=retained + 0.005 * (seed - 1), **near)
        for method in AREAS
        for seed in range(3)
    ]
    [found] = scenes("s", runs)
    assert_numbers_apart(only(found, kind))


@pytest.mark.parametrize("kept", [0.755, 0.986])
@pytest.mark.parametrize("ruined", [0.0, 0.11, 0.2, 0.45])
def test_nor_where_one_method_ruins_the_network(ruined: float, kept: float) -> None:
    near = {"original_acc_retain_test": kept, "retrain_acc_retain_test": kept + 0.01}
    kept_by = dict.fromkeys([*AREAS, LONGEST], kept) | {"unsir": ruined}
    runs = [record(method, 0, acc_retain_test=value, **near) for method, value in kept_by.items()]
    [found] = scenes("s", runs)
    assert_numbers_apart(only(found, OVERVIEW))


@pytest.mark.parametrize("longest", [0.9, 6.0, 78.0, 120.0, 900.0, 40_000.0])
@pytest.mark.parametrize("shortest", [0.0004, 0.003, 0.02, 0.4])
def test_nor_do_those_of_seconds(shortest: float, longest: float) -> None:
    seconds = {"unlearn_seconds": shortest, "retrain_seconds": longest}
    runs = [record(method, seed, **seconds) for method in AREAS for seed in range(2)]
    [found] = scenes("s", runs)
    assert_numbers_apart(only(found, OVERVIEW))


def assert_numbers_apart(drawing: Drawing) -> None:
    for panel in drawing.figure.axes:
        low, high = panel.get_xlim()
        shown = [
            label.get_window_extent()
            for place, label in zip(panel.get_xticks(), panel.get_xticklabels(), strict=True)
            if low <= place <= high and label.get_text()
        ]
        assert shown, "an axis without numbers"
        beside = pairwise(sorted(shown, key=lambda box: box.x0))
        assert all(left.x1 + left.height / 2 < right.x0 for left, right in beside), "numbers that read as one"


@pytest.mark.parametrize("kind", [OVERVIEW, EFFICIENCY], ids=["overview", "efficiency"])
def test_the_line_of_seconds_ends_at_runs_and_not_at_means_of_their_seed(kind: Any) -> None:
    """Two unlearning seeds of each training seed: means of 2 and 3 s, of runs of 1 to 5 s."""
    runs = []
    for seed, seconds in ((0, (1.0, 3.0)), (1, (1.0, 5.0))):
        for draw, each in enumerate(seconds):
            runs.append(replace(record("unsir", seed, unlearn_seconds=each), run_id=f"u-{seed}-{draw}"))
            runs[-1].config = {"unlearn_seed": draw}
    [scene] = scenes("s", runs)
    row = only(scene, kind).data.set_index("method").loc["unsir"]
    assert (row["seconds"], row["seconds_shortest"], row["seconds_longest"]) == (2.5, 1, 5)
