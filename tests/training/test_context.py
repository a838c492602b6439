from __future__ import annotations

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.models.torchvision_models import ResNet18
from unsir_bench.training import warm_up
from unsir_bench.training.context import RunContext

MakeContext = Callable[..., RunContext]


def test_draws_depend_on_seed_and_role_and_on_nothing_else_of_the_run(make_context: MakeContext) -> None:
    first, other = make_context(), make_context(ResNet18(), forget_classes=(1, 2), num_classes=3)
    first.generator("impair", 0)
    draws = [torch.rand(3, generator=context.generator("noise")) for context in (first, other)]
    assert torch.equal(*draws)
    for different in (first.generator("impair"), make_context(seed=1).generator("noise")):
        assert not torch.equal(draws[0], torch.rand(3, generator=different))


def test_a_methods_draws_follow_its_own_seed_and_references_the_training_seed(make_context: MakeContext) -> None:
    def drawn(context: RunContext) -> list[float]:
        return torch.rand(3, generator=context.generator("noise")).tolist()

    def weights(network: nn.Module) -> list[float]:
        return next(network.parameters()).flatten().tolist()

    context, other = make_context(seed=0), make_context(seed=7)
    plain, initial = drawn(context), weights(context.initial_network())
    with context.in_step(0, 7):
        assert drawn(context) == drawn(other) != plain
        assert weights(context.random_network("teacher")) == weights(other.random_network("teacher"))
        assert weights(context.initial_network()) == initial != weights(other.initial_network())
        trained: list[int] = []
        context.scratch_trainer = lambda view, given: trained.append(given.seed)  # type: ignore[assignment,return-value,func-returns-value]
        context.train_from_scratch(None)  # type: ignore[arg-type]
        assert trained == [0] and context.seed == 7
    assert drawn(context) == plain


def test_every_global_generator_is_seeded(make_context: MakeContext) -> None:
    context, drawn = make_context(), []
    for _ in range(2):
        context.seed_everything("train", "dropout", 0)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def test_a_context_without_a_trainer_says_so(digits: DeviceData, make_context: MakeContext) -> None:
    with pytest.raises(RuntimeError, match="no trainer from scratch"):
        make_context().train_from_scratch(digits.view("train"))


@pytest.mark.parametrize(("innermost", "layout"), [(True, torch.channels_last), (False, torch.contiguous_format)])
def test_the_layout_follows_the_setting(
    innermost: bool, layout: torch.memory_format, make_context: MakeContext
) -> None:
    assert make_context(channels_last=innermost).layout is layout


class Watched(nn.Sequential):
    """A network whose copies all note what they are given, and each gradient that comes back to their weights."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.seen: list[tuple[str, torch.Size]] = []

    def __deepcopy__(self, memo: dict[int, object]) -> Watched:
        copied = Watched()
        copied.load_state_dict(self.state_dict())
        copied.seen = self.seen
        return copied

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = super().forward(images)
        logits.register_hook(lambda gradient: self.seen.append(("backward", gradient.shape)))
        self.seen.append(("training" if self.training else "evaluation", images.shape))
        return logits


def test_warming_up_works_both_ways_and_leaves_network_and_generators_as_they_were(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, model = make_context(image_shape=(3, 1, 1), num_classes=4), Watched().eval()
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    warm_up.warm_up(model, 6, context)
    assert model.seen == [], "a CPU needs none"
    monkeypatch.setattr("unsir_bench.training.warm_up.SLOW_AT_FIRST", ("cpu",))
    warm_up.warm_up(model, 6, context)
    assert model.seen == [("training", (6, 3, 1, 1)), ("backward", (6, 4))]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not model.training and all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "32-true"])
def test_a_network_with_trained_weights_has_the_precision_they_were_trained_in(
    precision: str, make_context: MakeContext, digits: DeviceData
) -> None:
    """What the store kept of a training must be what its network, loaded again, says."""
    fabric = Fabric(accelerator="cpu", precision=precision)  # type: ignore[arg-type]
    context = make_context(fabric=fabric)
    trained = fabric.setup_module(context.initial_network())
    weights = {name: value.clone() for name, value in trained.state_dict().items()}
    again = context.network_with(weights)
    assert {value.dtype for value in again.parameters()} == {next(trained.parameters()).dtype}
    images, _ = next(iter(digits.view("test").batches(16)))
    said = [context.forward(model.eval(), images) for model in (trained.module, again)]
    assert torch.equal(*said)
