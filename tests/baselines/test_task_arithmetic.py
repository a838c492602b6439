from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from unsir_bench.baselines.task_arithmetic import TaskArithmetic

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize("frozen", [False, True])
def test_a_step_is_taken_back_as_often_as_asked_and_the_statistics_are_the_originals(
    frozen: bool, settled: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    rate, strength = 0.25, 2.0
    twin = copy.deepcopy(settled).double().train(not frozen)
    [(images, labels)] = digits.view("train", split.forget_train).batches(64)
    gradients = torch.autograd.grad(F.cross_entropy(twin(images.double()), labels), list(twin.parameters()))
    before = copy.deepcopy(settled)
    recipe = Recipe(batch_size=64, optimizer="sgd", lr=rate, momentum=0)  # the 40 forget samples in one batch
    method = TaskArithmetic(train=recipe, strength=strength, freeze_bn_stats=frozen)
    method.unlearn(settled, UnlearningData(digits, split, method, 0), context)
    for parameter, old, gradient in zip(settled.parameters(), before.parameters(), gradients, strict=True):
        moved = (parameter - old).detach().double()
        torch.testing.assert_close(moved, strength * rate * gradient, rtol=2e-3, atol=4e-6)
    assert max(gradient.abs().max() for gradient in gradients) > 0.01
    buffers = dict(before.named_buffers())
    assert buffers and all(torch.equal(value, buffers[name]) for name, value in settled.named_buffers())
