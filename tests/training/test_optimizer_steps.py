"""Single steps of the optimizers, clipping and label smoothing: against textbooks in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from tests.training.linear_problem import Array, LinearProblem, softmax_gradient
from unsir_bench.errors import Diverged
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe, optimizer_for

MakeContext = Callable[..., RunContext]


def adam_step(weights: Array, gradient: Array, recipe: Recipe) -> Array:
    """The first step of Adam (Kingma & Ba, 2015), whose moments begin at 0, with L2 in the gradient."""
    gradient = gradient + recipe.weight_decay * weights
    first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    return weights - recipe.lr * first / (np.sqrt(second) + 1e-8)


def adamw_step(weights: Array, gradient: Array, recipe: Recipe) -> Array:
    """The first step of AdamW (Loshchilov & Hutter, 2019): weights decay beside the gradient."""
    first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
    return weights * (1 - recipe.lr * recipe.weight_decay) - recipe.lr * first / (np.sqrt(second) + 1e-8)


def sgd_step(weights: Array, gradient: Array, recipe: Recipe) -> Array:
    gradient = gradient + recipe.weight_decay * weights
    # The first velocity is the gradient itself; Nesterov looks one step of momentum ahead.
    return weights - recipe.lr * gradient * (1 + recipe.momentum if recipe.nesterov else 1)


STEPS = {"adam": adam_step, "adamw": adamw_step, "sgd": sgd_step}
RECIPES = {
    "sgd": Recipe(optimizer="sgd", lr=0.3),
    "sgd-decayed": Recipe(optimizer="sgd", lr=0.3, weight_decay=0.2),
    "sgd-nesterov": Recipe(optimizer="sgd", lr=0.3, nesterov=True, weight_decay=0.2),
    "adam": Recipe(optimizer="adam", lr=0.05),
    "adam-decayed": Recipe(optimizer="adam", lr=0.05, weight_decay=0.2),
    "adamw-decayed": Recipe(optimizer="adamw", lr=0.05, weight_decay=0.2),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_one_step_is_the_textbooks(recipe: Recipe, make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0])
    expected = STEPS[recipe.optimizer](problem.start, gradient, recipe)
    np.testing.assert_allclose(problem.fitted(recipe, make_context()), expected, atol=2e-6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_fused_steps_are_the_plain_ones(recipe: Recipe, make_context: MakeContext) -> None:
    problem = LinearProblem(batches=20)
    fused = problem.fitted(recipe, make_context())
    kept = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "foreach": False, "fused": False}
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer == "sgd":
        kept |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    weights = torch.from_numpy(problem.start).float().requires_grad_()
    optimizer = kinds[recipe.optimizer]([weights], **kept)
    for images, labels in problem.batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(torch.from_numpy(images).float() @ weights.T, torch.from_numpy(labels)).backward()
        optimizer.step()
    np.testing.assert_allclose(fused, weights.detach().double().numpy(), rtol=1e-5, atol=1e-5)


def test_steps_are_fused_unless_gradients_are_scaled(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    model = AllCNNConfig().initial((3, 8, 8), 3, 0)
    for recipe in RECIPES.values():
        assert optimizer_for(model, recipe, context).defaults["fused"] is True
    scaled = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    monkeypatch.setattr(context.fabric.strategy, "_precision", scaled)
    for recipe in RECIPES.values():
        assert optimizer_for(model, recipe, context).defaults["fused"] is False


def test_momentum_carries_the_last_step_on(make_context: MakeContext) -> None:
    problem = LinearProblem(batches=2)
    weights, velocity = problem.start, np.zeros_like(problem.start)
    for images, labels in problem.batches:
        velocity = 0.7 * velocity + softmax_gradient(weights, images, labels)
        weights = weights - 0.2 * velocity
    fitted = problem.fitted(Recipe(optimizer="sgd", lr=0.2, momentum=0.7), make_context())
    np.testing.assert_allclose(fitted, weights, atol=2e-6)


def test_gradient_entries_are_clipped_before_weights_decay(make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0])
    assert (abs(gradient) > 0.1).any()
    assert (abs(gradient) < 0.1).any()
    recipe = Recipe(optimizer="sgd", lr=0.5, clip_value=0.1, weight_decay=0.3)
    expected = problem.start - 0.5 * (np.clip(gradient, -0.1, 0.1) + 0.3 * problem.start)
    np.testing.assert_allclose(problem.fitted(recipe, make_context()), expected, atol=2e-6)


def test_a_gradient_that_is_no_number_is_divergence_whatever_clips(make_context: MakeContext) -> None:
    for bounds in ({"clip_norm": 1.0}, {"clip_value": 1.0}, {}):
        problem = LinearProblem(batches=2)
        problem.batches[0][0][:] = np.nan
        with pytest.raises(Diverged):
            problem.fitted(Recipe(**bounds), make_context())


@pytest.mark.parametrize("bound", [0.05, 1e6])
def test_a_long_gradient_is_shortened_and_a_short_one_left_alone(bound: float, make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0])
    shortened = gradient * min(1, bound / np.linalg.norm(gradient))
    fitted = problem.fitted(Recipe(optimizer="sgd", lr=0.5, clip_norm=bound), make_context())
    np.testing.assert_allclose(fitted, problem.start - 0.5 * shortened, atol=2e-6)


def test_label_smoothing_spreads_a_share_over_all_classes(make_context: MakeContext) -> None:
    problem = LinearProblem()
    gradient = softmax_gradient(problem.start, *problem.batches[0], smoothing=0.3)
    fitted = problem.fitted(Recipe(optimizer="sgd", lr=0.5, label_smoothing=0.3), make_context())
    np.testing.assert_allclose(fitted, problem.start - 0.5 * gradient, atol=2e-6)
