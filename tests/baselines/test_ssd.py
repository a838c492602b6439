from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.ssd import SelectiveSynapticDampening, dampen, importance

from tests.baselines.batches_seen import samples_of
from unsir_bench.data.batches import Batch
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData

MakeContext = Callable[..., RunContext]
FORGET = (1, 2)


@pytest.fixture
def model(settled: nn.Module) -> nn.Module:
    return settled


def split_of(digits: DeviceData, classes: tuple[int, ...] = FORGET) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), classes, digits.num_classes)


def squared_gradients(model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Mean over batches of the squared gradient of a batch's mean cross-entropy, in float64 and eval mode."""
    twin = copy.deepcopy(model).double().eval()
    squares = []
    for images, labels in batches:
        chances = twin(images.double()).log_softmax(dim=1)
        gradients = torch.autograd.grad(-chances.gather(1, labels[:, None]).mean(), list(twin.parameters()))
        squares.append([gradient**2 for gradient in gradients])
    names = [name for name, _ in twin.named_parameters()]
    return {
        name: torch.stack(column).mean(dim=0) for name, column in zip(names, zip(*squares, strict=True), strict=True)
    }


@pytest.mark.parametrize("batch_size", [1, 15, 40])
def test_importance_is_the_mean_over_batches_of_the_squared_gradient_of_their_mean(
    batch_size: int, model: nn.Module, digits: DeviceData, context: RunContext
) -> None:
    view = digits.view("train", split_of(digits).forget_train)
    everything, truth = next(digits.view("train").batches(200))[0], digits.labels("train")
    oracle, batches = copy.deepcopy(model), []

    def note(_: nn.Module, arguments: tuple[Tensor]) -> None:
        samples = samples_of(arguments[0], everything)
        batches.append((arguments[0], truth[samples]))

    model.register_forward_pre_hook(note)
    found = importance(model, view, batch_size, context)
    # 40 samples in 15s leave a shorter batch, which weighs as much as the others.
    assert [len(labels) for _, labels in batches] == {1: [1] * 40, 15: [15, 15, 10], 40: [40]}[batch_size]
    assert torch.equal(torch.cat([labels for _, labels in batches]).bincount(), torch.tensor([0, 20, 20]))
    expected = squared_gradients(oracle, batches)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert value.max() > 0
        torch.testing.assert_close(found[name].double(), value, rtol=1e-3, atol=1e-5 * float(value.max()))


def test_importance_leaves_the_network_as_it_was(model: nn.Module, digits: DeviceData, context: RunContext) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    importance(model, digits.view("train"), 50, context)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# One parameter a column: I(D), I(D_f), and by what α = 10 multiplies it, for λ = 1 and for λ = 30.
DAMPENED = [
    (1.0, 9.0, 1.0, 1.0),  # below the threshold
    (1.0, 10.0, 1.0, 1.0),  # exactly on it
    (1.0, 16.0, 1 / 16, 1.0),  # the larger λ would raise the parameter: it stays
    (1.0, 64.0, 1 / 64, 30 / 64),
    (0.5, 80.0, 1 / 160, 30 / 160),
    (0.0, 2.0, 0.0, 0.0),  # of no importance but for the forget samples
    (0.0, 0.0, 1.0, 1.0),  # of none at all: 0 / 0
    (3.0, 0.0, 1.0, 1.0),
]


@pytest.mark.parametrize(("dampening", "column"), [(1.0, 2), (30.0, 3)])
def test_selected_parameters_are_dampened_by_hand_computed_factors(dampening: float, column: int) -> None:
    model = nn.Linear(len(DAMPENED), 1)
    of_all, of_forget = (torch.tensor([[case[place] for case in DAMPENED]]) for place in (0, 1))
    start, bias = model.weight.detach().clone(), model.bias.detach().clone()
    zero, one = torch.zeros(1), torch.ones(1)
    dampen(model, {"weight": of_all, "bias": zero + 1}, {"weight": of_forget, "bias": one}, 10.0, dampening)
    expected = start * torch.tensor([case[column] for case in DAMPENED])
    torch.testing.assert_close(model.weight.detach(), expected)
    untouched = torch.tensor([case[column] == 1 for case in DAMPENED])
    assert torch.equal(model.weight[0, untouched], start[0, untouched])
    assert torch.equal(model.bias, bias)
    assert model.weight.requires_grad


def test_the_method_dampens_what_matters_more_for_the_forget_samples_than_for_all(
    model: nn.Module, digits: DeviceData, context: RunContext
) -> None:
    split, selection, dampening = split_of(digits), 4.0, 0.5
    # One batch each: the order of samples does not matter.
    of_all = squared_gradients(model, digits.view("train").batches(200))
    of_forget = squared_gradients(model, digits.view("train", split.forget_train).batches(200))
    start = copy.deepcopy(model)
    method = SelectiveSynapticDampening(selection=selection, dampening=dampening, batch_size=200)
    data = UnlearningData(digits, split, method, 0)
    method.unlearn(model, data, context)
    counts = {True: 0, False: 0}
    for (name, after), before in zip(model.named_parameters(), start.parameters(), strict=True):
        ratio = of_forget[name] / of_all[name]
        clear = (ratio / selection - 1).abs() > 1e-3  # float32 may fall on either side of the threshold itself
        expected = torch.where(ratio > selection, before * (dampening / ratio).clamp(max=1), before.double())
        torch.testing.assert_close(after[clear].double(), expected[clear], rtol=5e-3, atol=1e-6)
        for chosen in counts:
            counts[chosen] += int(((ratio > selection) == chosen).sum())
    assert min(counts.values()) > 100
    assert all(torch.equal(*pair) for pair in zip(model.buffers(), start.buffers(), strict=True))
    assert context.steps == {}
    assert data.access_counts() == {
        "retain": {"samples": 160, "reads": 160},
        "forget": {"samples": 40, "reads": 80},
    }


class Requests:
    """A precomputation that notes what it is asked for, and computes it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], list[int]]] = []

    def __call__(
        self, kind: str, settings: Any, model: nn.Module, view: Any, compute: Any, context: RunContext
    ) -> dict[str, Tensor]:
        self.asked.append((kind, dict(settings), view.indices.tolist()))
        result: dict[str, Tensor] = compute(view)
        return result


def test_runs_that_forget_other_classes_share_the_importance_of_all_samples(
    model: nn.Module, digits: DeviceData, make_context: MakeContext
) -> None:
    def asked(classes: tuple[int, ...] = FORGET, seed: int = 0, batch_size: int = 64, order: str = "shuffled") -> Any:
        requests = Requests()
        context = make_context(forget_classes=classes, seed=seed, precomputation=requests)
        method = SelectiveSynapticDampening(batch_size=batch_size, order=order)
        data = UnlearningData(digits, split_of(digits, classes), method, seed)
        method.unlearn(copy.deepcopy(model), data, context)
        [request] = requests.asked
        return request

    first = asked()
    assert first[2] == list(range(200))
    assert first == asked(classes=(7,))
    # Both decide which samples share a batch.
    assert first != asked(seed=1)
    assert first != asked(batch_size=32)
    # The key of entries from before the order was an option.
    assert first[1] == {"batch_size": 64, "seed": 0}
    by_class = asked(order="by_class")
    assert by_class != first
    assert by_class == asked(classes=(7,), seed=1, order="by_class")
