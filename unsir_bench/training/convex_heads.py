"""Solvers of the heads on a frozen backbone: logistic, ridge, nearest mean; float64, without steps to be chosen.

Features are (samples, dimensions), of norm 1 at most; weights are (classes, dimensions). Regularisers are l2 / 2
times the squared norm of the weights beside the *sum* of the losses, so that removing samples leaves them as they
are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unsir_bench.errors import Diverged
from unsir_bench.models.frozen_head import ABSENT_CLASS, LogisticHead, NearestMeanHead

GRADIENT_TOLERANCE = 1e-10
MOST_STEPS = 100


def targets_of(labels: Tensor, classes: int) -> Tensor:
    """One-hot targets (samples, classes), float64."""
    return F.one_hot(labels, classes).double()


def logistic_gradient(weight: Tensor, features: Tensor, targets: Tensor, l2: float = 0.0) -> Tensor:
    """Gradient (classes, dimensions) of the one-vs-rest logistic objective, its linear term left out."""
    return ((features @ weight.T).sigmoid() - targets).T @ features + l2 * weight


def logistic_hessians(weight: Tensor, features: Tensor, l2: float) -> Tensor:
    """The Hessian (classes, dimensions, dimensions) of each class's objective."""
    shares = (features @ weight.T).sigmoid()
    curvature = shares * (1 - shares)
    ridge = l2 * torch.eye(features.shape[1], dtype=features.dtype)
    return torch.stack([(features * column[:, None]).T @ features + ridge for column in curvature.T])


def newton_direction(hessians: Tensor, gradient: Tensor) -> Tensor:
    """H⁻¹ g of each class, (classes, dimensions)."""
    return torch.cholesky_solve(gradient[:, :, None], torch.linalg.cholesky(hessians))[:, :, 0]


def solved_logistic(features: Tensor, targets: Tensor, l2: float, perturbation: Tensor) -> Tensor:
    """The minimiser (classes, dimensions) by Newton's method with halved steps; gradients end below 1e-10.

    Raises:
        Diverged: the gradient does not get there.
    """
    weight = torch.zeros_like(perturbation)
    for _ in range(MOST_STEPS):
        gradient = logistic_gradient(weight, features, targets, l2) + perturbation
        if gradient.norm() <= GRADIENT_TOLERANCE * max(1, len(features)) ** 0.5:
            return weight
        direction = newton_direction(logistic_hessians(weight, features, l2), gradient)
        weight = weight - direction * _step_lengths(weight, direction, gradient, features, targets, l2, perturbation)
    raise Diverged("head", MOST_STEPS, float(gradient.norm()))


def _objective(weight: Tensor, features: Tensor, targets: Tensor, l2: float, perturbation: Tensor) -> Tensor:
    losses = F.binary_cross_entropy_with_logits(features @ weight.T, targets, reduction="none").sum(0)
    return losses + (l2 / 2 * weight.square() + perturbation * weight).sum(1)


def _step_lengths(
    weight: Tensor, direction: Tensor, gradient: Tensor, features: Tensor, targets: Tensor, l2: float, linear: Tensor
) -> Tensor:
    """For each class the first of 1, ½, ¼, ... that lowers its objective enough (Armijo); (classes, 1)."""
    before = _objective(weight, features, targets, l2, linear)
    slope = (gradient * direction).sum(1)
    lengths = torch.ones(len(weight), 1, dtype=weight.dtype)
    for _ in range(30):
        after = _objective(weight - lengths * direction, features, targets, l2, linear)
        # Near the minimum differences are below rounding: there the whole Newton step is right.
        too_far = after > before - 1e-4 * lengths[:, 0] * slope + 1e-12 * before.abs()
        if not too_far.any():
            break
        lengths = torch.where(too_far[:, None], lengths / 2, lengths)
    return lengths


def solve_logistic(head: LogisticHead, features: Tensor, labels: Tensor, l2: float, perturbation: Tensor) -> None:
    """Set a head to the minimiser, in place."""
    targets = targets_of(labels, len(head.weight))
    head.perturbation.copy_(perturbation)
    head.weight.data.copy_(solved_logistic(features, targets, l2, perturbation))


def ridge_gram(features: Tensor, l2: float) -> Tensor:
    """XᵀX + l2 I, the Hessian of each class's objective ½‖Xw - y‖² + l2 / 2 ‖w‖²."""
    return features.T @ features + l2 * torch.eye(features.shape[1], dtype=features.dtype)


def solved_ridge(features: Tensor, targets: Tensor, l2: float) -> Tensor:
    """The minimiser (classes, dimensions) in closed form."""
    return torch.cholesky_solve(features.T @ targets, torch.linalg.cholesky(ridge_gram(features, l2))).T


def class_sums(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum (classes, dimensions) and number (classes) of the samples of each class; exact for ``head_inputs``."""
    targets = targets_of(labels, classes)
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64)
    return sums.index_add_(0, labels, features), targets.sum(0)


def set_means(head: NearestMeanHead, sums: Tensor, counts: Tensor) -> None:
    """Set a head to the means of its classes, in place; a class without samples is never predicted."""
    present = counts > 0
    means = torch.where(present[:, None], sums / counts.clamp(min=1)[:, None], torch.zeros_like(sums))
    head.sums.copy_(sums)
    head.counts.copy_(counts)
    head.weight.data.copy_(means)
    head.bias.data.copy_(torch.where(present, -means.square().sum(1) / 2, torch.full_like(counts, ABSENT_CLASS)))
