"""The order of the data, and what an epoch draws: by seed, role and epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.device_data import DeviceData
from unsir_bench.models.torchvision_models import MobileNetV2
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]


def drawn(digits: DeviceData, context: RunContext, role: str = "train", epoch: int = 0) -> list[Tensor]:
    recipe = Recipe(batch_size=32, augment=Augmentation(crop_padding=1))
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, role)
    return [torch.cat(parts) for parts in zip(*batches.batches(epoch), strict=True)]


def test_the_order_of_the_data_does_not_depend_on_model_method_or_what_was_drawn_before(
    digits: DeviceData, make_context: MakeContext
) -> None:
    images, labels = drawn(digits, make_context())
    other = make_context(MobileNetV2(), forget_classes=(3, 4))
    torch.manual_seed(77)
    drawn(digits, other, "repair 0")
    again_images, again_labels = drawn(digits, other)
    assert torch.equal(labels, again_labels)
    assert torch.equal(images, again_images)


@pytest.mark.parametrize("change", [{"epoch": 1}, {"role": "repair 0"}, {"seed": 1}], ids=str)
def test_each_epoch_role_and_seed_has_its_own_order(
    change: dict[str, Any], digits: DeviceData, make_context: MakeContext
) -> None:
    seed = change.pop("seed", 0)
    labels = drawn(digits, make_context())[1]
    other = drawn(digits, make_context(seed=seed), **change)[1]
    assert not torch.equal(labels, other)
    assert torch.equal(labels.sort().values, other.sort().values)


def test_dropout_of_an_epoch_does_not_depend_on_what_was_drawn_before(
    digits: DeviceData, make_context: MakeContext
) -> None:
    batches = EpochBatches.from_view(digits.view("train"), Recipe(), make_context(), "train")
    draws = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        batches.batches(3)
        draws.append(torch.rand(4))
    batches.batches(4)
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], torch.rand(4))
