from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from unsir_bench.baselines.delete import Delete

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize(("mask", "before"), [("own_class", ()), ("forget_classes", ()), ("forget_classes", (7, 4))])
@pytest.mark.parametrize("frozen", [False, True])
def test_steps_distil_what_the_original_says_of_the_other_classes(
    frozen: bool,
    mask: str,
    before: tuple[int, ...],
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    context: RunContext,
) -> None:
    context.forgotten_before = before
    rate = 0.2
    [(images, labels)] = digits.view("train", split.forget_train).batches(64)
    with torch.no_grad():
        # The teacher of both steps, though the student has moved before the second.
        chances = copy.deepcopy(model).double().eval()(images.double()).softmax(dim=1)
    student = copy.deepcopy(model).double().train(not frozen)
    losses = []
    for _ in range(2):
        given = student(images.double()).log_softmax(dim=1)
        divergences = []
        for row, answer, label in zip(chances, given, labels.tolist(), strict=True):
            gone = {label} if mask == "own_class" else {1, 2, *before}
            others = [index for index in range(10) if index not in gone]
            wanted = row[others] / row[others].sum()
            divergences.append((wanted * (wanted.log() - answer[others])).sum())
        loss = torch.stack(divergences).mean()
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient)
    start = copy.deepcopy(model)
    recipe = Recipe(epochs=2, batch_size=64, optimizer="sgd", lr=rate, momentum=0)
    method = Delete(train=recipe, freeze_bn_stats=frozen, mask=mask)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    assert [values["loss"] for _, _, values in context.log.points] == pytest.approx(losses, rel=1e-3)
    if frozen and mask == "own_class":
        # A student that is still the teacher is off by what the mask took away: −ln(1 − p(own class)).
        own = chances.gather(1, labels[:, None])
        assert losses[0] == pytest.approx(-torch.log(1 - own).mean().item())
    for after, expected, old in zip(model.parameters(), student.parameters(), start.parameters(), strict=True):
        moved, wanted = (after - old).double().detach(), (expected - old).detach()
        torch.testing.assert_close(moved, wanted, rtol=5e-3, atol=1e-3 * float(wanted.abs().max()) + 1e-6)
