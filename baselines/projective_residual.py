"""Projective residual update (Z. Izzo, M. A. Smart, K. Chaudhuri, J. Zou, AISTATS 2021), for ridge and logistic heads.

From the hat matrix of the k removed rows follow the predictions that a head refitted without them would make on these
rows. The update is the smallest one that gives these predictions: the refit's own update, projected on the span of
the removed rows (their Theorem 5). It costs O(k² d) once the Hessian of all samples is factorised, which is phase
``hessian`` here.

So it equals the refit on the removed rows alone, and in full only where they span all d dimensions, that is with k >=
d: there a refit costs less, and a warning says so. ``metric: hessian`` measures the update by the Hessian instead of
the Euclidean norm; for ridge that is the refit for every k, at the cost of k solves. For the logistic head the refit
is one Newton step.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, choice
from unsir_bench.training.convex_heads import logistic_gradient, logistic_hessians, ridge_gram
from unsir_bench.unlearning.solved_heads import HeadSamples, SolvedHeadMethod, head_samples

LOG = logging.getLogger("unsir_bench")
LEAST_CURVATURE = 1e-12  # p (1 - p) of a sample that the head is sure of


@dataclass
class ProjectiveResidual(SolvedHeadMethod):
    """Make the head answer the removed samples as a refit would, by the smallest change of its weights."""

    classifiers: ClassVar[tuple[str, ...]] = ("ridge", "logistic")
    name: str = "projective_residual"
    metric: str = choice("euclidean", ("euclidean", "hessian"))
    requires = frozenset({Access.FORGET_DATA, Access.RETAIN_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        head, architecture = self.head_of(model, context)
        ridge, l2 = architecture.classifier == "ridge", architecture.l2
        forget, retain = head_samples(model, data.forget, context), head_samples(model, data.retain, context)
        weight = head.get_parameter("weight").data
        with context.clock.phase("hessian"):
            inputs = torch.cat([forget.inputs, retain.inputs])
            hessians = ridge_gram(inputs, l2)[None] if ridge else logistic_hessians(weight, inputs, l2)
            factors = torch.linalg.cholesky(hessians)
        with context.clock.phase("project"):
            update = refit_updates(factors, weight, forget, ridge=ridge)
            basis = span_of(forget.inputs)
            if self.metric == "euclidean":
                update = update @ basis @ basis.T
            weight += update
        _warn_of_size(forget)
        with context.clock.paused():  # for the record alone
            linear = 0.0 if ridge else head.get_buffer("perturbation")
            gradient = _gradient(weight, retain, l2, ridge=ridge) + linear
        head.to(context.device)
        # The refit's update is known at a minimiser alone, which an earlier step that was not exact has left.
        at_minimiser = context.guarantees.get("exact", 1) == 1
        exact = ridge and at_minimiser and (self.metric == "hessian" or basis.shape[1] == len(basis))
        context.guarantee(exact=int(exact), removed_samples=len(forget), residual_norm=float(gradient.norm()))
        return model


def refit_updates(factors: Tensor, weight: Tensor, forget: HeadSamples, *, ridge: bool) -> Tensor:
    """What a refit without the forget samples (for the logistic head: its Newton step) would add to the weights.

    Args:
        factors: Cholesky factors of the Hessian of all samples, (classes or 1, dimensions, dimensions).
        weight: (classes, dimensions).
        forget: the k removed samples.
        ridge: whether the head is ridge regression.

    Returns:
        (classes, dimensions).
    """
    targets, outputs = forget.targets(len(weight)), forget.inputs @ weight.T
    if ridge:
        return _left_out(factors[0], forget.inputs, outputs - targets)
    shares = outputs.sigmoid()
    roots = (shares * (1 - shares)).clamp(min=LEAST_CURVATURE).sqrt()
    columns = zip(factors, roots.T, (shares - targets).T, strict=True)
    return torch.cat([_left_out(factor, root[:, None] * forget.inputs, (gap / root)[:, None])
                      for factor, root, gap in columns])  # fmt: skip


def _left_out(factor: Tensor, rows: Tensor, residuals: Tensor) -> Tensor:
    """A⁻¹ Rᵀ (I - R A⁻¹ Rᵀ)⁻¹ E, transposed: the update from the leave-k-out residuals of the rows R."""
    solved = torch.cholesky_solve(rows.T, factor)
    hat = rows @ solved
    left_out: Tensor = torch.linalg.solve(torch.eye(len(hat), dtype=hat.dtype) - hat, residuals)
    update: Tensor = solved @ left_out
    return update.T


def span_of(rows: Tensor) -> Tensor:
    """An orthonormal basis (dimensions, rank) of the span of some rows (k, dimensions)."""
    sizes: Tensor
    directions: Tensor
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    least = float(sizes.max()) * max(rows.shape) * torch.finfo(rows.dtype).eps
    return directions[sizes > least].T


def _gradient(weight: Tensor, samples: HeadSamples, l2: float, *, ridge: bool) -> Tensor:
    targets = samples.targets(len(weight))
    if ridge:
        return (samples.inputs @ weight.T - targets).T @ samples.inputs + l2 * weight
    return logistic_gradient(weight, samples.inputs, targets, l2)


def _warn_of_size(forget: HeadSamples) -> None:
    removed, dimensions = forget.inputs.shape
    if removed >= dimensions:
        LOG.warning(
            "projective_residual: %d removed samples in %d dimensions; from k >= d on a refit costs less",
            removed, dimensions,
        )  # fmt: skip
