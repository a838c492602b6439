"""Noise images kept by runs of UNSIR: that they are the learned ones and change nothing, and how they are shown."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from unsir_bench import compose
from unsir_bench.config import Config
from unsir_bench.records import NOISE_FILE, RunRecord
from unsir_bench.report.figures.data import scenes
from unsir_bench.report.figures.draw import write_figures
from unsir_bench.report.figures.noise import NOISE, shades
from unsir_bench.report.figures.style import style
from unsir_bench.report.folders import Sweep
from unsir_bench.runner import run

TINY = [
    "dataset.subset=15", "model.width=4", "train.epochs=2", "method.noise.steps=4", "method.noise.batch_size=8",
    "method.noise.copies=2", "metrics=fast", "tracker=none", "hardware=cpu", "method.retain_per_class=5",
]  # fmt: skip


def composed(place: Path, outputs: str, *overrides: str) -> Config:
    return compose([*TINY, *overrides, f"outputs={place}/{outputs}", f"store.root={place}/store"])


def noise_record(**changes: object) -> RunRecord:
    fields: dict[str, object] = {
        "run_id": "unsir-s0", "sweep": "s", "method": "unsir", "dataset": "digits", "model": "net", "seed": 0,
        "config": {}, "status": "done", "forget_set": "pair", "forget_classes": [3, 5],
        "forget_names": ["three", "five"],
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})  # type: ignore[arg-type]


def noise_file(folder: Path, channels: int = 1, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    tensors = {
        "learned": torch.randn((4, channels, 8, 8), generator=draws),
        "initial": torch.randn((4, channels, 8, 8), generator=draws),
        "classes": torch.tensor([3, 3, 5, 5]),
        "images": torch.tensor([0, 1, 0, 1]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**tensors, **changes}, folder / NOISE_FILE)
    return tensors


def test_kept_noise_lies_beside_the_record_and_changes_no_result(tmp_path: Path) -> None:
    plain, keeping = (composed(tmp_path, f"kept{kept}", "forget=pair", f"method.noise.kept={kept}") for kept in (0, 3))
    assert plain.run_id == keeping.run_id
    before, after = run(plain), run(keeping)
    assert before.status == after.status == "done", before.error or after.error
    assert before.fingerprints == after.fingerprints
    assert sorted(path.name for path in plain.folder.iterdir()) == ["record.json"]
    assert sorted(path.name for path in keeping.folder.iterdir()) == [NOISE_FILE, "record.json"]
    kept = load_file(keeping.folder / NOISE_FILE)
    assert kept["learned"].shape == kept["initial"].shape == (6, 1, 8, 8)
    assert kept["classes"].tolist() == [1, 1, 1, 2, 2, 2] and kept["images"].tolist() == [0, 1, 2] * 2
    moved = (kept["learned"] - kept["initial"]).abs()
    assert 0 < float(moved.max()) <= 4 * 0.1 * 1.1  # Adam moves a value by about its rate a step


def test_a_sequence_keeps_the_noise_of_every_step(tmp_path: Path) -> None:
    config = composed(tmp_path, "out", "forget=sequence", "method.noise.kept=2")
    assert run(config).status == "done"
    assert load_file(config.folder / NOISE_FILE)["classes"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_run_that_diverges_leaves_the_noise_that_it_had_learned(tmp_path: Path) -> None:
    config = composed(tmp_path, "out", "method.noise.kept=2", "method.impair.lr=1e30")
    assert run(config).status == "diverged"
    assert load_file(config.folder / NOISE_FILE)["learned"].isfinite().all()


def test_more_kept_than_learned_is_refused(tmp_path: Path) -> None:
    config = composed(tmp_path, "out", "method.noise.kept=9")
    record = run(config)
    assert record.status == "failed" and "method.noise.kept=9: only method.noise.batch_size=8" in str(record.reason)


def test_the_scale_of_grey_is_fixed() -> None:
    image = np.array([[[-3.0, 0.0, 3.0], [-9.0, 1.5, 9.0]]])
    shown = shades(image)
    assert shown.shape == (2, 3, 3)
    np.testing.assert_allclose(shown[..., 0], [[0, 0.5, 1], [0, 0.75, 1]])
    assert (shown[..., 0] == shown[..., 2]).all()
    coloured = shades(np.stack([image[0], -image[0], 0 * image[0]]))
    np.testing.assert_allclose(coloured[0, 2], [1, 0, 0.5])


def test_a_row_per_class_and_the_numbers_of_every_kept_image(tmp_path: Path) -> None:
    tensors = noise_file(tmp_path / "unsir-s0")
    scene = scenes("s", [noise_record()], {"unsir-s0": tmp_path / "unsir-s0"})[0]
    with style():
        (drawing,) = NOISE.draw(scene)
        drawing.figure.draw_without_rendering()
    tiles = [panel for panel in drawing.figure.axes if panel.images]
    assert [panel.get_ylabel() for panel in tiles if panel.get_ylabel()] == ["class 3\nthree", "class 5\nfive"]
    np.testing.assert_allclose(tiles[0].images[0].get_array(), shades(tensors["learned"][0].numpy()))
    table = drawing.data.set_index(["stage", "class", "index"])
    assert len(table) == 8
    image = tensors["initial"][3].double()
    row = table.loc[("initial", 5, 1)]
    expected = [image.min(), image.max(), image.mean(), image.std(correction=0)]
    assert row[["min", "max", "mean", "std"]].tolist() == pytest.approx([float(value) for value in expected], abs=1e-6)


DAMAGE: dict[str, dict[str, torch.Tensor]] = {
    "finite": {"learned": torch.full((4, 1, 8, 8), float("nan"))},
    "lengths": {"classes": torch.tensor([3])},
    "shape": {"initial": torch.zeros(4, 8, 8)},
    "sizes": {"initial": torch.zeros(4, 1, 9, 9)},
}


@pytest.mark.parametrize("kind", [*DAMAGE, "truncated", "missing"])
def test_a_damaged_file_is_named_and_gives_no_figure(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "s" / "unsir-s0"
    noise_file(folder, **DAMAGE.get(kind, {}))
    path = folder / NOISE_FILE
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    if kind == "missing":
        save_file({"learned": torch.zeros(4, 1, 8, 8)}, path)
    said = list(write_figures([Sweep(tmp_path / "s", [(folder / "record.json", noise_record())])], tmp_path / "out"))
    (line,) = [line for line in said if NOISE_FILE in line and "cannot be read and is left out" in line]
    assert str(folder) in line
    assert not list(tmp_path.glob("out/**/*.png"))


def test_runs_that_differ_only_in_what_they_kept_are_of_one_setting() -> None:
    runs = [
        noise_record(run_id=f"s{seed}", seed=seed, config={"method": {"lr": 0.1, "noise": noise}})
        for seed, noise in enumerate([{}, {"kept": 0}, {"kept": 4}])
    ]
    assert {run.label for run in scenes("s", runs)[0].runs()} == {"unsir"}


def test_more_images_and_classes_than_fit_are_in_the_table(tmp_path: Path) -> None:
    classes = torch.arange(14).repeat_interleave(6)
    changes = {name: torch.zeros(84, 3, 4, 4) for name in ("learned", "initial")}
    noise_file(tmp_path, classes=classes, images=torch.arange(6).repeat(14), **changes)
    scene = scenes("s", [noise_record(forget_classes=list(range(14)), forget_names=[])], {"unsir-s0": tmp_path})[0]
    with style():
        (drawing,) = NOISE.draw(scene)
    assert len([panel for panel in drawing.figure.axes if panel.images]) == 12 * 4 * 2
    assert "the first 12 of 14 classes" in drawing.figure.get_suptitle().replace("\n", " ")
    assert isinstance(drawing.data, pd.DataFrame) and len(drawing.data) == 168
