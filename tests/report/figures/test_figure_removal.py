"""The figure of certified removal: what a run keeps, its numbers in the table, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors
from unsir_bench.baselines.certified_removal import CertifiedRemoval

from tests.baselines.solved_scene import solved_scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.records import REMOVAL_FILE, RunRecord
from unsir_bench.report.figures.data import Drawing, scenes
from unsir_bench.report.figures.removal import REMOVAL
from unsir_bench.report.figures.style import style
from unsir_bench.training.context import RunContext

COURSE = {"samples": np.array([0, 1, 2]), "bound": np.array([0.0, 0.5, 2.0]), "residual": np.array([0.0, 0.1, 0.4])}


def record(seed: int = 0, **changes: Any) -> RunRecord:
    metrics = {"acc_forget_test": 0.0, "acc_retain_test": 0.9}
    fields: dict[str, Any] = {
        "run_id": f"r{seed}", "sweep": "s", "method": "certified_removal", "dataset": "digits",
        "model": "frozen_logistic", "seed": seed, "status": "done", "forget_set": "single", "forget_classes": [0],
        "metrics": metrics, "config": {"method": {"epsilon": 2.0}}, "guarantees": {"residual_budget": 4.0},
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def drawn(folder: Path, *runs: RunRecord) -> tuple[list[Drawing], list[str]]:
    """The figures of the runs, and what is complained of."""
    (scene,) = scenes("s", runs, {run.run_id: folder / run.run_id for run in runs})
    with style():
        drawings = list(REMOVAL.draw(scene))
        for each in drawings:
            each.figure.draw_without_rendering()
    return drawings, scene.complaints


def test_the_table_holds_each_point_with_what_it_costs(tmp_path: Path) -> None:
    for seed in (0, 1):
        (tmp_path / f"r{seed}").mkdir()
        save_file(COURSE, tmp_path / f"r{seed}" / REMOVAL_FILE)
    [drawing], _ = drawn(tmp_path, record(), record(seed=1))
    table = drawing.data
    assert table["seed"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["epsilon"].tolist()[:3] == [0.0, 0.25, 1.0]
    panel, costs = drawing.figure.axes[0], drawing.figure.axes[0].child_axes[0]
    assert costs.get_ylim() == pytest.approx([end / 2 for end in panel.get_ylim()])  # epsilon 2 at the budget of 4
    assert [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == "--"] == [4.0, 4.0]


def test_a_run_keeps_the_start_and_each_step_up_to_the_one_that_spent_the_budget(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, perturbation=0.5)
    scene.unlearned(CertifiedRemoval(epsilon=3.0))
    save_tensors(scene.context.kept["removal"], tmp_path / REMOVAL_FILE)
    kept, stated = load_file(tmp_path / REMOVAL_FILE), scene.context.guarantees
    fitted, budget = stated["removable_samples"], stated["residual_budget"]
    assert fitted is not None and budget is not None
    assert kept["samples"].tolist() == list(range(int(fitted) + 2))
    assert kept["bound"][-1] > budget >= kept["bound"][-2]
    assert (kept["residual"] <= kept["bound"] + 1e-12).all() and (np.diff(kept["bound"]) > 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bound": np.array([0.0, np.nan, 1.0])}, "'bound' holds NaN"),
        ({"bound": np.array([0.0, -1.0, 1.0])}, "negative norms"),
        ({"samples": np.array([0, 2, 1])}, "numbers of samples that fall"),
        ({"residual": np.array([0.0])}, "arrays of different lengths"),
        ({}, "no residual_budget"),
    ],
)
def test_a_damaged_course_is_named_and_gives_no_figure(
    tmp_path: Path, change: dict[str, np.ndarray], words: str
) -> None:
    (tmp_path / "r0").mkdir()
    save_file({**COURSE, **change}, tmp_path / "r0" / REMOVAL_FILE)
    drawings, said = drawn(tmp_path, record(guarantees={"residual_budget": 4.0} if change else {}))
    assert any(words in line and REMOVAL_FILE in line for line in said)
    assert drawings == []


def test_several_unlearning_seeds_are_lines_of_fewer_seeds(tmp_path: Path) -> None:
    runs = [record(seed, run_id=f"r{seed}{draw}", config={"method": {"epsilon": 2.0}, "unlearn_seed": draw})
            for seed in (0, 1) for draw in (0, 1)]  # fmt: skip
    for run in runs:
        (tmp_path / run.run_id).mkdir()
        save_file(COURSE, tmp_path / run.run_id / REMOVAL_FILE)
    title, of_one_run_each = (
        " ".join(drawn(tmp_path, *shown)[0][0].figure.get_suptitle().split()) for shown in (runs, runs[::2])
    )
    assert "n = 2 seeds" in title and "a line per run" in title
    assert "n = 2 seeds" in of_one_run_each and "a line per seed" in of_one_run_each
