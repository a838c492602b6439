"""Methods that can freeze BatchNorm statistics while they train."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from unsir_bench.baselines.boundary_expand import BoundaryExpand
from unsir_bench.baselines.boundary_shrink import BoundaryShrink
from unsir_bench.baselines.delete import Delete
from unsir_bench.baselines.jit import JustInTime
from unsir_bench.baselines.neggrad import NegGrad

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

TRAIN = Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.01)
METHODS = [
    BoundaryExpand(train=TRAIN), BoundaryShrink(train=TRAIN), Delete(train=TRAIN), JustInTime(train=TRAIN, copies=2),
    NegGrad(train=TRAIN),
]  # fmt: skip


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_frozen_statistics_stay_to_the_bit_and_others_drift(
    method: BoundaryExpand | BoundaryShrink | Delete | JustInTime | NegGrad,
    frozen: bool,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
) -> None:
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert before
    method = replace(method, freeze_bn_stats=frozen)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]) is frozen, name
