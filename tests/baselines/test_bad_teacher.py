from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unsir_bench.baselines.bad_teacher import BadTeacher

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.distillation import divergence_from
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize(("share", "retained"), [(0.3, 48), (0.001, 1), (1.0, 160)])
def test_all_forget_samples_and_a_share_of_the_others_take_part(
    share: float, retained: int, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    method = BadTeacher(train=Recipe(epochs=2, batch_size=32, lr=1e-4), retain_share=share)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    assert data.access_counts() == {
        "retain": {"samples": retained, "reads": 2 * retained},
        "forget": {"samples": 40, "reads": 80},
    }


def softmax(logits: Tensor, temperature: float) -> Tensor:
    exponents = torch.exp(logits / temperature)
    return exponents / exponents.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_step_descends_the_divergence_from_a_random_network_and_from_the_original(
    temperature: float, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    rate = 0.1
    method = BadTeacher(train=Recipe(batch_size=128, optimizer="sgd", lr=rate, momentum=0), temperature=temperature)
    # The draw of the retain share depends on the seed alone.
    retain = UnlearningData(digits, split, method, 0).retain_share(0.3)
    [(kept, _)], [(forgotten, _)] = retain.batches(128), digits.view("train", split.forget_train).batches(128)
    student = copy.deepcopy(model).double().train()
    good = copy.deepcopy(model).double().eval()
    bad = context.random_network("bad teacher").double().eval()
    with torch.no_grad():
        wanted = torch.cat([softmax(good(kept.double()), temperature), softmax(bad(forgotten.double()), temperature)])
    given = softmax(student(torch.cat([kept, forgotten]).double()), temperature)
    loss = temperature**2 * (wanted * (wanted / given).log()).sum() / 88
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    start = copy.deepcopy(model)
    method.unlearn(model, UnlearningData(digits, split, method, 0), context)
    [(_, _, values)] = context.log.points
    assert values["loss"] == pytest.approx(loss.item(), rel=1e-3)
    for after, before, gradient in zip(model.parameters(), start.parameters(), gradients, strict=True):
        wanted_step = -rate * gradient
        torch.testing.assert_close(
            (after - before).double(), wanted_step, rtol=5e-3, atol=1e-3 * float(wanted_step.abs().max()) + 1e-6
        )


def test_the_bad_teacher_is_not_what_the_original_began_as(context: RunContext) -> None:
    bad, first = context.random_network("bad teacher"), context.initial_network()
    assert not torch.equal(bad.get_submodule("head").weight, first.get_submodule("head").weight)


def test_the_published_mean_is_ours_over_the_number_of_classes() -> None:
    draws = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 6, 10, generator=draws, dtype=torch.float64)
    published = F.kl_div(student.log_softmax(dim=1), teacher.softmax(dim=1), reduction="none").mean()
    torch.testing.assert_close(divergence_from(teacher, student).mean(), 10 * published)
