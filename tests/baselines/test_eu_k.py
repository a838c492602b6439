from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from unsir_bench.baselines.eu_k import ExactUnlearningK

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

FORGET = (1, 2)

# The modules of the AllCNN that hold its last k weight layers and what is between and after them.
LAST = {
    1: {"head"},
    2: {"features.7.0", "features.7.1", "head"},
    3: {"features.6.0", "features.6.1", "features.7.0", "features.7.1", "head"},
}


def of_last(name: str, k: int) -> bool:
    return name.rpartition(".")[0] in LAST[k]


@pytest.mark.parametrize("k", LAST)
@pytest.mark.parametrize("seed", [0, 3])
def test_the_last_layers_start_from_the_initial_weights_of_the_seed(
    seed: int,
    k: int,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    make_context: Callable[..., RunContext],
) -> None:
    context = make_context(forget_classes=FORGET, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initial = context.architecture.initial(context.image_shape, 10, seed).state_dict()
    method = ExactUnlearningK(train=Recipe(epochs=0), k=k)
    method.unlearn(model, UnlearningData(digits, split, method, seed), context)
    for name, value in model.state_dict().items():
        assert torch.equal(value, (initial if of_last(name, k) else before)[name]), name
        assert not torch.equal(initial[name], before[name]), name


@pytest.mark.parametrize("k", LAST)
def test_all_but_the_last_layers_stay_to_the_bit_statistics_included(
    k: int, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = Recipe(epochs=2, batch_size=32, optimizer="sgd", lr=0.05, weight_decay=0.1)
    method = ExactUnlearningK(train=recipe, k=k)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    initial = context.initial_network().state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) is not of_last(name, k), name
        assert not torch.equal(value, initial[name]) or not of_last(name, k), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_the_original_learned_in_the_last_layers_leaves_no_trace(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in other.state_dict().items():
            if of_last(name, 2) and value.is_floating_point():
                value.mul_(3).add_(1)
    method = ExactUnlearningK(train=Recipe(epochs=2, batch_size=32, optimizer="sgd", lr=0.05), k=2)
    for network in (model, other):
        method.unlearn(network, UnlearningData(digits, split, method, 0), context)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("reset_norms", [True, False])
def test_normalisations_start_anew_or_as_goels_code_leaves_them(
    reset_norms: bool, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initial = context.initial_network().state_dict()
    method = ExactUnlearningK(train=Recipe(epochs=0), k=3, reset_norms=reset_norms)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    for name, value in model.state_dict().items():
        norm = isinstance(model.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)
        starts_anew = of_last(name, 3) and (reset_norms or not norm)
        assert torch.equal(value, (initial if starts_anew else before)[name]), name
    assert ExactUnlearningK.reset_norms, "the default is as before"
