"""The plane of two settings: means over seeds in the right cells, gaps marked, and what is no plane."""

import itertools
from typing import Any

import numpy as np
import pytest

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import Drawing, scenes
from unsir_bench.report.figures.plane import PLANE
from unsir_bench.report.figures.style import style

IMPAIR, REPAIR = (0.0001, 0.001, 0.02), (0.0005, 0.01)


def accuracy(impair: float, repair: float, seed: int) -> float:
    return 0.5 + 0.1 * IMPAIR.index(impair) + 0.02 * REPAIR.index(repair) + 0.01 * seed


def tried(impair: float, repair: float, seed: int = 0, **changes: Any) -> RunRecord:
    value = accuracy(impair, repair, seed) if impair in IMPAIR and repair in REPAIR else 0.0
    references = {"retrain_acc_forget_test": 0.0, "retrain_acc_retain_test": 0.9}
    fields: dict[str, Any] = {
        "run_id": f"i{impair}r{repair}s{seed}", "sweep": "s", "method": "unsir", "dataset": "digits", "model": "net",
        "seed": seed, "status": "done", "forget_set": "single", "forget_classes": [0],
        "config": {"method": {"impair": {"lr": impair}, "repair": {"lr": repair}}},
        "metrics": {"acc_forget_test": 1 - value, "acc_retain_test": value, **references},
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def grid(*seeds: int) -> list[RunRecord]:
    return [tried(*pair, seed) for pair in itertools.product(IMPAIR, REPAIR) for seed in seeds]


def drawn(records: list[RunRecord]) -> list[Drawing]:
    with style():
        found = list(PLANE.draw(scenes("s", records)[0]))
        for one in found:
            one.figure.draw_without_rendering()
    return found


def test_cells_are_means_over_seeds_by_the_two_settings() -> None:
    (drawing,) = drawn(grid(0, 1))
    assert drawing.name == "plane-unsir-impair.lr-repair.lr"
    table = drawing.data.set_index(["impair.lr", "repair.lr"])
    assert list(table.index) == list(itertools.product(IMPAIR, REPAIR)) and set(table["n"]) == {2}
    for pair in table.index:
        mean = 100 * (accuracy(*pair, 0) + accuracy(*pair, 1)) / 2
        assert table.loc[pair, "a_dr_percent"] == pytest.approx(mean)
        assert table.loc[pair, "a_df_percent"] == pytest.approx(100 - mean)
    assert "n = 2 seeds" in drawing.figure.get_suptitle().replace("\n", " ")


def test_equal_accuracies_of_few_images_have_the_exact_interval() -> None:
    """0 of 10 forgotten images: up to 1 - 0.025 ** (1 / 10)."""
    runs = grid(0, 1)
    for run in runs:
        run.metrics["acc_forget_test"], run.details = 0.0, {"samples": {"forget_test": 10}}
    table = drawn(runs)[0].data
    assert set(table["a_df_percent_low"]) == {0} and table["a_df_percent_high"].tolist() == pytest.approx([30.8497] * 6)


def test_heat_maps_show_the_table_row_by_row_and_every_cell_has_its_number() -> None:
    (drawing,) = drawn(grid(0))
    forget, retain, trade_off = drawing.figure.axes[:3]
    shown = drawing.data["a_dr_percent"].to_numpy().reshape(3, 2)
    np.testing.assert_allclose(retain.images[0].get_array(), shown)
    numbers = [text.get_text() for text in retain.texts]
    assert numbers == [f"{value:.0f}" for value in shown.flatten()] and len(forget.texts) == 6
    assert [label.get_text() for label in forget.get_yticklabels()] == ["0.0001", "0.001", "0.02"]
    assert (forget.get_ylabel(), forget.get_xlabel()) == ("impair.lr", "repair.lr")
    lines = [line for line in trade_off.lines if len(line.get_xdata()) == 2]
    assert len(lines) == 3, "a line joins the pairs of each impair rate"
    np.testing.assert_allclose(lines[0].get_ydata(), shown[0])
    np.testing.assert_allclose(lines[0].get_xdata(), 100 - shown[0])


def test_a_pair_without_a_finished_run_is_marked_by_its_status_and_one_never_tried_by_a_dash() -> None:
    records = [run for run in grid(0) if run.run_id not in ("i0.02r0.01s0", "i0.0001r0.0005s0")]
    (drawing,) = drawn([*records, tried(0.02, 0.01, status="diverged", metrics={})])
    marks = [text.get_text() for text in drawing.figure.axes[0].texts if not text.get_text().isdigit()]
    assert marks == ["–", "div."]
    table = drawing.data.set_index(["impair.lr", "repair.lr"])
    assert table.loc[(0.02, 0.01), "not_done"] == "diverged" and table.loc[(0.02, 0.01), "n"] == 0
    assert "not shown: 1 diverged" in drawing.figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize(
    "records",
    [
        [tried(value, 0.01) for value in IMPAIR],
        [tried(impair, repair, seed) for impair, repair, seed in ((0.0001, 0.0005, 0), (0.02, 0.01, 1))],
        [
            tried(*pair, run_id=f"{pair}{rounds}", config={"method": {"a": pair[0], "b": pair[1], "c": rounds}})
            for pair in itertools.product(IMPAIR, REPAIR)
            for rounds in (1, 2)
        ],
        [
            tried(*pair, config={"method": {"a": pair[0], "b": f"x{pair[1]}"}})
            for pair in itertools.product(IMPAIR, REPAIR)
        ],
        [tried(*pair, status="failed", metrics={}) for pair in itertools.product(IMPAIR, REPAIR)],
    ],
    ids=["one setting", "no shared seed", "three settings", "words", "nothing done"],
)
def test_other_differences_are_no_plane(records: list[RunRecord]) -> None:
    assert drawn(records) == []


def test_a_wide_plane_stands_its_maps_one_under_the_other_and_nothing_is_below_seven_points() -> None:
    values = [10.0**-power for power in range(7)]
    records = [tried(0.001, 0.01, run_id=f"{a}{b}", config={"method": {"a": a, "b": b}})
               for a, b in itertools.product((1, 2), values)]  # fmt: skip
    (drawing,) = drawn(records)
    first, second = drawing.figure.axes[:2]
    assert first.get_position().y0 > second.get_position().y1
    texts = [text for text in drawing.figure.findobj(lambda one: hasattr(one, "get_fontsize")) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 7
