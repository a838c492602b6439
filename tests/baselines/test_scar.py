from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from unsir_bench.baselines.scar import Scar, correlation, raised

from unsir_bench import compose
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import NotApplicable
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData


def method_of(**changes: object) -> Scar:
    return Scar(train=Recipe(lr=1e-3, epochs=4, batch_size=16), retain_steps=2, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("enough", "epochs"), [(0.0, 4), (1.0, 2)])
def test_it_ends_once_enough_is_forgotten_but_not_in_the_first_two_epochs(
    enough: float, epochs: int, model: nn.Module, digits: DeviceData, split: ForgetSplit, context: RunContext
) -> None:
    with torch.no_grad():
        model.get_submodule("head").bias[[1, 2]] -= 100  # accuracy is 0 from the start
    method = method_of(enough=enough)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    assert context.steps["train"] == epochs * 3 * 2  # 3 forget batches, each beside 2 retain batches
    measured = 2 if epochs == 4 else 1  # accuracy before the third and the fourth epoch, or once
    assert data.access_counts()["forget"]["reads"] == (1 + epochs + measured) * 40


def test_the_student_is_kept_from_classes_of_earlier_steps_as_from_those_of_this_one(
    model: nn.Module, digits: DeviceData, split: ForgetSplit, make_context: Callable[..., RunContext]
) -> None:
    method = method_of()

    def losses(now: tuple[int, ...], before: tuple[int, ...]) -> list[float]:
        context = make_context(forget_classes=now, forgotten_before=before)
        method.unlearn(copy.deepcopy(model), UnlearningData(digits, split, method, 0), context)
        return [values["loss"] for _, _, values in context.log.points]  # type: ignore[attr-defined]

    assert losses((1, 2), (7,)) == losses((1, 2, 7), ()) != losses((1, 2), ())


def test_networks_whose_features_may_be_negative_are_not_applicable(
    digits: DeviceData, split: ForgetSplit, make_context: Callable[..., RunContext]
) -> None:
    context = make_context(compose(["model=vit_tiny", "dataset=digits", "method=scar"]).model, forget_classes=(1, 2))
    method = method_of()
    with pytest.raises(NotApplicable, match="may be negative"):
        method.unlearn(context.initial_network(), UnlearningData(digits, split, method, 0), context)


def test_a_class_of_one_sample_has_no_covariance() -> None:
    with pytest.raises(NotApplicable, match="two samples"):
        correlation(torch.rand(1, 3).double(), 3.0, 3.0)


def test_a_feature_of_zero_receives_no_infinite_gradient() -> None:
    features = torch.tensor([0.0, 4.0], requires_grad=True)
    raised(features, 0.5).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [0, 0.25]
