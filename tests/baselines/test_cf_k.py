from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from unsir_bench.baselines.cf_k import CatastrophicForgettingK

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

# The modules of the AllCNN that hold its last k weight layers and what is between and after them.
LAST = {
    1: {"head"},
    2: {"features.7.0", "features.7.1", "head"},
    3: {"features.6.0", "features.6.1", "features.7.0", "features.7.1", "head"},
}


def of_last(name: str, k: int) -> bool:
    return name.rpartition(".")[0] in LAST[k]


@pytest.mark.parametrize("k", LAST)
def test_all_but_the_last_layers_stay_to_the_bit_statistics_included(
    k: int, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # Decay and momentum would move weights whose gradient is masked only.
    recipe = Recipe(epochs=2, batch_size=32, optimizer="sgd", lr=0.05, weight_decay=0.1)
    method = CatastrophicForgettingK(train=recipe, k=k)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) is not of_last(name, k), name
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("k", LAST)
def test_a_step_is_gradient_descent_on_the_last_layers_above_frozen_statistics(
    k: int, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    rate = 0.1
    twin = copy.deepcopy(model).double().eval()
    for name in LAST[k]:
        twin.get_submodule(name).train()
    [(images, labels)] = digits.view("train", split.retain_train).batches(160)
    loss = -twin(images.double()).log_softmax(dim=1).gather(1, labels[:, None]).mean()
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    start = copy.deepcopy(model)
    method = CatastrophicForgettingK(train=Recipe(batch_size=160, optimizer="sgd", lr=rate, momentum=0), k=k)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    [(_, _, values)] = context.log.points
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-4)
    for (name, after), before, gradient in zip(model.named_parameters(), start.parameters(), gradients, strict=True):
        if of_last(name, k):
            torch.testing.assert_close((after - before).double(), -rate * gradient, rtol=2e-3, atol=5e-6)


def test_no_epochs_leave_the_original(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = CatastrophicForgettingK(train=Recipe(epochs=0), k=2)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
