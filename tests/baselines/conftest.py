"""What the tests of the baselines share: two digits to forget, and a network that tells images apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext

FORGET = (1, 2)


@pytest.fixture
def context(make_context: Callable[..., RunContext]) -> RunContext:
    return make_context(forget_classes=FORGET)


@pytest.fixture
def split(digits: DeviceData) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)


@pytest.fixture
def settled(context: RunContext, digits: DeviceData) -> nn.Module:
    """A network in train mode whose stored statistics have settled, so that gradients reach the first layer."""
    network = context.initial_network().train()
    for images, _ in [*digits.view("train").batches(50)] * 8:
        network(images)
    return network


@pytest.fixture
def model(settled: nn.Module) -> nn.Module:
    """A network whose answers differ from image to image, in eval mode too."""
    with torch.no_grad():
        settled.get_submodule("head").weight.mul_(5)
    return settled
