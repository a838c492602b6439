"""Mixed-linear forgetting (A. Golatkar, A. Achille, A. Ravichandran, M. Polito, S. Soatto, "Mixed-Privacy Forgetting in
Deep Networks", CVPR 2021, arXiv:2012.13431), for the linearised last layers of ``model=frozen_head``.

The network is f(x) + ∇f(x)·w, with a core f that is never forgotten and w trained by least squares on one-hot targets
with an L2 term. The objective is quadratic, so the w of the retain samples is w - H⁻¹ ∇L(w), with the Hessian H and the
gradient ∇L of the retain samples. A number of steps of conjugate gradients stands for H⁻¹; the gradient that they leave
is the record's ``residual_norm``, and w is at most residual_norm / l2 from its retrained value.

It constrains how the original is trained: original and retrained model are least squares on the same core. The authors
add Gaussian noise in proportion to what the steps leave; none is added here. They multiply by H without forming it;
here it is summed once, over the weights of the last layers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, number
from unsir_bench.models.frozen_head import LinearisedNetwork
from unsir_bench.training.linearised import normal_equations
from unsir_bench.unlearning.solved_heads import SolvedHeadMethod

TOLERANCE = 1e-14  # of the gradient, relative to g: below it steps change rounding alone


@dataclass
class MixedLinear(SolvedHeadMethod):
    """Minimise the retain samples' least squares by conjugate gradients from the original's linear part.

    Attributes:
        steps: of conjugate gradients, at most.
    """

    classifiers: ClassVar[tuple[str, ...]] = ("linearised",)
    name: str = "mixed_linear"
    steps: int = number(300, at_least=1)
    requires = frozenset({Access.RETAIN_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        head, architecture = self.head_of(model, context)
        change = head.get_parameter("change").data
        with context.clock.phase("hessian"):
            network = cast("LinearisedNetwork", model)
            hessian, moment = normal_equations(network, data.retain, architecture.l2, context)
        with context.clock.phase("conjugate gradients"):
            change.copy_(conjugate_gradients(hessian, moment, change, self.steps))
        with context.clock.paused():  # for the record alone
            residual = float((hessian @ change - moment).norm())
        head.to(context.device)
        context.guarantee(residual_norm=residual, removed_samples=data.requested_samples)
        return model


def conjugate_gradients(matrix: Tensor, right: Tensor, start: Tensor, steps: int) -> Tensor:
    """The solution (weights,) of matrix · x = right after at most ``steps`` steps from ``start``.

    Args:
        matrix: (weights, weights), symmetric and positive definite.
        right: (weights,).
        start: (weights,).
        steps: at least 1.
    """
    from scipy.sparse.linalg import cg

    solution, _ = cg(matrix.numpy(), right.numpy(), x0=start.numpy(), rtol=TOLERANCE, maxiter=steps)
    return torch.from_numpy(solution)
