from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from unsir_bench.baselines.munba import MUNBa, bargaining_weights

from tests.baselines.solved_scene import solved_scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.marked_samples import told_apart
from unsir_bench.unlearning.method import UnlearningData


def test_both_gain_alike_from_the_agreed_step() -> None:
    """The Nash solution: the step's product with each gradient, weighed by its size, is the weight's inverse."""
    first, second = [torch.tensor([3.0, 0.0]).double()], [torch.tensor([1.0, 2.0]).double()]
    weights = bargaining_weights(first, second)
    step = weights[0] * first[0] + weights[1] * second[0]
    for gradient, weight in ((first[0], weights[0]), (second[0], weights[1])):
        assert (gradient @ step).item() == pytest.approx(1 / weight.item())


@pytest.mark.parametrize(
    ("second", "expected"), [([0.0, 2.0], (1 / 3, 1 / 2)), ([-3.0, 0.0], (1.0, 0.1)), ([0.0, 0.0], (1.0, 0.1))]
)
def test_orthogonal_opposed_and_vanished_gradients(second: list[float], expected: tuple[float, float]) -> None:
    weights = bargaining_weights([torch.tensor([3.0, 0.0])], [torch.tensor(second)])
    assert weights.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-1, 1e-4])
def test_the_published_closed_form_leans_to_the_forget_gradient_where_the_retain_gradient_is_tiny(scale: float) -> None:
    first, second = [torch.tensor([scale, 0.0]).double()], [torch.tensor([1.0, 2.0]).double()]
    exact, published = (bargaining_weights(first, second, epsilon) for epsilon in (0.0, 1e-8))
    if scale == 1e-1:
        assert published.tolist() == pytest.approx(exact.tolist(), rel=1e-3)
    else:
        g1, g2, g3 = scale**2, scale, 5.0  # by hand: the squared sizes and the product
        weight = ((g1 * g3 - g2 * (g1 * g3) ** 0.5) / (g1 * g1 * g3 - g1 * g2 * g2 + 1e-8)) ** 0.5
        assert published.tolist() == pytest.approx([weight, (1 - g1 * weight**2) / (g2 * weight + 1e-8)])
        assert published[1] / published[0] > 10 * exact[1] / exact[0]


def test_an_epoch_has_a_step_for_each_retain_batch_and_its_first_hold_forget_samples_too(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    method = MUNBa(train=Recipe(epochs=2, batch_size=32, optimizer="sgd", lr=0.01))
    data = UnlearningData(digits, split, method, 0)
    sizes = [[len(labels) for _, labels in method._paired_batches(data, context).batches(epoch)] for epoch in (0, 1)]
    assert sizes == [[64, 40, 32, 32, 32]] * 2  # 160 retain samples, 40 forget samples
    method.unlearn(model, data, context)
    assert context.steps["train"] == 10


def test_an_epoch_over_more_forget_than_retain_samples_has_no_step_without_retain_samples(
    model: nn.Module, digits: DeviceData, make_context: Callable[..., RunContext]
) -> None:
    seven = tuple(range(3, 10))
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), seven, digits.num_classes)
    context = make_context(forget_classes=seven)
    method = MUNBa(train=Recipe(epochs=2, batch_size=32, optimizer="sgd", lr=0.01))
    batches = method._paired_batches(UnlearningData(digits, split, method, 0), context)
    kinds = [[told_apart(labels, 10)[1].float().mean().item() for _, labels in batches.batches(e)] for e in (0, 1)]
    assert kinds == [[0.5, pytest.approx(32 / 60)]] * 2  # 60 retain samples, 140 forget samples
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    assert context.steps["train"] == 4


def test_on_a_solved_head_a_step_is_bargained_between_the_heads_gradients(
    digits: DeviceData, tmp_path: Path, make_context: Callable[..., RunContext]
) -> None:
    scene, rate = solved_scene(digits, tmp_path, make_context), 0.1
    method = MUNBa(train=Recipe(epochs=1, batch_size=10_000, optimizer="sgd", lr=rate, momentum=0.0))
    model, twin = scene.original, scene.original
    data = UnlearningData(digits, scene.split, method, 0)
    [(images, labels)] = method._paired_batches(data, scene.context).batches(0)
    classes, forgotten = told_apart(labels, digits.num_classes)
    head = list(twin.get_submodule("head").parameters())
    gradients = [
        torch.autograd.grad(nn.functional.cross_entropy(twin(images[kind]), classes[kind]), head)
        for kind in (~forgotten, forgotten)
    ]
    weights = bargaining_weights(*gradients)
    step = [
        sum(weight * one for weight, one in zip(weights, pair, strict=True)) for pair in zip(*gradients, strict=True)
    ]
    norm = torch.cat([each.flatten() for each in step]).norm()
    method.unlearn(model, data, scene.context)
    for moved, before, each in zip(model.get_submodule("head").parameters(), head, step, strict=True):
        torch.testing.assert_close(moved, before - rate * each / max(1.0, norm.item()), rtol=1e-5, atol=1e-7)
