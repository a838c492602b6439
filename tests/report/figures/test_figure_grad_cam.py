"""The Grad-CAM figure: columns and overlays from the files beside records, against numbers by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unsir_bench.records import GRAD_CAM_FILE, RunRecord
from unsir_bench.report.figures.data import Drawing, Scene, scenes
from unsir_bench.report.figures.grad_cam import GRAD_CAM, overlay
from unsir_bench.report.figures.style import style
from unsir_bench.report.method_style import method_style

RAMP = torch.linspace(0, 1, 64).reshape(8, 8)


def record(method: str, seed: int = 0) -> RunRecord:
    return RunRecord(
        run_id=f"{method}-s{seed}", sweep="s", method=method, dataset="digits", model="net", seed=seed, status="done",
        config={"dataset": {"mean": [0.5], "std": [0.25]}}, forget_set="single", forget_classes=[3],
        metrics={"retrain_acc_retain_test": 0.9},
    )  # fmt: skip


def views(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    tensors = {
        "images": torch.stack([(RAMP - 0.5) / 0.25, (RAMP.T - 0.5) / 0.25])[:, None],
        "samples": torch.tensor([4, 9]),
        "labels": torch.tensor([3, 3]),
        "original": torch.stack([RAMP, RAMP]),
        "retrain": torch.stack([RAMP.flip(0).flip(1), torch.zeros(8, 8)]),
        "unlearned": torch.stack([RAMP.T, RAMP]),
        **changes,
    }
    return {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}


def scene_of(folder: Path, *runs: tuple[RunRecord, dict[str, torch.Tensor]]) -> Scene:
    for one, tensors in runs:
        (folder / one.run_id).mkdir(parents=True)
        save_file(tensors, folder / one.run_id / GRAD_CAM_FILE)
    records = [one for one, _ in runs]
    return scenes("s", records, {one.run_id: folder / one.run_id for one in records})[0]


def drawn(scene: Scene) -> list[Drawing]:
    with style():
        found = list(GRAD_CAM.draw(scene))
        for one in found:
            one.figure.draw_without_rendering()
    return found


def test_columns_are_the_image_the_references_and_each_method_in_its_colour(tmp_path: Path) -> None:
    methods = ("original", "retrain", "unsir", "finetune")
    (drawing,) = drawn(scene_of(tmp_path, *((record(name), views()) for name in methods)))
    tiles = [panel for panel in drawing.figure.axes if panel.images and panel.get_ylabel() != ""]
    assert [tile.get_ylabel() for tile in tiles if "class" in tile.get_ylabel()] == ["class 3\nseed 0"] * 2
    heads = [panel.title for panel in drawing.figure.axes[:5]]
    assert [head.get_text() for head in heads] == ["image", "original", "retrain", "unsir", "finetune"]
    assert [head.get_color() for head in heads[1:]] == [
        method_style(name).color for name in ("original", "retrain", "unsir", "finetune")
    ]


def test_a_map_lies_over_the_grey_image_and_an_empty_one_is_marked(tmp_path: Path) -> None:
    (drawing,) = drawn(scene_of(tmp_path, (record("unsir"), views())))
    tiles = np.array(drawing.figure.axes[:8]).reshape(2, 4)
    np.testing.assert_allclose(tiles[0, 0].images[0].get_array(), RAMP, atol=1e-6)  # 0.5 + 0.25 * normalised
    color = matplotlib.colormaps["cividis"](1.0)[:3]
    np.testing.assert_allclose(tiles[0, 1].images[0].get_array()[7, 7], [0.6 * part + 0.4 for part in color], atol=1e-6)
    np.testing.assert_allclose(overlay(RAMP.numpy(), RAMP.numpy())[0, 0], 0.6 * np.array(
        matplotlib.colormaps["cividis"](0.0)[:3]
    ))  # fmt: skip
    assert [text.get_text() for text in tiles[1, 2].texts] == ["empty"] and not tiles[0, 2].texts
    assert "empty: nothing speaks for it" in drawing.figure.get_suptitle().replace("\n", " ")


def test_the_table_has_the_summary_of_every_map(tmp_path: Path) -> None:
    (drawing,) = drawn(scene_of(tmp_path, (record("unsir"), views())))
    table = drawing.data.set_index(["model", "sample"])
    assert list(table.index) == [(name, sample) for name in ("original", "retrain", "unsir") for sample in (4, 9)]
    first = table.loc[("unsir", 4)]
    assert first["mean"] == pytest.approx(0.5) and first["std"] == pytest.approx(
        float(RAMP.std(correction=0)), abs=1e-6
    )
    assert (first["peak_row"], first["peak_column"], first["area_above_half"]) == (7, 7, 0.5)
    expected = np.corrcoef(RAMP.T.flatten(), RAMP.flatten())[0, 1]
    assert first["correlation_with_original"] == pytest.approx(expected, abs=1e-6)
    assert first["correlation_with_retrain"] == pytest.approx(-expected, abs=1e-6)
    empty = table.loc[("retrain", 9)]
    assert empty["empty"] and empty[["peak_row", "correlation_with_original"]].isna().all()


def test_many_methods_go_to_several_figures_each_with_the_references(tmp_path: Path) -> None:
    names = ["unsir", "finetune", "ssd", "random_label", "salun"]
    found = drawn(scene_of(tmp_path, *((record(name), views()) for name in names)))
    assert [one.name for one in found] == ["grad_cam-1", "grad_cam-2"]
    shown = [list(dict.fromkeys(one.data["model"])) for one in found]
    assert all(models[:2] == ["original", "retrain"] for models in shown)
    assert sorted([*shown[0][2:], *shown[1][2:]]) == sorted(names) and len(shown[0]) == 5


def test_runs_on_another_device_have_a_figure_with_references_of_their_own(tmp_path: Path) -> None:
    here = replace(record("unsir"), environment={"device": "cpu"})
    there = replace(record("ssd"), environment={"device": "A GPU"})
    empty = views(retrain=torch.zeros(2, 8, 8))
    first, second = drawn(scene_of(tmp_path, (here, views()), (there, empty)))
    assert list(dict.fromkeys(first.data["model"])) == ["original", "retrain", "unsir (device=cpu)"]
    assert list(dict.fromkeys(second.data["model"])) == ["original", "retrain", "ssd (device=A GPU)"]
    of_retrain = [one.data.set_index(["model", "sample"]).loc[("retrain", 4), "empty"] for one in (first, second)]
    assert of_retrain == [False, True]
    assert "device=A GPU" in " ".join(second.figure.get_suptitle().split())


def test_maps_of_other_images_are_named_and_left_out(tmp_path: Path) -> None:
    other = views(samples=torch.tensor([5, 6]))
    scene = scene_of(tmp_path, (record("unsir"), views()), (record("ssd"), views()), (record("salun"), other))
    (drawing,) = drawn(scene)
    assert set(drawing.data["model"]) == {"original", "retrain", "unsir", "ssd"}
    assert scene.complaints == ["the Grad-CAM maps of salun-s0 are of other images and left out"]


def test_seeds_of_an_image_stand_below_one_another_and_a_seed_without_maps_is_left_blank(tmp_path: Path) -> None:
    runs = [record("unsir"), record("unsir", seed=1), record("ssd", seed=1)]
    (drawing,) = drawn(scene_of(tmp_path, *((run, views()) for run in runs)))
    tiles = np.array(drawing.figure.axes[:20]).reshape(4, 5)
    assert [row[0].get_ylabel() for row in tiles] == ["class 3\nseed 0", "class 3\nseed 1"] * 2
    # Two by two: the same image.
    shown = [row[0].images[0].get_array() for row in tiles]
    assert (shown[0] == shown[1]).all() and (shown[2] == shown[3]).all() and (shown[0] != shown[2]).any()
    heads = [tile.get_title() for tile in tiles[0]]
    assert [bool(row[heads.index("ssd")].images) for row in tiles] == [False, True, False, True]
    assert drawing.data.groupby("model")["seed"].unique().map(list).to_dict()["unsir"] == [0, 1]


def test_a_control_bears_a_dagger(tmp_path: Path) -> None:
    (drawing,) = drawn(scene_of(tmp_path, (record("logit_mask"), views())))
    assert drawing.figure.axes[3].get_title().replace("\n", "") == "logit_mask †"
    assert "† control" in " ".join(drawing.figure.get_suptitle().split())


def test_one_scale_for_all_maps_where_their_sizes_are_known(tmp_path: Path) -> None:
    peaks = {name: torch.tensor([size, size / 2]) for name, size in
             (("original_peaks", 8.0), ("retrain_peaks", 1.0), ("unlearned_peaks", 2.0))}  # fmt: skip
    (drawing,) = drawn(scene_of(tmp_path, (record("unsir"), views(**peaks))))
    tiles = np.array(drawing.figure.axes[:8]).reshape(2, 4)
    # The brightest position of unsir's first map has 2 of 8.
    expected = overlay(RAMP.numpy(), RAMP.T.numpy() * 0.25)
    np.testing.assert_allclose(tiles[0, 3].images[0].get_array(), expected, atol=1e-6)
    assert drawing.figure.axes[-1].get_xlabel() == "Grad-CAM, one scale for all maps"
    assert drawing.figure.axes[-1].get_xlim() == (0, 8)
    assert drawing.data.set_index(["model", "sample"]).loc[("unsir", 9), "largest"] == 1


def test_without_all_sizes_each_map_has_its_own_scale_and_the_figure_says_so(tmp_path: Path) -> None:
    partly = views(unlearned_peaks=torch.tensor([1.0, 2.0]))
    (drawing,) = drawn(scene_of(tmp_path, (record("unsir"), partly)))
    assert drawing.figure.axes[-1].get_xlabel() == "Grad-CAM, each map scaled on its own"


def test_a_run_without_a_retrained_model_has_no_column_for_it(tmp_path: Path) -> None:
    (drawing,) = drawn(scene_of(tmp_path, (record("unsir"), views(retrain=None))))
    assert list(dict.fromkeys(drawing.data["model"])) == ["original", "unsir"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unlearned": None}, "no 'unlearned'"),
        ({"original": torch.zeros(2, 4, 4)}, "different sizes"),
        ({"labels": torch.tensor([3])}, "different lengths"),
        ({"images": torch.zeros(0, 1, 8, 8)}, "shape"),
        ({"retrain_peaks": torch.tensor([1.0])}, "one number of at least 0 for each image"),
        ({"retrain_peaks": torch.tensor([1.0, float("nan")])}, "one number of at least 0 for each image"),
    ],
)
def test_a_damaged_file_is_named_and_left_out(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    scene = scene_of(tmp_path, (record("unsir"), views(**changes)), (record("ssd"), views()))
    (drawing,) = drawn(scene)
    assert "unsir" not in set(drawing.data["model"])
    (complaint,) = scene.complaints
    assert "unsir-s0" in complaint and why in complaint
