from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from unsir_bench.baselines.l1_sparse import L1Sparse

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize("penalty", [0.02, 0.0])
def test_the_penalty_on_all_parameters_falls_linearly_over_the_epochs(
    penalty: float, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    rate, epochs = 0.02, 4
    twin = copy.deepcopy(model).double().train()
    [(images, labels)] = digits.view("train", split.retain_train).batches(160)
    losses = []
    for epoch in range(epochs):  # one step each
        wrongness = -twin(images.double()).log_softmax(dim=1).gather(1, labels[:, None]).mean()
        gradients = torch.autograd.grad(wrongness, list(twin.parameters()))
        weight = penalty * (epochs - epoch) / epochs
        absolute = sum(float(parameter.detach().abs().sum()) for parameter in twin.parameters())
        losses.append(wrongness.item() + weight * absolute)
        with torch.no_grad():
            for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
                parameter.sub_(rate * (gradient + weight * parameter.sign()))
    start = copy.deepcopy(model)
    method = L1Sparse(
        train=Recipe(epochs=epochs, batch_size=160, optimizer="sgd", lr=rate, momentum=0), penalty=penalty
    )
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    assert [values["loss"] for _, _, values in context.log.points] == pytest.approx(losses, rel=1e-4)
    for after, expected, before in zip(model.parameters(), twin.parameters(), start.parameters(), strict=True):
        moved, wanted = (after - before).double().detach(), (expected - before).detach()
        torch.testing.assert_close(moved, wanted, rtol=5e-3, atol=2e-3 * float(wanted.abs().max()) + 1e-6)
    assert data.access_counts()["retain"] == {"samples": 160, "reads": 160 * epochs}


def test_a_penalised_network_ends_with_smaller_weights(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    sums = []
    for penalty in (0.0, 1e-3, 1e-2):
        method = L1Sparse(train=Recipe(epochs=3, batch_size=32, optimizer="sgd", lr=0.01), penalty=penalty)
        network = method.unlearn(copy.deepcopy(model), UnlearningData(digits, split, method, 0), context)
        sums.append(sum(float(parameter.detach().abs().sum()) for parameter in network.parameters()))
    assert sums[0] > sums[1] > sums[2]
