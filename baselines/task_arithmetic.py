"""Task arithmetic (G. Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, arXiv:2212.04089): negation.

The network is trained further on D_f alone to θ_f; the task vector θ_f - θ is then subtracted from the original:
θ ← θ - λ (θ_f - θ). Only parameters move; batch-normalisation statistics stay the original's. The authors choose λ
on held-out images. They train CLIP models on other tasks; no setting of theirs is for forgetting a class of the
network's own training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import number
from unsir_bench.training.fit import with_batchnorm


@dataclass
class TaskArithmetic(UnlearningMethod):
    """Subtract what further training on the forget samples would add."""

    name: str = "task_arithmetic"
    train: Recipe = field(default_factory=lambda: Recipe(name="task_arithmetic", optimizer="sgd", lr=0.01, epochs=5))
    strength: float = number(1.0, above=0, search=(0.1, 10.0))
    freeze_bn_stats: bool = False
    requires = frozenset({Access.FORGET_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        tuned = copy.deepcopy(model)
        with context.clock.phase("train"):
            batches = EpochBatches.from_view(data.forget, self.train, context, "task_arithmetic")
            variation = Variation(before_epoch=with_batchnorm(frozen=self.freeze_bn_stats))
            fit(tuned, batches, self.train, context, "train", variation=variation)
        with context.clock.phase("negate"):
            negate(model, tuned, self.strength)
        return model


@torch.no_grad()
def negate(model: nn.Module, tuned: nn.Module, strength: float) -> None:
    """Move every parameter of ``model``, in place, ``strength`` times as far from ``tuned`` as the two differ."""
    for parameter, other in zip(model.parameters(), tuned.parameters(), strict=True):
        parameter.add_(parameter - other.to(parameter), alpha=strength)
