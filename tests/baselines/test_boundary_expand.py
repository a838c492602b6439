from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from unsir_bench.baselines.boundary_expand import BoundaryExpand, prune, widen

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

MakeContext = Callable[..., RunContext]
FORGET = (1, 2)


def head_of(model: nn.Module) -> nn.Linear:
    head = model.get_submodule("head")
    assert isinstance(head, nn.Linear)
    return head


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_widening_adds_a_fresh_row_below_the_old_ones(
    dtype: torch.dtype, model: nn.Module, context: RunContext
) -> None:
    head = head_of(model.to(dtype))
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    torch.manual_seed(99)
    widen(head, "default", context)
    assert head.out_features == len(head.weight) == len(head.bias) == 11
    assert torch.equal(head.weight[:10], weight)
    assert torch.equal(head.bias[:10], bias)
    assert head.weight.dtype == head.bias.dtype == dtype
    # torch's own initialisation of a linear layer is uniform within 1/√inputs.
    assert 0 < head.weight[10].abs().max() <= 1 / head.in_features**0.5
    assert len(head.weight[10].unique()) == head.in_features
    again = nn.Linear(head.in_features, 10)
    widen(again, "default", context)
    torch.testing.assert_close(again.weight[10].to(dtype), head.weight[10])


def test_pruning_keeps_the_first_rows_and_nothing_of_the_others(model: nn.Module) -> None:
    head = head_of(model)
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    prune(head, 7)
    assert torch.equal(head.weight, weight[:7])
    assert torch.equal(head.bias, bias[:7])
    assert head.weight.untyped_storage().nbytes() == 7 * head.in_features * 4


# The head is an optimiser group of its own where the backbone has another rate.
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_step_teaches_the_shadow_class_and_the_shadow_class_is_gone_afterwards(
    scale: float, model: nn.Module, digits: DeviceData, split: ForgetSplit, make_context: MakeContext
) -> None:
    context = make_context(AllCNNConfig(width=4, backbone_lr_scale=scale), forget_classes=FORGET)
    rate = 0.2
    start = copy.deepcopy(model)
    widened = copy.deepcopy(model)
    widen(head_of(widened), "default", context)
    twin = widened.double().train()
    [(images, _)] = digits.view("train", split.forget_train).batches(64)
    loss = -twin(images.double()).log_softmax(dim=1)[:, 10].mean()
    gradients = torch.autograd.grad(loss, list(twin.parameters()))

    method = BoundaryExpand(train=Recipe(batch_size=64, optimizer="sgd", lr=rate, momentum=0))
    result = method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    assert result is model
    [(_, _, values)] = context.log.points
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-4)
    for (name, after), before, gradient in zip(model.named_parameters(), start.parameters(), gradients, strict=True):
        in_head = name.startswith("head.")
        wanted = -rate * (1 if in_head else scale) * (gradient[:10] if in_head else gradient)
        torch.testing.assert_close((after - before).double(), wanted, rtol=2e-3, atol=5e-6)
        assert wanted.abs().max() > 1e-5

    head = head_of(model)
    assert head.out_features == 10
    assert model(images).shape == (40, 10)
    for parameter in (head.weight, head.bias):
        assert isinstance(parameter, nn.Parameter)
        assert parameter.is_leaf
        assert parameter.requires_grad
    model(images).sum().backward()
    assert head.weight.grad is not None
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in start.named_parameters()}
