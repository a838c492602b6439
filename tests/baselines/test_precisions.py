"""Methods whose arithmetic must hold at precisions other than float32."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from unsir_bench.baselines.fisher import Fisher
from unsir_bench.baselines.munba import MUNBa
from unsir_bench.baselines.salun import SalUn
from unsir_bench.baselines.sfron import SFRon
from unsir_bench.baselines.single_gradient import summed_gradient
from unsir_bench.baselines.ssd import SelectiveSynapticDampening

from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.batch_importance import importance
from unsir_bench.unlearning.gradient_sums import wide_gradients, zero_sums
from unsir_bench.unlearning.method import UnlearningData, UnlearningMethod

Summed = Callable[[nn.Module, DataView, int, RunContext], list[Tensor]]
TRAIN = Recipe(epochs=1, batch_size=200, optimizer="sgd", lr=0.001)  # one batch of each kind


@pytest.fixture
def at(make_context: Callable[..., RunContext]) -> Callable[[str], RunContext]:
    def build(precision: str) -> RunContext:
        return make_context(
            fabric=Fabric(accelerator="cpu", devices=1, precision=precision),  # type: ignore[arg-type]
            forget_classes=(1, 2),
        )

    return build


@pytest.mark.parametrize("method", [MUNBa(train=TRAIN), SFRon(train=TRAIN)], ids=lambda method: method.name)
def test_a_chosen_gradient_at_a_mixed_precision_changes_the_weights_as_at_float32(
    method: UnlearningMethod,
    model: nn.Module,
    digits: DeviceData,
    split: ForgetSplit,
    at: Callable[[str], RunContext],
) -> None:
    before = parameters_to_vector(model.parameters()).detach()

    def change(precision: str) -> Tensor:
        data = UnlearningData(digits, split, method, 0)
        unlearned = method.unlearn(copy.deepcopy(model), data, at(precision))
        return parameters_to_vector(unlearned.parameters()).detach() - before

    exact = change("32-true")
    assert exact.norm() > 0
    assert (change("bf16-mixed") - exact).norm() < 0.1 * exact.norm()


def importance_of(model: nn.Module, view: DataView, batch_size: int, context: RunContext) -> list[Tensor]:
    return [value * len(view) for value in importance(model, view, batch_size, context).values()]


@pytest.mark.parametrize(("summed", "power"), [(importance_of, 2), (summed_gradient, 1)])
def test_gradients_of_16_bits_are_summed_in_32(
    summed: Summed, power: int, model: nn.Module, digits: DeviceData, at: Callable[[str], RunContext]
) -> None:
    model.eval().bfloat16()
    view, parameters = digits.view("train"), list(model.parameters())
    expected = [torch.zeros(parameter.shape, dtype=torch.float64) for parameter in parameters]
    for images, labels in view.batches(1):
        loss = F.cross_entropy(model(images.bfloat16()).float(), labels)
        for total, gradient in zip(expected, torch.autograd.grad(loss, parameters), strict=True):
            total.add_(gradient.double() ** power)
    for found, exact in zip(summed(model, view, 1, at("bf16-true")), expected, strict=True):
        assert (found - exact).norm() <= 1e-3 * exact.norm()


@pytest.mark.parametrize(("given", "wide"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_sums_have_32_bits_at_least(given: str, wide: str) -> None:
    parameter = torch.ones(2, dtype=getattr(torch, given), requires_grad=True)
    [total] = zero_sums([parameter])
    for _ in range(400):  # in bfloat16 the sum would stop at 256
        total += wide_gradients(parameter.sum(), [parameter])[0]
    assert total.tolist() == [400, 400] and total.dtype == getattr(torch, wide)


METHODS = [
    Fisher(), MUNBa(train=TRAIN), SalUn(train=TRAIN), SelectiveSynapticDampening(selection=1.0), SFRon(train=TRAIN),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_weights_of_16_bits_stay_such_and_change(
    method: UnlearningMethod, model: nn.Module, digits: DeviceData, split: ForgetSplit, at: Callable[[str], RunContext]
) -> None:
    before = parameters_to_vector(model.bfloat16().parameters()).detach().clone()
    unlearned = method.unlearn(model, UnlearningData(digits, split, method, 0), at("bf16-true"))
    after = parameters_to_vector(unlearned.parameters())
    assert after.dtype == torch.bfloat16 and bool(after.isfinite().all()) and not torch.equal(before, after)
