"""l1-sparse unlearning (J. Jia et al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023).

Objective: CE on D_r + α_t ‖θ‖₁ with α_t falling linearly from α to 0 over the epochs: fine-tuning that also prunes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import number


@dataclass
class L1Sparse(UnlearningMethod):
    """Fine-tune with a penalty on the absolute values of all parameters."""

    name: str = "l1_sparse"
    train: Recipe = field(default_factory=lambda: Recipe(name="l1_sparse", optimizer="sgd", lr=0.01, epochs=10))
    penalty: float = number(5e-4, at_least=0, search=(1e-6, 1e-2))
    requires = frozenset({Access.RETAIN_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        weight, smoothing = self.penalty, self.train.label_smoothing

        def decay(network: nn.Module, epoch: int) -> None:
            nonlocal weight
            weight = self.penalty * (1 - epoch / self.train.epochs)

        def objective(network: Any, images: Tensor, labels: Tensor) -> Tensor:
            absolute = torch.stack([parameter.abs().sum() for parameter in network.parameters()]).sum()
            return F.cross_entropy(network(images), labels, label_smoothing=smoothing) + weight * absolute

        with context.clock.phase("train"):
            batches = EpochBatches.from_view(data.retain, self.train, context, "l1_sparse")
            variation = Variation(objective=objective, before_epoch=decay)
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
