"""What a run leaves in the offline file of Weights & Biases, read back."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.tracking.fake_run import FakeRun, a_record
from tests.tracking.offline_file import SECRET, WhatIsWritten
from unsir_bench import compose, runner
from unsir_bench.data.digits import Digits
from unsir_bench.records import RunRecord
from unsir_bench.runtime.progress import Progress
from unsir_bench.tracking.grad_cam import grad_cam_panels
from unsir_bench.tracking.run import Tracker, tags
from unsir_bench.tracking.tables import curves, tables

TINY = [
    "dataset.subset=20", "model.width=8", "train.epochs=12", "method.noise.steps=4", "method.noise.batch_size=8",
    "method.noise.copies=2", "metrics=full", "metrics.lira_shadows=0", "metrics.relearn.cap=20",
    "metrics.grad_cam_samples=3", "sweep=tracked",
]  # fmt: skip


@dataclass
class Tracked:
    folder: Path
    record: RunRecord
    written: WhatIsWritten

    def table(self, name: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of the table's file."""
        reference = self.written.summary[f"{name}_table"]
        [file] = self.folder.glob(f"wandb/offline-run-*/files/{reference['path']}")
        content = json.loads(file.read_text())
        return content["columns"], content["data"]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """A run on a handful of digits that measures everything, logged offline while a key lies in the environment."""
    folder = tmp_path_factory.mktemp("tracked")
    places = [f"outputs={folder}", f"store.root={folder}/store", "tracker=wandb_offline"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", SECRET)
        config = compose([*TINY, *places])
        record = runner.run(config)
    [file] = config.folder.glob("wandb/offline-run-*/run-*.wandb")
    return Tracked(config.folder, record, WhatIsWritten.read(file))


def test_the_summary_holds_every_metric_of_the_record_with_its_value(tracked: Tracked) -> None:
    summary, metrics = tracked.written.summary, tracked.record.metrics
    assert tracked.record.status == "done"
    assert len(metrics) > 100
    assert {name: summary.get(name, "absent") for name in metrics} == metrics


def test_the_summary_says_how_the_run_ended_and_why_metrics_are_null(tracked: Tracked) -> None:
    summary, record = tracked.written.summary, tracked.record
    assert (summary["status"], summary["reason"]) == ("done", None)
    assert summary["access"] == record.access
    assert record.metric_notes
    assert summary["metric_notes"] == record.metric_notes
    assert tracked.written.exit_code == 0


def test_the_config_holds_the_whole_configuration_and_the_environment(tracked: Tracked) -> None:
    config, record = tracked.written.config, tracked.record
    assert {key: config.get(key) for key in record.config} == record.config
    assert config["environment"] == record.environment
    assert {"commit", "packages", "cpu", "device"} <= set(config["environment"])
    assert config["fingerprints"] == record.fingerprints
    assert config["forget_classes"] == [0]


def test_runs_are_named_grouped_and_tagged(tracked: Tracked) -> None:
    run, record = tracked.written.run, tracked.record
    assert (run.run_id, run.display_name) == (record.run_id, record.run_id)
    assert (run.run_group, run.job_type, run.project) == ("tracked", "unsir", "unsir-bench")
    assert set(run.tags) == {"digits", "allcnn_slim", "single"}


def test_loss_curves_have_a_point_for_each_step(tracked: Tracked) -> None:
    for phase in ("noise", "impair", "repair"):
        steps = tracked.record.metrics[f"{phase}_steps"]
        assert [step for step, _ in tracked.written.curve(f"{phase}/loss")] == list(range(1, int(steps) + 1)), phase
    assert len(tracked.written.curve("original/loss")) > 10


def test_relearn_and_layer_curves_are_those_of_the_record(tracked: Tracked) -> None:
    details = tracked.record.details
    for prefix in ("", "original_", "retrain_", "floor_"):
        curve = tracked.written.curve(f"relearn/{prefix}accuracy")
        assert curve == [tuple(point) for point in details[f"{prefix}relearn_curve"]], prefix
    distances = tracked.written.curve("layers/distance_to_original")
    assert [value for _, value in distances] == list(details["weight_distance_to_original"]["layers"].values())


def numbers_in(value: Any) -> list[float]:
    """Every number of nested lists and mappings."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [] if value is None or isinstance(value, str) else [float(value)]


def test_every_number_of_the_details_is_in_a_table(tracked: Tracked) -> None:
    names = ("accuracy_by_class", "forget_predictions", "weight_distance", "batchnorm_distance", "relearn_curve",
             "metric_seconds")  # fmt: skip
    logged = {number for name in names for number in numbers_in(tracked.table(name)[1])}
    logged |= {number for _, text in tracked.table("other_details")[1] for number in numbers_in(json.loads(text))}
    # Numbers of images are the data set's, and no result.
    details = {key: value for key, value in tracked.record.details.items() if not key.endswith("samples")}
    missing = [number for number in numbers_in(details) if number not in logged]
    assert missing == []
    rows = {name: len(tracked.table(name)[1]) for name in names}
    details = tracked.record.details
    assert rows["accuracy_by_class"] == 4 * 2 * 10
    assert rows["forget_predictions"] == 4 * 9
    assert rows["relearn_curve"] == sum(len(value) for key, value in details.items() if key.endswith("relearn_curve"))


def test_tables_say_whose_value_each_row_is(tracked: Tracked) -> None:
    details = tracked.record.details
    columns, rows = tracked.table("accuracy_by_class")
    assert columns == ["line", "model", "split", "class", "forgotten", "accuracy"]
    assert ["retrain, test", "retrain", "test", 7, False, details["retrain_accuracy_by_class"]["test"][7]] in rows
    assert ["original, train", "original", "train", 0, True, details["original_accuracy_by_class"]["train"][0]] in rows
    _, shares = tracked.table("forget_predictions")
    # Class 0 is forgotten, so that the first share is of class 1.
    assert [row[1:] for row in shares if row[0] == "unlearned"] == [
        [index, share] for index, share in enumerate(details["forget_predictions"], start=1)
    ]


def test_a_layer_has_the_same_depth_in_every_line(tracked: Tracked) -> None:
    _, rows = tracked.table("weight_distance")
    assert len({row[0] for row in rows}) == 6  # each of four models to two others, but none to itself
    assert len({(row[3], row[4]) for row in rows}) == len({row[4] for row in rows})
    first = next(iter(tracked.record.details["weight_distance_to_original"]["layers"]))
    assert {row[4] for row in rows if row[3] == 0} == {first}


def test_plots_are_built_of_the_tables(tracked: Tracked) -> None:
    shown = tracked.written.config["_wandb"]["visualize"]
    assert set(shown) == {
        "accuracy_by_class", "forget_predictions", "weight_distance", "relearn_curve", "metric_seconds",
    }  # fmt: skip
    for name, plot in shown.items():
        columns = tracked.table(name)[0]
        assert set(plot["panel_config"]["fieldSettings"].values()) <= set(columns), name


def test_grad_cam_images_show_the_image_and_three_maps(tracked: Tracked) -> None:
    logged = tracked.written.summary["grad_cam"]
    assert (logged["_type"], logged["count"]) == ("images/separated", 3)
    assert "image, original, retrain, unlearned" in logged["captions"][0]
    maps = load_file(tracked.folder / "grad_cam.safetensors")
    [file] = tracked.folder.glob(f"wandb/offline-run-*/files/{logged['filenames'][1]}")
    panel = np.asarray(Image.open(file).convert("RGB"))
    assert panel.shape == (96, 4 * 96, 3)  # 8 pixels, twelve times as large
    digits = Digits(subset=20, mean=[0.305], std=[0.376]).load(Progress(interactive=False)).test
    original = np.asarray(digits.images)[maps["samples"][1]].reshape(8, 8)
    assert np.abs(panel[::12, :96:12, 0].astype(int) - original.astype(int)).max() <= 1


def test_a_map_is_laid_over_the_image_where_the_model_looked() -> None:
    images = np.zeros((1, 1, 4, 4), dtype=np.float32)
    hot = np.zeros((1, 4, 4), dtype=np.float32)
    hot[0, 0, 0] = 1
    maps = {"images": images, "samples": np.array([5]), "labels": np.array([2]), "unlearned": hot}
    [(caption, panel)] = grad_cam_panels(maps, a_record())
    assert caption == "test sample 5, class 2: image, unlearned"
    assert panel.shape == (96, 192, 3)
    assert (panel[:, :96] == 0).all()
    red, _, blue = panel[0, 96].astype(int)
    assert red > blue  # the map's hottest colour
    red, _, blue = panel[-1, -1].astype(int)
    assert blue > red


def test_neither_the_key_nor_what_the_record_does_not_say_is_written(tracked: Tracked) -> None:
    files = [path for path in tracked.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []
    names = {path.name for path in files}
    assert not names & {"requirements.txt", "diff.patch", "wandb-metadata.json"}
    [file] = tracked.folder.glob("wandb/offline-run-*/run-*.wandb")
    assert sys.executable.encode() not in file.read_bytes()
    assert tracked.written.run.host == ""


def test_tables_waiting_for_their_upload_lie_beside_the_run(tracked: Tracked) -> None:
    assert len(list(tracked.folder.glob("wandb/artifacts/staging/*"))) >= 6


def test_details_of_a_sequence_that_ended_early_count_only_what_was_forgotten() -> None:
    details = {
        "accuracy_by_class": {"test": [0.0, 0.5, 1.0, None]},
        "forget_predictions": [0.2, 0.3, 0.5],
        "steps": [{"classes": [1], "metrics": {"acc": 0.5, "undefined": None}}],
        "something_new": {"deep": [1, 2]},
    }
    found = tables(a_record(details=details, forget_steps=[[1], [0]], forget_classes=[0, 1]))
    assert [row[1] for row in found["forget_predictions"].rows] == [0, 2, 3]
    assert [row[4] for row in found["accuracy_by_class"].rows] == [False, True, False, False]
    assert found["steps"].rows == [[1, "1", "acc", 0.5], [1, "1", "undefined", None]]
    assert found["other_details"].rows == [["something_new", '{"deep": [1, 2]}']]


def test_a_record_without_details_has_neither_tables_nor_curves() -> None:
    assert tables(a_record()) == {}
    assert list(curves(a_record())) == []


def test_tags_name_the_scale_of_a_preset_and_are_never_too_long() -> None:
    found = tags(a_record(forget_set="x" * 100, config={"at_scale": "smoke"}))
    assert found == ["digits", "allcnn", "x" * 64, "smoke"]


def test_points_are_named_by_phase_and_carry_its_step() -> None:
    run = FakeRun()
    tracker = Tracker(run)
    tracker.log("repair", 7, {"loss": 0.5, "rate": 0.1})
    tracker.finish(failed=False)
    assert run.calls[0] == ("log", {"repair/loss": 0.5, "repair/rate": 0.1, "repair/step": 7})


def test_nothing_reaches_wandb_while_a_training_or_a_method_is_timed() -> None:
    run = FakeRun()
    tracker = Tracker(run)
    for step in (1, 2):
        tracker.log("original", step, {"loss": 9})
    assert run.calls == []  # the original's training is timed too
    with tracker.holding():
        before = len(run.calls)
        for step in (1, 2, 3):
            tracker.log("noise", step, {"loss": -step})
        assert len(run.calls) == before == 2
    tracker.log("retrain", 1, {"loss": 9})
    tracker.finish(failed=False)
    phases = [next(iter(call[1])).split("/")[0] for call in run.calls if call[0] == "log"]
    assert phases == ["original"] * 2 + ["noise"] * 3 + ["retrain"]


def test_points_held_before_a_divergence_are_logged_all_the_same() -> None:
    run = FakeRun()
    tracker = Tracker(run)
    with pytest.raises(KeyError), tracker.holding():
        tracker.log("impair", 1, {"loss": 1e9})
        raise KeyError
    assert len(run.calls) == 1


@pytest.mark.parametrize(("failed", "code"), [(False, 0), (True, 1)])
def test_a_finished_tracker_is_silent_and_tells_of_failure(failed: bool, code: int) -> None:
    run = FakeRun()
    tracker = Tracker(run)
    tracker.finish(failed=failed)
    tracker.log("impair", 1, {"loss": 1.0})
    tracker.finish(failed=True)
    assert run.calls == [("finish", code)]
