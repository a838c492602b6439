from __future__ import annotations

import pytest
import torch
from torch import nn
from unsir_bench.baselines.jit import JustInTime

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_statistics_stay_to_the_bit_and_others_drift(
    frozen: bool, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert before
    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.01)
    method = JustInTime(train=recipe, copies=2, freeze_bn_stats=frozen)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]) is frozen, name
