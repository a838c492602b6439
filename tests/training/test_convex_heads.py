"""Solved heads against scikit-learn, autograd, closed forms, and sums in exact fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tests.baselines.solved_scene import made_samples
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import ABSENT_CLASS, FrozenHeadConfig, LogisticHead, NearestMeanHead, head_inputs
from unsir_bench.references.frozen_heads import solve
from unsir_bench.training.context import RunContext
from unsir_bench.training.convex_heads import (
    class_sums,
    logistic_gradient,
    logistic_hessians,
    newton_direction,
    set_means,
    solved_logistic,
    solved_ridge,
    targets_of,
)


def test_the_logistic_head_is_scikit_learns() -> None:
    samples = made_samples(200, 6, 3, seed=0)
    weight = solved_logistic(samples.inputs, samples.targets(3), 2.0, torch.zeros(3, 6, dtype=torch.float64))
    for label in range(3):
        theirs = LogisticRegression(C=1 / 2.0, fit_intercept=False, tol=1e-12, max_iter=1000)
        theirs.fit(samples.inputs.numpy(), (samples.labels == label).numpy())
        assert torch.allclose(weight[label], torch.from_numpy(theirs.coef_[0]), atol=1e-6)


@pytest.mark.parametrize(("l2", "scale"), [(1e-3, 0.0), (1.0, 1.0), (0.1, 20.0)])
def test_the_whole_objective_has_no_gradient_at_the_solution(l2: float, scale: float) -> None:
    samples = made_samples(60, 5, 4, seed=1)
    draws = torch.Generator().manual_seed(2)
    linear = scale * torch.randn(4, 5, generator=draws, dtype=torch.float64)
    weight = solved_logistic(samples.inputs, samples.targets(4), l2, linear).requires_grad_()
    outputs = samples.inputs @ weight.T
    losses = torch.nn.functional.softplus(outputs) - samples.targets(4) * outputs
    objective = losses.sum() + l2 / 2 * weight.square().sum() + (linear * weight).sum()
    (gradient,) = torch.autograd.grad(objective, weight)
    assert gradient.norm() < 1e-8


def test_gradient_and_hessian_are_autograds() -> None:
    samples = made_samples(30, 4, 2, seed=3)
    weight = torch.randn(2, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def objective(row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        outputs = samples.inputs @ row
        return (torch.nn.functional.softplus(outputs) - target * outputs).sum() + 0.35 * row.square().sum()

    targets, gradient = samples.targets(2), logistic_gradient(weight, samples.inputs, samples.targets(2), 0.7)
    hessians = logistic_hessians(weight, samples.inputs, 0.7)
    for place in range(2):
        own = weight[place].clone().requires_grad_()
        (theirs,) = torch.autograd.grad(objective(own, targets[:, place]), own)
        assert torch.allclose(gradient[place], theirs)
        second = torch.autograd.functional.hessian(lambda row, at=place: objective(row, targets[:, at]), weight[place])
        assert torch.allclose(hessians[place], second)
    assert torch.allclose(newton_direction(hessians, gradient), torch.linalg.solve(hessians, gradient))


def test_the_ridge_head_is_scikit_learns() -> None:
    samples = made_samples(80, 7, 3, seed=5)
    theirs = Ridge(alpha=0.3, fit_intercept=False).fit(samples.inputs.numpy(), samples.targets(3).numpy())
    ours = solved_ridge(samples.inputs, samples.targets(3), 0.3)
    assert torch.allclose(ours, torch.from_numpy(theirs.coef_), atol=1e-12)


def test_features_are_cut_to_a_lattice_on_which_sums_are_exact() -> None:
    inputs = head_inputs(torch.randn(500, 9, generator=torch.Generator().manual_seed(6)))
    assert float(inputs.norm(dim=1).max()) <= 1
    assert torch.equal(inputs * 2**30, (inputs * 2**30).round())
    sums, counts = class_sums(inputs, torch.arange(500) % 2, 2)
    exact = [sum(Fraction(float(value)) for value in inputs[0::2, column]) for column in range(9)]
    assert [Fraction(float(value)) for value in sums[0]] == exact
    assert counts.tolist() == [250, 250]


def test_the_nearest_mean_is_the_largest_logit_and_an_absent_class_is_never_chosen() -> None:
    samples = made_samples(90, 5, 4, seed=7)
    present = samples.labels != 2
    head = NearestMeanHead(5, 4)
    set_means(head, *class_sums(samples.inputs[present], samples.labels[present], 4))
    means = torch.stack([samples.inputs[samples.labels == label].mean(0) for label in (0, 1, 3)])
    nearest = torch.tensor([0, 1, 3])[torch.cdist(samples.inputs, means).argmin(1)]
    with torch.no_grad():
        logits = head(samples.inputs)
    assert torch.equal(logits.argmax(1), nearest)
    assert (logits[:, 2] == ABSENT_CLASS).all()


def test_the_linear_term_has_the_stated_deviation_and_the_trained_head_carries_it(
    make_context: Callable[..., RunContext], digits: object
) -> None:
    """Guo et al.: b ~ N(0, σ²). At the minimiser it is minus the gradient of the rest of the objective."""
    architecture = FrozenHeadConfig(backbone=AllCNNConfig(width=4), perturbation=2.5)
    view = digits.view("train")  # type: ignore[attr-defined]
    samples = made_samples(len(view), 8, 10, seed=8)
    recovered = []
    for seed in range(40):
        context = make_context(architecture, seed=seed)
        model = torch.nn.Module()
        model.head = LogisticHead(8, 10)
        with torch.no_grad():
            solve(model, samples.inputs, view, len(view), context)
        targets = targets_of(view.labels, 10)
        recovered.append(-logistic_gradient(model.head.weight.detach(), samples.inputs, targets, architecture.l2))
        assert torch.allclose(recovered[-1], model.head.perturbation, atol=1e-8)
    values = torch.stack(recovered).flatten()
    error = 2.5 / (2 * len(values)) ** 0.5
    assert abs(float(values.std()) - 2.5) < 3 * error
    assert abs(float(values.mean())) < 3 * 2.5 / len(values) ** 0.5
