from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from unsir_bench.baselines.head_distillation import HeadDistillation

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import outputs, predict
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData

FORGET = [1, 2]


def distilled(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext, **recipe: float
) -> nn.Module:
    settings: dict[str, object] = {"optimizer": "adam", "lr": 0.02, "epochs": 20, "batch_size": 32, **recipe}
    method = HeadDistillation(train=Recipe(**settings), retain_share=1.0)  # type: ignore[arg-type]
    return method.unlearn(model, UnlearningData(digits, split, method, 0), context)


def test_the_head_alone_changes_and_the_features_are_the_originals_to_the_bit(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = outputs(model, digits.view("test"), context, "").features
    distilled(model, digits, split, context, weight_decay=0.1)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert torch.equal(outputs(model, digits.view("test"), context, "").features, features)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("before", [(), (7,)])
def test_the_objective_is_the_divergence_from_the_masked_original(
    before: tuple[int, ...], model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    context.forgotten_before, gone = before, [*FORGET, *before]
    rate, twin = 0.1, copy.deepcopy(model).double().eval()
    [(images, _)] = digits.view("train").batches(len(digits.labels("train")))
    logits = twin(images.double())
    wanted = logits.detach().clone()
    wanted[:, gone] = -torch.inf
    target = wanted.softmax(dim=1)
    kept = [index for index in range(10) if index not in gone]
    loss = (target[:, kept] * (target[:, kept].log() - logits.log_softmax(dim=1)[:, kept])).sum(dim=1).mean()
    weight, bias = torch.autograd.grad(loss, [twin.get_parameter("head.weight"), twin.get_parameter("head.bias")])
    start = copy.deepcopy(model)
    distilled(model, digits, split, context, optimizer="sgd", lr=rate, momentum=0, epochs=1, batch_size=10_000)
    [(_, _, values)] = context.log.points  # type: ignore[attr-defined]
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-4)
    for name, gradient in (("head.weight", weight), ("head.bias", bias)):
        moved = (model.get_parameter(name) - start.get_parameter(name)).double()
        torch.testing.assert_close(moved, -rate * gradient, rtol=2e-3, atol=5e-6)


def test_the_forget_classes_are_never_answered_and_the_rest_as_the_masked_original_does(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    masked = predict(model, digits.view("test"), context, "").clone()
    masked[:, FORGET] = -torch.inf
    answers = predict(distilled(model, digits, split, context, epochs=60), digits.view("test"), context, "").argmax(
        dim=1
    )
    assert torch.isin(answers, torch.tensor(FORGET)).float().mean() < 0.02
    assert (answers == masked.argmax(dim=1)).float().mean() > 0.8
