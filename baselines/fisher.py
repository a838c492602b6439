"""Fisher forgetting (A. Golatkar, A. Achille, S. Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020).

With F the Fisher diagonal over the retain samples (``unsir_bench.unlearning.fisher.diagonal``), every parameter θ_j is
replaced by μ_j + √v_j ε, ε ~ N(0, 1), with v = α · min(1 / (F + 1e-8), 1e3), for the head min(·, 1e2) in place of 1e3,
averaged over the second dimension of tensors that have one, and ten times as large for the head and for parameters of
one dimension. μ is θ itself, but for the forget classes' rows of the head: there μ = 0, v = 1e-4 (before the factor of
ten). The authors' notebook takes α = 1e-6 on five classes of CIFAR-10; after NTK forgetting it takes 1e-9, and draws a
curve over 1e-8 to 1e-5. At 1e-8 little more happens than that these rows are overwritten.

The published code finds the head by its number of rows, which other layers may share; here it is the model's own head.
It computes F sample by sample; here it is exact and fast, over ``max_samples`` random retain samples or all, and kept
in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod, choice, number
from unsir_bench.data.batches import DataView
from unsir_bench.unlearning.fisher.diagonal import fisher_diagonal

LARGEST, LARGEST_IN_HEAD = 1e3, 1e2
FORGOTTEN_ROW_VARIANCE = 1e-4
FACTOR = 10.0


@dataclass
class Fisher(UnlearningMethod):
    """Add noise to parameters that matter little for the retain samples; no training.

    ``labels=mc`` draws one label for each sample instead of summing over all: an unbiased estimate of F for a C-th of
    the time. ``fallback`` takes one backward pass per sample and class where a module cannot be treated faster.
    """

    precomputes: ClassVar[tuple[str, ...]] = ("fisher_diagonal",)
    name: str = "fisher"
    alpha: float = number(1e-6, above=0, search=(1e-9, 1e-4))
    labels: str = choice("exact", ("exact", "mc"))
    max_samples: int | None = number(None, at_least=1)
    batch_size: int = number(32, at_least=1)
    fallback: bool = False
    requires = frozenset({Access.RETAIN_DATA})
    changes_all_layers = True

    @property
    def precomputes_by_draw(self) -> bool:
        return self.labels == "mc" or self.max_samples is not None

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        diagonal = self._diagonal(model, data.retain, context)
        with context.clock.phase("scrub"):
            scrub(model, diagonal, self.alpha, context)
        return model

    def _diagonal(self, model: nn.Module, retain: DataView, context: RunContext) -> dict[str, Tensor]:
        def compute(view: DataView) -> dict[str, Tensor]:
            return fisher_diagonal(
                model, view, context, labels=self.labels, batch_size=self.batch_size, fallback=self.fallback
            )

        if self.max_samples is not None:
            draws = context.generator("fisher samples")
            retain = retain.narrowed(torch.randperm(len(retain), generator=draws)[: self.max_samples].sort().values)
        # Drawn labels depend on the seed and on how the draws fall to batches.
        settings = {"labels": "exact"}
        if self.labels == "mc":
            settings = {"labels": "mc", "seed": str(context.seed), "batch_size": str(self.batch_size)}
        return context.precomputed("fisher_diagonal", settings, model, retain, compute)


@torch.no_grad()
def scrub(model: nn.Module, diagonal: dict[str, Tensor], alpha: float, context: RunContext) -> None:
    """Replace every parameter by a draw around it, in place."""
    head = context.architecture.linear_head(model)
    in_head = {id(parameter) for parameter in head.parameters()}
    draws = context.generator("fisher noise")
    forgotten = list(context.forget_classes)
    for name, parameter in model.named_parameters():
        is_head = id(parameter) in in_head
        variance = alpha * (1 / (diagonal[name] + 1e-8)).clamp(max=LARGEST_IN_HEAD if is_head else LARGEST)
        if parameter.ndim > 1:
            variance = variance.mean(dim=1, keepdim=True).expand_as(parameter).clone()
        if is_head:
            parameter[forgotten] = 0
            variance[forgotten] = FORGOTTEN_ROW_VARIANCE
        if is_head or parameter.ndim == 1:
            variance *= FACTOR
        noise = torch.randn(parameter.shape, generator=draws).to(parameter)
        parameter.add_(variance.sqrt().to(parameter) * noise)
