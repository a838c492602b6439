"""Runs that cannot be: layers that a method changes are frozen, or a batch has no statistics."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unsir_bench import compose, run
from unsir_bench.config import validate
from unsir_bench.errors import ConfigError
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.runs.experiment import why_unsuitable
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.unlearning.method import UnlearningMethod, all_methods

TINY = ["dataset.subset=12", "train.epochs=1", "metrics=fast", "tracker=none", "hardware=cpu", "save_model=false"]

CHANGE_THE_BACKBONE = [
    "cf_k", "dp_sgd", "eu_k", "fisher", "gkt", "ntk", "scar", "single_gradient", "ssd", "svd_projection",
]  # fmt: skip


@pytest.mark.parametrize("method", CHANGE_THE_BACKBONE)
def test_a_frozen_backbone_does_not_suit_what_changes_it(method: str) -> None:
    chosen = compose([f"method={method}"]).method
    assert chosen.unsuitable(AllCNNConfig()) is None
    assert "frozen_head" in (chosen.unsuitable(FrozenHeadConfig(backbone=AllCNNConfig())) or "")


@pytest.mark.parametrize("method", ["jit", "munba", "scar", "sfron"])
def test_what_needs_whole_batches_is_skipped_on_several_devices(method: str) -> None:
    config = compose([f"method={method}", "hardware=cpu"])
    assert why_unsuitable(config) is None
    config.hardware.devices = 2
    assert "hardware.devices=2" in (why_unsuitable(config) or "")
    config.method = compose(["method=finetune"]).method
    assert why_unsuitable(config) is None


CHOOSE_A_GRADIENT = [cls for cls in all_methods() if hasattr(sys.modules[cls.__module__], "with_gradient")]


@pytest.mark.parametrize("cls", CHOOSE_A_GRADIENT, ids=lambda cls: cls.name)
def test_what_chooses_a_gradient_says_that_it_needs_whole_batches(cls: type[UnlearningMethod]) -> None:
    assert cls.needs_whole_batches is True  # of the base it is a property


def test_there_are_methods_that_choose_a_gradient() -> None:
    assert {"munba", "sfron"} <= {cls.name for cls in CHOOSE_A_GRADIENT}


def test_an_untrained_network_has_no_weights_from_elsewhere_at_any_depth() -> None:
    backbone = replace(compose(["model=resnet18"]).model, pretrained=True)
    frozen = FrozenHeadConfig(backbone=backbone, trained_on="weights").untrained()
    assert isinstance(frozen, FrozenHeadConfig) and not frozen.backbone.pretrained
    assert replace(backbone, pretrained=False, weights="file.safetensors").untrained().weights is None


def test_one_forget_sample_without_batch_statistics_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """On images of 8x8 the last maps of a ResNet18 are 1x1."""
    words = [*TINY, "model=resnet18_tiny", "method=neggrad", "forget=random_samples", "forget.share=null"]
    record = run(compose([*words, "forget.count=1", f"outputs={tmp_path}", f"store.root={tmp_path}/store"]))
    assert record.status == "skipped" and "batch of a single image" in (record.reason or "")


def test_what_needs_float64_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HardwareConfig, "resolved_accelerator", lambda hardware: "mps")
    for words in (["model=frozen_head"], ["hardware.precision=64-true"]):
        with pytest.raises(ConfigError, match="has no float64"):
            validate(compose(words))


def test_a_precision_that_would_round_a_solved_head_is_refused() -> None:
    words = ["hardware=cpu", "hardware.precision=bf16-true"]
    with pytest.raises(ConfigError, match=r"precision=bf16-true: rounds a frozen backbone.*set it to 32-true"):
        validate(compose(["model=frozen_head", *words]))
    validate(compose(["model=allcnn", *words]))


def test_a_frozen_backbones_images_are_scaled_as_its_weights_want_them() -> None:
    words = ["model=frozen_head", "model@model.backbone=resnet18_pretrained", "model.trained_on=weights"]
    config = compose([*words, "dataset=cifar10", "dataset.normalisation=weights"])
    assert config.dataset.mean == pytest.approx([0.485, 0.456, 0.406])


def test_a_class_given_twice_in_a_sequence_is_refused_however_it_is_written() -> None:
    for again in ("[0]", "{classes:[0]}"):
        with pytest.raises(ConfigError, match="twice"):
            validate(compose(["dataset=digits", "forget=sequence", f"forget.sequence=[[0],{again}]"]))
