from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.neggrad import NegGrad

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

RATE = 0.5
# The 40 forget samples in one batch: an epoch is one step.
WHOLE = Recipe(batch_size=64, optimizer="sgd", lr=RATE, momentum=0)


@pytest.fixture
def model(settled: nn.Module) -> nn.Module:
    return settled


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0]).mean()


@pytest.mark.parametrize("frozen", [False, True])
def test_a_step_goes_up_the_cross_entropy_of_the_forget_samples(
    frozen: bool, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    twin = copy.deepcopy(model).double().train(not frozen)
    [(images, labels)] = digits.view("train", split.forget_train).batches(64)
    loss = cross_entropy(twin(images.double()), labels)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    method = NegGrad(train=WHOLE, freeze_bn_stats=frozen)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    for parameter, before, gradient in zip(model.parameters(), start, gradients, strict=True):
        torch.testing.assert_close((parameter - before).double(), RATE * gradient, rtol=2e-3, atol=2e-6)
    assert max(gradient.abs().max() for gradient in gradients) > 0.01
    [(phase, _, values)] = context.log.points
    assert phase == "ascent"
    assert values["loss"] == pytest.approx(-loss.item(), rel=1e-5)


def test_each_epoch_passes_the_forget_samples_once(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    method = NegGrad(train=Recipe(epochs=3, batch_size=16, optimizer="sgd", lr=1e-4))
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    count = len(split.forget_train)
    assert data.access_counts()["forget"] == {"samples": count, "reads": 3 * count}
