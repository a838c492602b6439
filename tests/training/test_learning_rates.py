"""Learning rates: every schedule step by step, plateaus, named epochs and the backbone's own rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.linear_problem import LinearProblem, softmax_gradient
from unsir_bench.config_fields import identity
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]


def cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from ``start`` at share 0 to ``end`` at share 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def one_cycle(step: int, steps: int, peak: float, warmup: float) -> float:
    """Smith & Topin: up from peak/25, down to a ten-thousandth of that; the peak is at step ``warmup·steps − 1``."""
    top = warmup * steps - 1
    if step <= top:
        return cosine(peak / 25, peak, step / top)
    return cosine(peak, peak / 25 / 1e4, (step - top) / (steps - 1 - top))


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 0.4,
    "cosine": lambda step, steps: cosine(0.4, 0, step / steps),
    "onecycle": lambda step, steps: one_cycle(step, steps, 0.4, 0.3),
    # Of ten steps the first three rise from a fifth of the peak, the other seven fall.
    "triangular": lambda step, steps: float(np.interp(step, [0, 0.3 * steps, steps], [0.08, 0.4, 0])),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_takes_its_schedules_rate(schedule: str, make_context: MakeContext) -> None:
    problem, epochs = LinearProblem(batches=5), 2
    weights = problem.start
    for step in range(5 * epochs):
        rate = SCHEDULES[schedule](step, 5 * epochs)
        weights = weights - rate * softmax_gradient(weights, *problem.batches[step % 5])
    recipe = Recipe(optimizer="sgd", momentum=0, lr=0.4, epochs=epochs, schedule=schedule, warmup_share=0.3)
    np.testing.assert_allclose(problem.fitted(recipe, make_context()), weights, atol=1e-5)


class Recorder:
    """A checkpoint that only remembers the rates at the end of each epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def load(self) -> None:
        return None

    def save(self, state: dict[str, Any]) -> None:
        self.rates.append(state["optimizer"]["param_groups"][0]["lr"])


def test_a_plateau_lowers_the_rate_once_patience_is_spent(make_context: MakeContext) -> None:
    model, recorder = nn.Linear(5, 3, bias=False), Recorder()
    # Black images give no gradient: the loss stands still, and each epoch after the first is a bad one.
    batch = [(torch.zeros(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))]
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=9, schedule="plateau", plateau_factor=0.2, plateau_patience=3)
    fit(model, EpochBatches(lambda _epoch: batch, 6, 6), recipe, make_context(), "original", recorder)
    assert recorder.rates == pytest.approx([0.1] * 4 + [0.02] * 4 + [0.004])


def test_the_rate_falls_after_the_named_epochs(make_context: MakeContext) -> None:
    model, recorder = nn.Linear(5, 3, bias=False), Recorder()
    batch = [(torch.zeros(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))]
    recipe = Recipe(optimizer="sgd", lr=0.1, epochs=10, schedule="steps", decay_epochs=[5, 8, 9], decay_factor=0.1)
    fit(model, EpochBatches(lambda _epoch: batch, 6, 6), recipe, make_context(), "original", recorder)
    # The rate of the next epoch, as saved after each: five epochs at the first rate, three at a tenth.
    assert recorder.rates == pytest.approx([0.1] * 4 + [0.01] * 3 + [0.001] + [0.0001] * 2)


@pytest.mark.parametrize(
    "recipe",
    [Recipe(schedule="steps"), Recipe(schedule="steps", decay_epochs=[0, 3]), Recipe(decay_epochs=[3])],
)
def test_epochs_of_decay_go_with_their_schedule(recipe: Recipe) -> None:
    [problem] = recipe.check("method.train")
    assert problem.startswith("method.train.decay_epochs=")


@pytest.mark.parametrize(("of_model", "of_recipe", "used"), [(0.5, None, 0.5), (0.5, 0.25, 0.25), (0.5, 1.0, 1.0)])
def test_the_backbone_takes_the_scaled_rate(
    of_model: float, of_recipe: float | None, used: float, make_context: MakeContext
) -> None:
    moved = []
    for scales in ((1.0, None), (of_model, of_recipe)):
        architecture = AllCNNConfig(width=2, backbone_lr_scale=scales[0])
        model = architecture.initial((1, 8, 8), 3, seed=0)
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        batch = [(torch.randn((4, 1, 8, 8), generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0]))]
        recipe = Recipe(optimizer="sgd", momentum=0, lr=0.1, backbone_lr_scale=scales[1])
        fit(model, EpochBatches(lambda _e, b=batch: b, 4, 4), recipe, make_context(architecture), "original")
        moved.append({name: value.detach() - before[name] for name, value in model.named_parameters()})
    unscaled, scaled = moved
    for name, step in unscaled.items():
        factor = 1.0 if name.startswith("head.") else used
        torch.testing.assert_close(scaled[name], factor * step, rtol=1e-3, atol=1e-6)


def test_a_recipe_that_leaves_the_backbones_rate_to_the_model_has_the_identity_of_old() -> None:
    assert "backbone_lr_scale" not in identity(Recipe())
    assert identity(Recipe(backbone_lr_scale=1.0))["backbone_lr_scale"] == 1.0


@pytest.mark.parametrize(("batches", "warmup"), [(1, 0.3), (2, 0.5), (4, 0.25), (3, 0.3)])
def test_one_cycle_works_for_any_number_of_steps(batches: int, warmup: float, make_context: MakeContext) -> None:
    recipe = Recipe(optimizer="sgd", lr=0.1, schedule="onecycle", warmup_share=warmup)
    assert np.isfinite(LinearProblem(batches).fitted(recipe, make_context())).all()
