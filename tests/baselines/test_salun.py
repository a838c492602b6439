from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from unsir_bench.baselines.random_label import RandomLabel
from unsir_bench.baselines.salun import SalUn, salient_weights

from tests.baselines.solved_scene import solved_scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData, UnlearningMethod


@pytest.fixture
def model(settled: nn.Module) -> nn.Module:
    return settled


@pytest.mark.parametrize("share", [0.5, 0.03, 1.0])
@pytest.mark.parametrize("batch_size", [15, 64])
def test_the_mask_holds_the_share_of_all_weights_with_the_largest_accumulated_gradients(
    batch_size: int, share: float, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    view = digits.view("train", split.forget_train)
    masks = salient_weights(model, view, share, batch_size, context)
    assert [mask.shape for mask in masks] == [parameter.shape for parameter in model.parameters()]
    chosen = torch.cat([mask.flatten() for mask in masks])
    assert int(chosen.sum()) == round(share * len(chosen))

    twin = copy.deepcopy(model).double().eval()
    sums = [torch.zeros_like(parameter) for parameter in twin.parameters()]
    for images, labels in view.batches(1):
        loss = -twin(images.double()).log_softmax(dim=1)[0, labels[0]]
        for total, gradient in zip(sums, torch.autograd.grad(loss, list(twin.parameters())), strict=True):
            total.add_(gradient)
    magnitudes = torch.cat([total.abs().flatten() for total in sums])
    ranked = magnitudes.sort(descending=True).values
    threshold = ranked[round(share * len(ranked)) - 1]
    clear = ((magnitudes - threshold).abs() > 1e-4 * threshold) & (magnitudes > 1e-6 * ranked[0])
    assert clear.sum() > 0.9 * len(clear)
    assert torch.equal(chosen[clear], (magnitudes > threshold)[clear])
    # Weights are compared across layers, not within each.
    if share == 0.5:
        assert len({round(float(mask.float().mean()), 2) for mask in masks}) > 3


def test_one_weight_is_left_to_train_at_least(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    masks = salient_weights(model, digits.view("train", split.forget_train), 1e-9, 64, context)
    assert sum(int(mask.sum()) for mask in masks) == 1


def test_looking_for_the_mask_leaves_the_network_as_it_was(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    salient_weights(model, digits.view("train", split.forget_train), 0.5, 16, context)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weights_outside_the_mask_stay_to_the_bit_despite_momentum_and_decay(
    optimizer: str, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    masks = salient_weights(model, digits.view("train", split.forget_train), 0.3, 32, context)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    recipe = Recipe(epochs=2, batch_size=32, optimizer=optimizer, lr=0.01, weight_decay=0.1)
    method = SalUn(train=recipe, share=0.3)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    for parameter, old, mask in zip(model.parameters(), before, masks, strict=True):
        assert torch.equal(parameter[~mask], old[~mask])
        assert (parameter[mask] != old[mask]).float().mean() > 0.95 or not mask.any()


def test_with_all_weights_in_the_mask_it_is_random_labels(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    recipe = Recipe(epochs=2, batch_size=64, optimizer="sgd", lr=0.01, weight_decay=0.01)
    results = []
    methods: list[UnlearningMethod] = [
        SalUn(train=recipe, share=1.0, labels_from="others"), RandomLabel(train=recipe, labels_from="others")
    ]  # fmt: skip
    for method in methods:
        data = UnlearningData(digits, split, method, 0)
        results.append(method.unlearn(copy.deepcopy(model), data, context).state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())
    assert not torch.equal(results[0]["head.weight"], model.state_dict()["head.weight"])


def test_on_a_solved_head_the_share_is_of_the_heads_weights(
    digits: DeviceData, tmp_path: Path, make_context: Callable[..., RunContext]
) -> None:
    scene = solved_scene(digits, tmp_path, make_context)
    head = list(scene.original.get_submodule("head").parameters())
    view = digits.view("train", scene.split.forget_train)
    masks = salient_weights(scene.original, view, 0.25, 32, scene.context)
    assert [mask.shape for mask in masks] == [parameter.shape for parameter in head]
    assert sum(int(mask.sum()) for mask in masks) == round(0.25 * sum(parameter.numel() for parameter in head))
    method = SalUn(train=Recipe(epochs=1, batch_size=32, optimizer="adam", lr=0.1), share=0.25)
    moved = scene.unlearned(method).get_submodule("head").parameters()
    for parameter, old, mask in zip(moved, head, masks, strict=True):
        assert torch.equal(parameter[~mask], old[~mask])
