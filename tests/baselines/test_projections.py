"""ESC and SVD class forgetting: what they project away, on networks beyond the authors'."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from unsir_bench.baselines.esc import ErasingSpaceConcept, erase, leading_directions
from unsir_bench.baselines.svd_projection import SvdProjection, input_rows, listening, project, scaled_projection

from unsir_bench import compose
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.runtime import float64
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData


@pytest.mark.parametrize(("percent", "vectors"), [(1.5, 1), (29.9, 2), (100.0, 8)])
def test_the_share_of_directions_is_rounded_down_and_at_least_one(percent: float, vectors: int) -> None:
    assert leading_directions(torch.randn(30, 8), percent).shape == (8, vectors)


def test_a_head_sees_nothing_of_erased_directions_and_all_of_the_others() -> None:
    features = torch.outer(torch.rand(20) + 1, torch.tensor([3.0, 4.0, 0.0]))
    head = nn.Linear(3, 2)
    before = copy.deepcopy(head)
    erase(head, leading_directions(features, 1.0))
    torch.testing.assert_close(head(features), head.bias.expand(20, 2))
    beside = torch.tensor([[4.0, -3.0, 0.0], [0.0, 0.0, 2.0]])
    torch.testing.assert_close(head(beside), before(beside))


def test_fewer_samples_than_dimensions_leave_what_they_do_not_span() -> None:
    features, head = torch.randn(2, 5), nn.Linear(5, 3)
    before = head.weight.clone()
    erase(head, leading_directions(features, 20.0))
    assert torch.linalg.matrix_rank(before - head.weight, atol=1e-5) == 1


def test_directions_of_both_kinds_are_kept_and_those_of_forget_samples_alone_are_lost() -> None:
    moment = torch.diag(torch.tensor([1.0, 1.0, 0.0])).double()
    only_second = torch.diag(torch.tensor([1.0, 0.0, 0.0])).double()
    lost, kept = scaled_projection(moment, 1e9), scaled_projection(only_second, 1e9)
    torch.testing.assert_close(lost - lost @ kept, torch.diag(torch.tensor([0.0, 1.0, 0.0])).double())


@pytest.mark.parametrize("per_image", [2.0, 1e6])
def test_patches_are_a_random_part_of_all(per_image: float) -> None:
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    images = torch.randn(6, 2, 8, 8)
    rows = input_rows(layer, images)
    torch.testing.assert_close(
        rows @ layer.weight.flatten(1).T + layer.bias, layer(images).permute(0, 2, 3, 1).reshape(-1, 3)
    )
    with listening(layer, per_image, torch.Generator()) as moments:
        layer(images)
    draws = torch.randperm(len(rows), generator=torch.Generator())[:12] if per_image == 2 else torch.arange(len(rows))
    taken = rows[draws].double()
    torch.testing.assert_close(moments[layer], taken.T @ taken)
    assert not layer._forward_pre_hooks


def test_the_classes_that_are_still_there_share_the_retain_samples(
    model: nn.Module, digits: DeviceData, context: RunContext
) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (1, 2), digits.num_classes, gone=(3, 4))
    context.forgotten_before = split.gone
    method = SvdProjection(samples=24)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    # Four of each of six classes; of eight they would be three.
    assert {kind: counts["samples"] for kind, counts in data.access_counts().items()} == {"retain": 24, "forget": 24}


def test_weights_and_inputs_are_doubled_where_there_is_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(float64, "device_of_float64", lambda device: asked.append(device) or device)
    layer, none = nn.Linear(3, 2), torch.zeros(3, 3, dtype=torch.float64)
    with listening(layer, 1.0, torch.Generator()):
        layer(torch.ones(1, 3))
    project(layer, none, none)
    erase(layer, torch.zeros(3, 1))
    assert len(asked) == 3


@pytest.mark.parametrize("model", ["vit_tiny", "mobilenetv2_tiny"])
@pytest.mark.parametrize("method", [ErasingSpaceConcept(percent=20), SvdProjection()], ids=lambda method: method.name)
def test_transformers_and_grouped_convolutions_are_projected_where_they_can_be(
    method: ErasingSpaceConcept | SvdProjection,
    model: str,
    digits: DeviceData,
    split: ForgetSplit,
    make_context: Callable[..., RunContext],
) -> None:
    context = make_context(compose([f"model={model}", "dataset=digits", "method=esc"]).model, forget_classes=(1, 2))
    network = context.initial_network()
    before = copy.deepcopy(network)
    method.unlearn(network, UnlearningData(digits, split, method, 0), context)
    for (name, module), other in zip(network.named_modules(), before.modules(), strict=True):
        if isinstance(module, nn.Conv2d | nn.Linear):
            alone = module is context.architecture.head(network)
            moves = alone if method.name == "esc" else not (isinstance(module, nn.Conv2d) and module.groups > 1)
            assert torch.equal(module.weight, other.weight) is not moves, name  # type: ignore[arg-type]
