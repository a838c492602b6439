"""NTK forgetting (A. Golatkar, A. Achille, S. Soatto, "Forgetting Outside the Box", ECCV 2020, arXiv:2003.02960).

The network is linearised at its weights θ; G is its Jacobian, with a column for each sample and class. Ridge regression
of what the softmax lacks to the labels has the minimum w(D) = -G (GᵀG + n λ I)⁻¹ (softmax(f) - y), on all samples and
on the retained alone, and θ ← θ + s (w(D_r) - w(D)). The authors' code takes λ to be the weight decay, 0.1 there, and
predicts s from the length of w(D_r) - w(D) and its angle to θ - θ_0 - w(D_r), θ_0 being the initial weights; it only
prints the scale that the retrained weights give. Here s is a setting. Their noise along the Fisher diagonal, a second
step of the same paper, is ``method=fisher``.

The smaller form of the system is solved: G Gᵀ + n λ I over the weights, or GᵀG + n λ I over samples and classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod, number
from unsir_bench.models.last_layers import parameters_of_last_layers
from unsir_bench.runtime.available_memory import require_memory
from unsir_bench.training.linearised import LinearRows, add_to, in_float64, linear_rows

Terms = tuple[Tensor, Tensor]


@dataclass
class NTK(UnlearningMethod):
    """Move by the difference of two ridge regressions of the linearised network, without and with the forget samples.

    ``layers`` counts the last weight layers whose parameters move; None: all. ``batch_size`` is how many samples'
    Jacobians are computed at once. Everything is computed in float64.
    """

    name: str = "ntk"
    layers: int | None = number(2, at_least=1)
    weight_decay: float = number(5e-4, above=0, search=(1e-5, 1.0))
    scale: float = number(1.0, above=0, search=(0.1, 10.0))
    batch_size: int = number(64, at_least=1)
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})
    changes_all_layers = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        names = parameters_of_last_layers(model, self.layers)
        weights = sum(model.get_parameter(name).numel() for name in names)
        samples = len(data.retain) + len(data.forget)
        rows = samples * context.num_classes
        _require_memory(weights, rows)
        form = OverWeights if weights <= rows else OverRows
        linearised = in_float64(model)
        with context.clock.phase("jacobians"):
            retain, forget = (
                form.terms(linear_rows(linearised, names, view, self.batch_size, context))
                for view in (data.retain, data.forget)
            )
        with context.clock.phase("solve"):
            without = form.minimum(*retain, self.weight_decay * len(data.retain))
            complete = form.minimum(*form.joined(retain, forget), self.weight_decay * samples)
            add_to(model, names, self.scale * (without - complete))
        return model


class OverWeights:
    """The ridge regression as a system over the weights; its terms are sums over samples."""

    @staticmethod
    def terms(batches: Iterable[LinearRows]) -> Terms:
        """G Gᵀ (weights, weights) and G (softmax(f) - y) (weights,)."""
        parts = (OverRows.of_batch(*batch) for batch in batches)
        jacobian, lacking = next(parts)
        gram, moment = jacobian.T @ jacobian, jacobian.T @ lacking
        for jacobian, lacking in parts:
            gram.addmm_(jacobian.T, jacobian)
            moment.addmv_(jacobian.T, lacking)
        return gram, moment

    @staticmethod
    def joined(first: Terms, second: Terms) -> Terms:
        """The terms of both sets of samples."""
        return first[0] + second[0], first[1] + second[1]

    @staticmethod
    def minimum(gram: Tensor, moment: Tensor, ridge: float) -> Tensor:
        """The minimum (weights,); ``ridge`` is n λ."""
        return -_solve(gram, moment, ridge)


class OverRows:
    """The ridge regression as a system over samples and classes; its terms are all rows."""

    @staticmethod
    def of_batch(jacobian: Tensor, logits: Tensor, labels: Tensor) -> Terms:
        """Gᵀ (samples · classes, weights) and softmax(f) - y (samples · classes,) of a batch."""
        lacking = logits.softmax(dim=1)
        lacking[torch.arange(len(labels)), labels] -= 1
        return jacobian.flatten(0, 1), lacking.flatten()

    @staticmethod
    def terms(batches: Iterable[LinearRows]) -> Terms:
        """Gᵀ (samples · classes, weights) and softmax(f) - y (samples · classes,)."""
        jacobians, lacking = zip(*(OverRows.of_batch(*batch) for batch in batches), strict=True)
        return torch.cat(jacobians), torch.cat(lacking)

    @staticmethod
    def joined(first: Terms, second: Terms) -> Terms:
        """The terms of both sets of samples."""
        return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])

    @staticmethod
    def minimum(jacobian: Tensor, lacking: Tensor, ridge: float) -> Tensor:
        """The minimum (weights,); ``ridge`` is n λ."""
        return -jacobian.T @ _solve(jacobian @ jacobian.T, lacking, ridge)


def _solve(matrix: Tensor, right: Tensor, ridge: float) -> Tensor:
    """The solution of (matrix + ridge I) x = right, for a symmetric positive semi-definite matrix."""
    shifted = matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.cholesky_solve(right[:, None], torch.linalg.cholesky(shifted))[:, 0]


def _require_memory(weights: int, rows: int) -> None:
    """Raise as ``require_memory`` if the smaller system does not fit; a float64 has 8 bytes."""
    size = min(weights, rows)
    # The system of both sets, its sum with the ridge and its factor; over rows, all Jacobians twice.
    needed = 8 * (4 * size**2 + (2 * weights * rows if rows < weights else 0))
    what = f"ntk, for a system over {weights} weights or {rows} samples and classes,"
    require_memory(needed, what, "lower method.layers, or take a smaller network")
