from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from unsir_bench.errors import NotApplicable
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.last_layers import last_layers
from unsir_bench.unlearning.last_layers import frozen_outside, trained_alone


class Odd(nn.Module):
    """A parameter of its own, an embedding-like token, layers of several kinds and modules without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        parts = {
            "patch": nn.Conv1d(1, 4, 3), "norm1": nn.LayerNorm(4), "relu": nn.ReLU(), "mix": nn.Linear(4, 4),
            "norm2": nn.BatchNorm1d(4), "drop": nn.Dropout(), "head": nn.Linear(4, 2), "scale": nn.GroupNorm(1, 2),
        }  # fmt: skip
        self.body = nn.Sequential(OrderedDict(parts))


ODD = [["head", "scale"], ["mix", "norm2", "head", "scale"], ["patch", "norm1", "mix", "norm2", "head", "scale"]]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_last_weight_layers_come_with_the_normalisations_between_and_after_them(count: int) -> None:
    model = Odd()
    names = {id(module): name.removeprefix("body.") for name, module in model.named_modules()}
    assert [names[id(module)] for module in last_layers(model, count)] == ODD[count - 1]


@pytest.mark.parametrize(("count", "modules"), [(1, 1), (2, 3), (5, 9), (9, 17)])
def test_convolutions_count_one_each(count: int, modules: int) -> None:
    model = AllCNNConfig(width=2).initial((1, 8, 8), 10, seed=0)
    layers = last_layers(model, count)
    # A linear head, and a convolution with its normalisation for each further one.
    assert len(layers) == modules
    assert layers[-1] is model.get_submodule("head")
    assert count == 9 or layers[0] is not model.get_submodule("features.0.0")


@pytest.mark.parametrize(("model", "has"), [(Odd(), 3), (nn.BatchNorm1d(3), 0)], ids=["odd", "none"])
def test_more_layers_than_there_are_do_not_apply(model: nn.Module, has: int) -> None:
    with pytest.raises(NotApplicable, match=f"has {has} weight layers, fewer than the last {has + 1}"):
        last_layers(model, has + 1)


@pytest.mark.parametrize("fails", [False, True])
def test_only_the_layers_receive_gradients_until_the_end_or_a_failure(fails: bool) -> None:
    model = Odd()
    layers = last_layers(model, 2)

    def train() -> set[str]:
        with trained_alone(model, layers):
            wanting = {name.split(".")[-2] for name, parameter in model.named_parameters() if parameter.requires_grad}
            if fails:
                raise KeyboardInterrupt
        return wanting

    if fails:
        with pytest.raises(KeyboardInterrupt):
            train()
    else:
        assert train() == {"mix", "norm2", "head", "scale"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_module_among_the_layers_does_not_bring_in_its_children() -> None:
    class Nested(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.inner = nn.Linear(2, 2)

    model = Nested()
    with trained_alone(model, [model]):
        wanting = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert wanting == {"weight", "bias"}


def test_statistics_outside_the_layers_are_frozen_and_those_within_move() -> None:
    model = nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)
    )
    model.train()
    frozen_outside(last_layers(model, 2))(model, 0)
    assert [module.training for module in model] == [True, False, True, True, True, True]
    before = [module.running_mean.clone() for module in (model[1], model[4])]
    model(torch.randn((8, 3), generator=torch.Generator().manual_seed(0)))
    assert torch.equal(model[1].running_mean, before[0])
    assert not torch.equal(model[4].running_mean, before[1])
