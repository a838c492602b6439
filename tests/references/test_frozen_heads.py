"""A frozen backbone and its heads through whole runs: what is trained, what is shared, what the record says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.baselines.solved_scene import solved_scene
from unsir_bench import compose, run
from unsir_bench.config import validate
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import ConfigError, NotApplicable
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHead
from unsir_bench.records import RunRecord
from unsir_bench.references.store import Store
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.recipe import Recipe

TINY = ["dataset.subset=20", "train.epochs=2", "tracker=none", "hardware=cpu", "metrics=fast"]
HEAD = ["model=frozen_head", "model.backbone.width=4"]


def done(folder: Path, *overrides: str) -> RunRecord:
    return run(compose([*TINY, f"outputs={folder}", f"store.root={folder}/store", *overrides]))


def weights_of(folder: Path, key: str | None) -> dict[str, torch.Tensor]:
    assert key is not None
    entry = Store(folder / "store").find(key)
    assert entry is not None
    return entry.tensors("weights")


def described(folder: Path, name: str) -> list[str]:
    return [entry.folder.name for entry in Store(folder / "store").entries() if name in entry.manifest["description"]]


def test_the_backbone_is_the_retrained_model_and_heads_share_it_and_its_features(tmp_path: Path) -> None:
    plain = done(tmp_path, "method=retrain", "model=allcnn_slim", "model.width=4")
    logistic = done(tmp_path, *HEAD, "method=certified_removal", "model.perturbation=1.0")
    ridge = done(tmp_path, *HEAD, "method=projective_residual", "model.classifier=ridge")
    assert [each.status for each in (plain, logistic, ridge)] == ["done"] * 3, (logistic.error, ridge.error)
    deep = weights_of(tmp_path, plain.fingerprints["retrain"])
    for record in (logistic, ridge):
        for role in ("original", "retrain"):
            own = weights_of(tmp_path, record.fingerprints[role])
            backbone = {name.removeprefix("backbone."): value for name, value in own.items() if "backbone" in name}
            assert backbone and all(torch.equal(value, deep[name]) for name, value in backbone.items())
            assert own["head.weight"].dtype == torch.float64
        assert plain.fingerprints["retrain"] in (record.store_entries or [])
    assert len(described(tmp_path, "features of the backbone")) == 1
    assert (logistic.model, ridge.model) == ("frozen_logistic", "frozen_ridge")
    assert logistic.guarantees["covers_backbone"] == 1
    assert logistic.config["model"]["trained_on"] == "retain"
    forgotten = logistic.access["forget"]["samples"]
    assert forgotten == 20 and logistic.metrics["acc_forget_test"] == 0


def test_a_backbone_that_saw_the_class_is_the_original_and_is_marked(tmp_path: Path) -> None:
    plain = done(tmp_path, "method=original", "model=allcnn_slim", "model.width=4")
    head = done(tmp_path, *HEAD, "method=statistical_query", "model.classifier=nearest_mean", "model.trained_on=all")
    deep, own = (weights_of(tmp_path, record.fingerprints["original"]) for record in (plain, head))
    assert torch.equal(own["backbone.features.0.0.weight"], deep["features.0.0.weight"])
    assert head.guarantees == {"covers_backbone": 0, "exact": 1, "removed_samples": 20}


def test_given_weights_are_taken_as_they_are_and_nothing_is_trained(tmp_path: Path) -> None:
    network = AllCNNConfig(width=4).initial((1, 8, 8), 10, seed=5)
    save_file(network.state_dict(), tmp_path / "backbone.safetensors")
    given = f"model.backbone.weights={tmp_path}/backbone.safetensors"
    head = done(tmp_path, *HEAD, "method=kmeans_delete", "model.classifier=kmeans", "model.trained_on=weights", given)
    assert head.status == "done", head.error
    own = weights_of(tmp_path, head.fingerprints["original"])
    assert torch.equal(own["backbone.features.0.0.weight"], network.state_dict()["features.0.0.weight"])
    assert head.guarantees["covers_backbone"] is None
    assert {entry.manifest.get("steps") for entry in Store(tmp_path / "store").entries()} <= {0, None}


def test_a_head_without_a_convex_objective_is_skipped_before_anything_is_trained(tmp_path: Path) -> None:
    record = done(tmp_path, "method=certified_removal", "model=allcnn_slim", "model.width=4")
    assert record.status == "skipped"
    assert "needs model=frozen_head" in (record.reason or "") and "without a convex objective" in (record.reason or "")
    assert not os.path.lexists(tmp_path / "store" / "entries")


def test_a_sequence_has_one_backbone_that_saw_none_of_its_classes(tmp_path: Path) -> None:
    record = done(
        tmp_path, *HEAD, "method=statistical_query", "model.classifier=nearest_mean", "forget.sequence=[[0],[3]]"
    )
    assert record.status == "done", record.error
    pair = done(tmp_path, "method=retrain", "model=allcnn_slim", "model.width=4", "forget.classes=[0,3]")
    assert pair.fingerprints["retrain"] in (record.store_entries or [])
    last = weights_of(tmp_path, record.fingerprints["retrain"])
    unlearned = weights_of(tmp_path, record.unlearned[-1]["key"])
    assert all(torch.equal(value, unlearned[name]) for name, value in last.items())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["model.trained_on=weights"], "needs model.backbone.weights=FILE or model.backbone.pretrained=true"),
        (["model.norm=group"], "model.norm=group: nothing but the head is solved; set model.backbone.norm=group"),
        (["model.backbone_lr_scale=0.5"], "set model.backbone.backbone_lr_scale=0.5 instead"),
        (["model.pretrained=true"], "set model.backbone.weights or .pretrained"),
        (["model.classifier=forest"], "model.classifier=forest: must be one of logistic, ridge"),
        (["model.backbone.width=0"], "model.backbone.width=0: must be at least 1"),
        (["model.classifier=linearised", "model.layers=0"], "model.layers=0: must be at least 1"),
    ],
)
def test_wrong_settings_are_named_before_anything_starts(changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match="1 setting is wrong") as caught:
        validate(compose([*TINY, *HEAD, *changes]))
    assert words in str(caught.value)


def test_a_solved_head_reads_each_sample_once(tmp_path: Path) -> None:
    record = done(tmp_path, *HEAD, "method=retrain", "train.epochs=4")
    assert record.status == "done", record.error
    assert record.access["retain"]["reads"] == record.access["retain"]["samples"] == 180


def test_a_training_moves_the_head_alone(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context)
    model, recipe = scene.original, Recipe(epochs=1, batch_size=32, lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, EpochBatches.from_view(digits.view("train"), recipe, scene.context, "x"), recipe, scene.context, "x")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_images_and_stored_features_give_the_same_logits(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context)
    model = scene.original
    assert isinstance(model, FrozenHead)
    logits = scene.references.original(scene.context).logits["train"]
    inputs = scene.samples(model, torch.arange(len(logits))).inputs
    assert torch.allclose(model.head(inputs).float(), logits, atol=1e-5)


def test_methods_that_need_a_training_log_are_not_applicable(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context)
    with pytest.raises(NotApplicable, match="solved, not trained in steps"):
        scene.references.training_log(scene.references.original(scene.context), scene.split, scene.context)
