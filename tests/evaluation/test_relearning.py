"""Relearn time against a training loop written out, and what must stay as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fake_time import FakeTime
from unsir_bench.config_fields import problems
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import DataView, Usage
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.relearning import RelearnConfig, RelearnTime, relearn
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]
RECIPE = Recipe(
    epochs=2, batch_size=24, optimizer="sgd", lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01,
    schedule="onecycle", clip_value=0.05, label_smoothing=0.1, augment=Augmentation(crop_padding=1),
)  # fmt: skip
FORGET = 0


def small_network() -> nn.Module:
    """Batch normalisation and dropout: a check that is not made in eval mode, or leaves it on, shows."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 10)
    )


@pytest.fixture(scope="module")
def taught(digits: DeviceData) -> dict[str, Tensor]:
    """Weights of a trained network whose last layer has lost the forget class."""
    model: Any = small_network()
    images, labels = digits.view("train").fetch(torch.arange(len(digits.labels("train"))))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()
    with torch.no_grad():
        model[-1].weight[FORGET] = 0
        model[-1].bias[FORGET] = -2
    return model.state_dict()  # type: ignore[no-any-return]


@pytest.fixture
def forgetful(taught: dict[str, Tensor]) -> nn.Module:
    model = small_network()
    model.load_state_dict(taught)
    return model.eval()


def forget_view(digits: DeviceData) -> DataView:
    return digits.view("test", torch.where(digits.labels("test") == FORGET)[0])


def share_correct(model: nn.Module, view: DataView) -> float:
    was = model.training
    model.eval()
    images, labels = view.fetch(torch.arange(len(view)))
    with torch.no_grad():
        share = (model(images).argmax(1) == labels).double().mean().item()
    model.train(was)
    return share


OPTIMISERS: dict[str, tuple[dict[str, Any], Callable[..., torch.optim.Optimizer]]] = {
    "sgd": ({}, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.8, nesterov=True, weight_decay=0.01)),
    "adam": (
        {"optimizer": "adam", "nesterov": False, "schedule": "plateau"},
        lambda p, lr: torch.optim.Adam(p, lr, weight_decay=0.01),
    ),
}


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_the_curve_is_that_of_a_loop_written_out(
    kind: str, forgetful: nn.Module, digits: DeviceData, make_context: MakeContext
) -> None:
    changes, optimiser_of = OPTIMISERS[kind]
    recipe, settings = replace(RECIPE, **changes), RelearnConfig(lr=0.02, every=3, cap=25)
    # Samples of all classes, and a goal out of reach: each of the curve's points then tells the weights apart.
    everything = digits.view("test")
    result = relearn(forgetful, digits.view("train"), everything, 2.0, recipe, settings, make_context())

    twin = copy.deepcopy(forgetful).train()
    optimiser = optimiser_of(twin.parameters(), 0.02)
    batches = EpochBatches.from_view(digits.view("train"), recipe, make_context(), "relearn")
    expected, trained = [(0, share_correct(twin, everything))], 0
    for epoch in range(10):
        for images, targets in batches.batches(epoch):
            if trained == 25:
                break
            optimiser.zero_grad()
            F.cross_entropy(twin(images), targets, label_smoothing=0.1).backward()
            nn.utils.clip_grad_value_(twin.parameters(), 0.05)
            optimiser.step()
            trained += 1
            if trained % 3 == 0 or trained == 25:
                expected.append((trained, share_correct(twin, everything)))
    assert [batch for batch, _ in result.curve] == [0, 3, 6, 9, 12, 15, 18, 21, 24, 25]
    assert batches.steps < 25, "the training must go beyond an epoch, whose order is another one"
    assert len({share for _, share in expected}) > 3
    assert result.curve == [(batch, pytest.approx(share)) for batch, share in expected]
    assert (result.batches, result.epochs, result.cap) == (None, None, 25)


def test_relearning_ends_at_the_first_check_that_is_near_enough(
    forgetful: nn.Module, digits: DeviceData, make_context: MakeContext
) -> None:
    train, forget = digits.view("train"), forget_view(digits)

    def relearned(every: int, cap: int) -> RelearnTime:
        settings = RelearnConfig(lr=0.05, every=every, cap=cap)
        return relearn(forgetful, train, forget, 0.9, RECIPE, settings, make_context())

    result = relearned(every=1, cap=400)
    assert result.batches is not None
    assert result.batches > 3
    assert result.curve[0] == (0, 0.0)
    assert result.curve[-1][0] == result.batches
    assert result.curve[-1][1] >= 0.95 * 0.9 > max(share for _, share in result.curve[:-1])
    assert result.epochs == pytest.approx(result.batches / -(-len(train) // 24))
    # Rarer checks see the same network at the same batch.
    rarer = relearned(every=2, cap=400)
    shared = dict(result.curve).items() & dict(rarer.curve).items()
    assert len(shared) == 1 + result.batches // 2
    # The cap itself is a check, and the last one.
    assert relearned(every=result.batches, cap=result.batches).batches == result.batches
    assert relearned(every=result.batches + 7, cap=result.batches).batches == result.batches
    short = relearned(every=2, cap=result.batches - 1)
    assert (short.batches, short.epochs, short.cap) == (None, None, result.batches - 1)
    assert short.curve[-1] == result.curve[-2]


def test_a_model_that_never_forgot_needs_no_batch(digits: DeviceData, make_context: MakeContext) -> None:
    settings = RelearnConfig(cap=50)
    result = relearn(Constant(), digits.view("train"), forget_view(digits), 1.0, RECIPE, settings, make_context())
    assert result == RelearnTime(0, 0.0, 50, [(0, 1.0)])


class Constant(nn.Module):
    """Says the same of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(F.one_hot(torch.tensor(FORGET), 10).float())

    def forward(self, images: Tensor) -> Tensor:
        return self.bias.expand(len(images), 10)


@pytest.mark.parametrize("known", [171, 170])
def test_the_tolerance_is_relative_and_its_bound_counts(
    known: int, digits: DeviceData, make_context: MakeContext
) -> None:
    """171 of 200 are 95 % of 0.9 on paper; in floating point 0.95 · 0.9 may lie beside 171/200."""
    labels = digits.labels("test")
    indices = torch.cat(
        [torch.where(labels == FORGET)[0][:1].repeat(known), torch.where(labels == 1)[0][:1].repeat(29)]
    )
    view = digits.view("test", torch.cat([indices, indices[-1:].repeat(200 - len(indices))]))
    settings = RelearnConfig(cap=1, every=1, lr=1e-9)
    result = relearn(Constant(), digits.view("train"), view, 0.9, RECIPE, settings, make_context())
    assert result.batches == (0 if known == 171 else None)
    stricter = replace(settings, tolerance=0.0)
    assert relearn(Constant(), digits.view("train"), view, 0.9, RECIPE, stricter, make_context()).batches is None


@pytest.mark.parametrize("lr", [0.05, 1e-6])
def test_the_callers_things_stay_as_they_were(
    lr: float, forgetful: nn.Module, digits: DeviceData, make_context: MakeContext, fake_time: FakeTime
) -> None:
    context = make_context()
    forgetful.register_forward_hook(lambda *_: fake_time.pass_by(5))
    context.steps["impair"] = 7
    context.clock.add_stored_cost("impair", 3.0)
    # Part of it in train mode, part frozen, with gradients: none of it is the metric's to change.
    forgetful[2].train()
    forgetful[1].requires_grad_(False)
    forgetful[5].bias.grad = torch.ones(10)
    modes = [module.training for module in forgetful.modules()]
    weights = copy.deepcopy(forgetful.state_dict())
    train_reads, test_reads = Usage(len(digits.labels("train"))), Usage(len(digits.labels("test")))
    train = digits.view("train", usage=train_reads)
    forget = digits.view("test", forget_view(digits).indices, usage=test_reads)
    with context.clock.running(), context.clock.phase("repair"):
        relearn(forgetful, train, forget, 1.0, RECIPE, RelearnConfig(lr=lr, cap=40), context)

    assert dict(context.steps) == {"impair": 7}
    assert context.clock.phases["impair"] == 3.0
    assert fake_time.now >= 105
    assert context.clock.phases["repair"] == 0
    assert context.clock.total == 3
    assert context.log.points == []
    assert train_reads.counts() == test_reads.counts() == {"samples": 0, "reads": 0}
    assert [module.training for module in forgetful.modules()] == modes
    assert [p.requires_grad for p in forgetful.parameters()] == [False, False, True, True, True, True]
    assert torch.equal(forgetful[5].bias.grad, torch.ones(10))
    assert all(torch.equal(value, weights[name]) for name, value in forgetful.state_dict().items())


def test_frozen_weights_relearn_like_free_ones(
    forgetful: nn.Module, digits: DeviceData, make_context: MakeContext
) -> None:
    arguments = (digits.view("train"), forget_view(digits), 1.0, RECIPE, RelearnConfig(lr=0.05, cap=60))
    free = relearn(forgetful, *arguments, make_context())
    assert relearn(copy.deepcopy(forgetful).requires_grad_(False), *arguments, make_context()) == free
    assert free.curve[-1][1] > 0


class Eavesdropper(nn.Module):
    """Notes what it is trained on, and a draw of dropout."""

    def __init__(self, heard: list[tuple[Tensor, Tensor]], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(64, 10)
        self.heard = heard

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.heard.append((images, F.dropout(torch.ones(50))))
        return self.linear(images.flatten(1))  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> Eavesdropper:
        twin = Eavesdropper(self.heard, 0)
        twin.load_state_dict(self.state_dict())
        return twin


def test_every_model_sees_the_same_batches_and_dropout(digits: DeviceData, make_context: MakeContext) -> None:
    first: list[tuple[Tensor, Tensor]] = []
    second: list[tuple[Tensor, Tensor]] = []
    other_seed: list[tuple[Tensor, Tensor]] = []
    for heard, seed, every, run_seed in ((first, 1, 2, 0), (second, 2, 5, 0), (other_seed, 1, 2, 1)):
        settings = RelearnConfig(lr=1e-6, every=every, cap=12)
        context = make_context(seed=run_seed)
        relearn(Eavesdropper(heard, seed), digits.view("train"), digits.view("test"), 1.0, RECIPE, settings, context)
    assert len(first) == len(second) == 12
    assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(first, second, strict=True))
    assert not torch.equal(first[0][0], other_seed[0][0])
    assert not torch.equal(first[0][1], other_seed[0][1])


@pytest.mark.parametrize(
    ("train", "forget", "accuracy", "reason"),
    [
        (slice(None), slice(0), 1.0, "no forget-class test samples"),
        (slice(0), slice(None), 1.0, "no training samples"),
        (slice(None), slice(None), 0.0, "nothing was known"),
        (slice(None), slice(None), float("nan"), "nothing was known"),
    ],
)
def test_what_cannot_be_relearned_is_unavailable(
    train: slice, forget: slice, accuracy: float, reason: str, digits: DeviceData, make_context: MakeContext
) -> None:
    views = digits.view("train", torch.arange(200)[train]), digits.view("test", torch.arange(20)[forget])
    with pytest.raises(MetricUnavailable, match=reason):
        relearn(small_network(), *views, accuracy, RECIPE, RelearnConfig(), make_context())


def test_a_model_of_nan_is_unavailable(digits: DeviceData, make_context: MakeContext) -> None:
    model = small_network()
    model[1].weight.data[0, 0] = float("nan")
    with pytest.raises(MetricUnavailable, match="NaN"):
        relearn(model, digits.view("train"), forget_view(digits), 1.0, RECIPE, RelearnConfig(), make_context())


@pytest.mark.parametrize("every", [3, 60])
def test_a_relearning_that_diverges_is_unavailable_and_books_nothing(
    every: int, digits: DeviceData, make_context: MakeContext
) -> None:
    """Whether a check or the training is the first to meet the numbers that are none."""
    context, settings = make_context(), RelearnConfig(lr=1e30, every=every, cap=60)
    recipe = Recipe(batch_size=24, optimizer="sgd")
    with pytest.raises(MetricUnavailable, match="logits" if every == 3 else "diverged"):
        relearn(small_network(), digits.view("train"), forget_view(digits), 2.0, recipe, settings, context)
    assert not context.steps
    assert context.log.points == []


def test_the_rate_is_a_tenth_of_the_recipes_where_none_is_given(
    forgetful: nn.Module, digits: DeviceData, make_context: MakeContext
) -> None:
    views = digits.view("train"), digits.view("test")
    curves = [
        relearn(forgetful, *views, 2.0, RECIPE, RelearnConfig(lr=lr, every=2, cap=12), make_context()).curve
        for lr in (None, 0.01, 0.02)
    ]
    assert curves[0] == curves[1] != curves[2]


def test_settings_say_what_they_accept() -> None:
    assert list(problems(RelearnConfig(), "relearn")) == []
    assert list(problems(RelearnConfig(cap=0), "relearn")) == []
    wrong = RelearnConfig(lr=0.0, every=0, cap=-1, tolerance=1.0)
    assert [line.split("=")[0] for line in problems(wrong, "metrics.relearn")] == [
        f"metrics.relearn.{name}" for name in ("lr", "every", "cap", "tolerance")
    ]
    assert list(problems(RelearnConfig(every=9, cap=8), "relearn")) == [
        "relearn.every=9: must be at most relearn.cap, 8"
    ]


def test_a_cap_of_zero_only_looks(forgetful: nn.Module, digits: DeviceData, make_context: MakeContext) -> None:
    arguments = (digits.view("train"), forget_view(digits), 1.0, RECIPE, RelearnConfig(cap=0), make_context())
    assert relearn(forgetful, *arguments) == RelearnTime(None, None, 0, [(0, 0.0)])
