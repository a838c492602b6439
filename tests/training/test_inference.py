from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.training import inference
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.inference import outputs, predict, predict_splits
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]


class PixelSums(nn.Module):
    """Logits that tell which image they are of; dropout and a count of batches betray train mode and batching."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.drop = nn.Dropout(0.9)
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return self.drop(self.scale * images.flatten(1).cumsum(1)[:, ::8])


def test_logits_come_in_the_order_of_the_view_a_short_last_batch_included(
    digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "EVALUATION_BATCH", 7)
    view = digits.view("test", torch.tensor([5, 3, 40, 1, 1, 9, 60, 2, 0, 33]))
    model = PixelSums()
    logits = predict(model, view, make_context(), "title")
    assert model.batches == [7, 3]
    images, _ = view.fetch(torch.arange(10))
    torch.testing.assert_close(logits, images.flatten(1).cumsum(1)[:, ::8])
    assert logits.dtype == torch.float32
    assert not logits.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_put_back(digits: DeviceData, make_context: MakeContext, training: bool) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)).train(training)
    predict(model, digits.view("test"), make_context(), "title")
    assert model.training is model[0].training is training
    assert model[0].num_batches_tracked == 0


def test_a_part_that_was_frozen_in_eval_mode_stays_so(digits: DeviceData, make_context: MakeContext) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)).train()
    model[1].eval()
    predict(model, digits.view("test"), make_context(), "test")
    assert [module.training for module in model.modules()] == [True, True, False, True]


def test_both_splits_are_predicted_whole(digits: DeviceData, make_context: MakeContext) -> None:
    context = make_context()
    model = context.architecture.initial(context.image_shape, 10, seed=0)
    logits = predict_splits(model, digits, context, "original")
    assert {split: tuple(value.shape) for split, value in logits.items()} == {
        split: (len(digits.labels(split)), 10) for split in ("train", "test")
    }


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true", "bf16-mixed"])
def test_a_network_trained_at_any_precision_is_evaluated(
    precision: str, digits: DeviceData, make_context: MakeContext
) -> None:
    context = make_context(fabric=Fabric(accelerator="cpu", devices=1, precision=precision))
    model = context.architecture.initial(context.image_shape, 10, seed=0)
    view, recipe = digits.view("train"), Recipe(batch_size=100)
    fit(model, EpochBatches.from_view(view, recipe, context, "train"), recipe, context, "original")
    logits = predict(model, digits.view("test"), context, "title")
    assert logits.dtype == torch.float32
    assert bool(logits.isfinite().all())


def test_logits_alone_need_no_hook(digits: DeviceData, make_context: Callable[..., RunContext]) -> None:
    context = make_context()
    model = context.initial_network()
    head = context.architecture.head(model)
    heard: list[int] = []
    register = head.register_forward_pre_hook
    head.register_forward_pre_hook = lambda *hook: heard.append(1) or register(*hook)
    logits = predict(model, digits.view("test"), context, "")
    assert heard == []
    found = outputs(model, digits.view("test"), context, "")
    assert heard == [1] and torch.equal(found.logits, logits) and found.features is not None
    assert not head._forward_pre_hooks
