"""Trainings that differ from the usual one: another objective, work before an epoch or after a step, changing views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.small_network import small_network
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import Batch, DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Objective, Variation, fit, freeze_batchnorm, with_batchnorm
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]
RECIPE = Recipe(epochs=3, batch_size=32, optimizer="sgd", lr=0.05, momentum=0.8, weight_decay=0.01)


def drawn(digits: DeviceData, context: RunContext, recipe: Recipe = RECIPE) -> EpochBatches:
    return EpochBatches.from_view(digits.view("train"), recipe, context, "train")


def ascent(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return -F.cross_entropy(model(images), targets)


def away_from_uniform(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Reads no target, and draws dropout."""
    return -F.log_softmax(model(images), dim=1).mean(dim=1).mean()


def penalised(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    penalty = sum(parameter.abs().sum() for parameter in model.parameters())
    return 0.01 * penalty + F.cross_entropy(model(images), targets)


OBJECTIVES: dict[str, Objective] = {"ascent": ascent, "uniform": away_from_uniform, "penalised": penalised}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_objective_takes_the_place_of_cross_entropy(
    name: str, digits: DeviceData, make_context: MakeContext
) -> None:
    objective, context = OBJECTIVES[name], make_context()
    model = small_network()
    fit(model, drawn(digits, context), RECIPE, context, "ascent", variation=Variation(objective=objective))

    twin, losses = small_network(), []
    optimizer = torch.optim.SGD(twin.parameters(), RECIPE.lr, RECIPE.momentum, weight_decay=RECIPE.weight_decay)
    batches = drawn(digits, make_context())
    for epoch in range(RECIPE.epochs):
        for images, targets in batches.batches(epoch):
            loss = objective(twin, images, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, msg=key)
    assert [values["loss"] for _, _, values in context.log.points] == pytest.approx(losses)


def test_one_step_of_a_linear_objective_by_hand(make_context: MakeContext) -> None:
    """Mean over samples of 3 z_0 − z_1: the gradient is 3 x̄ for class 0, −x̄ for class 1 and nothing for class 2."""
    draw = np.random.default_rng(0)
    images, start = draw.normal(size=(6, 5)), draw.normal(size=(3, 5))
    model = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start))

    def objective(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        logits = model(images)
        return (3 * logits[:, 0] - logits[:, 1]).mean()

    batch = [(torch.from_numpy(images).float(), torch.zeros(6, dtype=torch.int64))]
    recipe = Recipe(optimizer="sgd", lr=0.2, momentum=0, label_smoothing=0.5)
    variation = Variation(objective=objective)
    fit(model, EpochBatches(lambda _epoch: batch, 6, 6), recipe, make_context(), "x", variation=variation)
    expected = start - 0.2 * np.outer([3, -1, 0], images.mean(axis=0))
    np.testing.assert_allclose(model.weight.detach().numpy(), expected, atol=1e-6)


def test_a_variation_that_varies_nothing_is_the_usual_training(digits: DeviceData, make_context: MakeContext) -> None:
    trained = []
    for variation in (None, Variation(), Variation(before_epoch=with_batchnorm(frozen=False))):
        model, context = small_network(), make_context()
        fit(model, drawn(digits, context), RECIPE, context, "train", variation=variation)
        trained.append(model.state_dict())
    for other in trained[1:]:
        assert all(torch.equal(value, other[name]) for name, value in trained[0].items())


def test_before_each_epoch_the_network_is_in_train_mode_again(digits: DeviceData, make_context: MakeContext) -> None:
    seen, context, own = [], make_context(), small_network()

    def before_epoch(model: nn.Module, epoch: int) -> None:
        seen.append((model is own, all(module.training for module in model.modules()), epoch))
        model.eval()

    fit(own, drawn(digits, context), RECIPE, context, "train", variation=Variation(before_epoch=before_epoch))
    assert seen == [(True, True, 0), (True, True, 1), (True, True, 2)]
    # The mode that it chose held: no batch has moved the running statistics.
    assert torch.equal(own[2].running_mean, small_network()[2].running_mean)


def test_work_before_an_epoch_precedes_its_first_batch(digits: DeviceData, make_context: MakeContext) -> None:
    events: list[str] = []
    context = make_context()
    batches = drawn(digits, context)

    def of_epoch(epoch: int) -> Iterable[Batch]:
        for batch in batches.batches(epoch):
            events.append("batch")
            yield batch

    variation = Variation(
        before_epoch=lambda model, epoch: events.append(f"epoch {epoch}"),
        after_step=lambda model, targets: events.append("stepped"),
    )
    watched = EpochBatches(of_epoch, batches.samples, batches.batch_size)
    fit(small_network(), watched, RECIPE, context, "train", variation=variation)
    # 200 samples in batches of 32.
    steps = ["batch", "stepped"] * 7
    assert events == ["epoch 0", *steps, "epoch 1", *steps, "epoch 2", *steps]


def test_after_each_step_come_the_targets_of_its_whole_batch_and_the_new_weights(
    digits: DeviceData, make_context: MakeContext
) -> None:
    context, own = make_context(), small_network()
    seen, previous = [], [own[1].weight.detach().clone()]

    def after_step(model: nn.Module, targets: Tensor) -> None:
        assert model is own
        assert not torch.equal(own[1].weight, previous[-1])
        previous.append(own[1].weight.detach().clone())
        seen.append(targets.clone())

    fit(own, drawn(digits, context), RECIPE, context, "train", variation=Variation(after_step=after_step))
    again = drawn(digits, make_context())
    expected = [targets for epoch in range(3) for _, targets in again.batches(epoch)]
    assert len(seen) == 3 * 7
    assert all(torch.equal(*pair) for pair in zip(seen, expected, strict=True))
    assert torch.equal(previous[-1], own[1].weight)


def test_a_resumed_training_goes_on_with_its_epoch(
    digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    seen: list[int] = []

    def attempt(stop_at: int | None) -> None:
        def before_epoch(model: nn.Module, epoch: int) -> None:
            seen.append(epoch)
            if epoch == stop_at:
                raise KeyboardInterrupt

        context = make_context()
        keeper = TrainingCheckpoint(tmp_path / "state.pt")
        variation = Variation(before_epoch=before_epoch)
        fit(small_network(), drawn(digits, context), RECIPE, context, "train", keeper, variation)

    with pytest.raises(KeyboardInterrupt):
        attempt(2)
    attempt(None)
    assert seen == [0, 1, 2, 2]


# Batch normalisation


def test_batch_normalisation_alone_is_frozen() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()), nn.BatchNorm3d(1)
    )
    model.train()
    freeze_batchnorm(model)
    in_eval = {name for name, module in model.named_modules() if not module.training}
    assert in_eval == {"1", "2.0", "3"}


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_are_used_and_kept_while_weights_are_trained(
    frozen: bool, digits: DeviceData, make_context: MakeContext
) -> None:
    context, model, start = make_context(), small_network(), small_network()
    variation = Variation(before_epoch=with_batchnorm(frozen=frozen))
    recipe = Recipe(epochs=1, batch_size=200, optimizer="sgd", lr=0.1, momentum=0)
    fit(model, drawn(digits, context, recipe), recipe, context, "train", variation=variation)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(model[2], name), getattr(start[2], name)) is frozen
    assert not torch.equal(model[2].weight, start[2].weight)

    ((images, targets),) = drawn(digits, make_context(), recipe).batches(0)
    start.train()
    if frozen:
        start[2].eval()
    F.cross_entropy(start(images), targets).backward()
    for moved, parameter in zip(model.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(moved.detach(), parameter.detach() - 0.1 * parameter.grad)


# Views that change from epoch to epoch


def test_a_view_that_never_changes_gives_the_usual_batches(digits: DeviceData, make_context: MakeContext) -> None:
    recipe = Recipe(batch_size=32, augment=Augmentation(flip=True, crop_padding=1))
    view = digits.view("train")
    usual = EpochBatches.from_view(view, recipe, make_context(), "train")
    of_views = EpochBatches.from_views(lambda epoch: view, len(view), recipe, make_context(), "train")
    assert of_views.steps == usual.steps == 7
    for epoch in (0, 1):
        for pair in zip(usual.batches(epoch), of_views.batches(epoch), strict=True):
            (images, targets), (other_images, other_targets) = pair
            assert torch.equal(images, other_images)
            assert torch.equal(targets, other_targets)


def test_each_epoch_reads_the_view_made_for_it(digits: DeviceData, make_context: MakeContext) -> None:
    view, asked, seen = digits.view("train"), [], []

    def view_of(epoch: int) -> DataView:
        asked.append(epoch)
        return view.relabelled((view.labels + epoch) % 10)

    context = make_context()
    batches = EpochBatches.from_views(view_of, len(view), RECIPE, context, "train")
    variation = Variation(after_step=lambda model, targets: seen.append(targets))
    state = fit(small_network(), batches, RECIPE, context, "train", variation=variation)
    assert asked == [0, 1, 2]
    assert (state.steps, state.samples) == (3 * 7, 3 * 200)
    usual = drawn(digits, make_context())
    truth = [(epoch, targets) for epoch in range(3) for _, targets in usual.batches(epoch)]
    for targets, (epoch, own) in zip(seen, truth, strict=True):
        assert torch.equal(targets, (own + epoch) % 10)


def test_targets_may_be_probabilities(digits: DeviceData, make_context: MakeContext) -> None:
    """One step of a linear network: the gradient of −Σ q log p is (p − q)ᵀ x / n, in float64."""
    view = digits.view("train", torch.arange(40))
    wanted = torch.rand((40, 10), generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    start = model[1].weight.detach().double().numpy().copy()

    def soft(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return -(targets * F.log_softmax(model(images), dim=1)).sum(dim=1).mean()

    recipe, context = Recipe(batch_size=40, optimizer="sgd", lr=0.3, momentum=0), make_context()
    batches = EpochBatches.from_view(view.relabelled(wanted), recipe, context, "train")
    fit(model, batches, recipe, context, "train", variation=Variation(objective=soft))

    images = view.fetch(torch.arange(40))[0].flatten(1).double().numpy()
    exponent = np.exp(images @ start.T)
    chance = exponent / exponent.sum(axis=1, keepdims=True)
    expected = start - 0.3 * (chance - wanted.double().numpy()).T @ images / 40
    np.testing.assert_allclose(model[1].weight.detach().numpy(), expected, atol=1e-5)
