from __future__ import annotations

import pytest
import torch
from torch import nn

from unsir_bench.unlearning.chosen_gradient import clipped, gradients_of, inner_product, with_gradient


def test_a_loss_keeps_its_value_and_takes_the_gradient_it_is_given() -> None:
    parameters = [nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(2, 2))]
    wanted = [torch.randn(3), torch.randn(2, 2)]
    loss = with_gradient(torch.tensor(7.5), parameters, wanted)
    assert loss.item() == 7.5
    (4 * loss).backward()  # as a gradient scaler does
    for parameter, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, 4 * gradient)


def test_a_parameter_that_a_loss_does_not_use_has_gradient_zero() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    found = gradients_of((used**2).sum(), [used, unused])
    assert found[0].tolist() == [2, 2]
    assert found[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("largest", "norm"), [(1.0, 1.0), (13.0, 5.0)])
def test_clipping_lowers_the_common_norm_and_never_raises_it(largest: float, norm: float) -> None:
    gradients = clipped([torch.tensor([3.0]), torch.tensor([[4.0]])], largest)
    assert inner_product(gradients, gradients).sqrt().item() == pytest.approx(norm, rel=1e-5)
    assert (gradients[0] / gradients[1]).item() == pytest.approx(0.75)
