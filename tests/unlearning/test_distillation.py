from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unsir_bench.unlearning.distillation import divergence_from, frozen_copy


def by_hand(teacher: Tensor, student: Tensor, temperature: float) -> np.ndarray:
    """T² Σ p ln(p / q) of each row, class by class in float64; a class of probability 0 adds nothing."""
    result = []
    for wanted, given in zip(teacher.tolist(), student.tolist(), strict=True):
        p, q = ([math.exp(logit / temperature) for logit in logits] for logits in (wanted, given))
        p, q = ([value / sum(values) for value in values] for values in (p, q))
        result.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    return np.array(result)


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    teacher, student = torch.randn((2, 6, 5), generator=torch.Generator().manual_seed(0)).mul(3)
    return teacher, student


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5, 7.0])
def test_the_divergence_of_each_sample_is_the_textbooks(temperature: float, logits: tuple[Tensor, Tensor]) -> None:
    found = divergence_from(*logits, temperature)
    np.testing.assert_allclose(found, by_hand(*logits, temperature), rtol=1e-4, atol=1e-6)
    # It is not symmetric: which of the two is the teacher matters.
    assert not np.allclose(found, by_hand(*logits[::-1], temperature), rtol=1e-2)


def test_a_case_known_in_closed_form() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2): KL = ln 2 − H(p).
    found = divergence_from(torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2))
    assert found.item() == pytest.approx(math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25), rel=1e-5)


def test_classes_of_probability_zero_add_nothing_and_pull_nothing_up(logits: tuple[Tensor, Tensor]) -> None:
    teacher, student = logits[0].clone(), logits[1].clone().requires_grad_()
    teacher[:, 2] = -torch.inf
    teacher[0, 3] = -torch.inf
    found = divergence_from(teacher, student, 2.0)
    np.testing.assert_allclose(found.detach(), by_hand(teacher, student.detach(), 2.0), rtol=1e-4)
    found.sum().backward()
    # d/dlogits of T² KL is T (q − p).
    expected = 2.0 * (torch.softmax(student.detach() / 2, dim=1) - torch.softmax(teacher / 2, dim=1))
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-6)
    assert (student.grad[:, 2] > 0).all()


def test_equal_distributions_do_not_diverge(logits: tuple[Tensor, Tensor]) -> None:
    shifted = logits[0] + torch.arange(6.0)[:, None]  # softmax does not see a shift
    torch.testing.assert_close(divergence_from(logits[0], shifted, 3.0), torch.zeros(6), rtol=0, atol=1e-5)
    assert (divergence_from(*logits, 3.0) > 0.01).all()


def test_a_frozen_copy_is_a_copy_in_eval_mode_that_learns_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    images = torch.randn((8, 3), generator=torch.Generator().manual_seed(0))
    teacher = frozen_copy(model)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    first = teacher(images)
    assert not first.requires_grad
    with torch.no_grad():
        model(images)
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(teacher(images), first)
    assert not torch.allclose(model.eval()(images), first)
