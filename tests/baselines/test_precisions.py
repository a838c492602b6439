"""Methods whose arithmetic must hold at precisions other than float32."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from unsir_bench.baselines.munba import MUNBa
from unsir_bench.baselines.sfron import SFRon

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData, UnlearningMethod

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
