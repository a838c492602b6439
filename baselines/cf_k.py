"""Catastrophic forgetting of the last k layers (S. Goel et al., "Towards Adversarial Evaluations for Inexact Machine
Unlearning", 2022).

Objective: CE on D_r over the parameters of the last k weight layers; all else is frozen, batch-normalisation statistics
included. Normalisations between the k layers are trained with them, also a vision transformer's ``norm`` before the
head, which the published code freezes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import number
from unsir_bench.unlearning.last_layers import freeze_batchnorm_outside, last_layers, trained_alone


@dataclass
class CatastrophicForgettingK(UnlearningMethod):
    """Fine-tune the last ``k`` weight layers on the retain samples."""

    name: str = "cf_k"
    train: Recipe = field(default_factory=lambda: Recipe(name="cf_k", optimizer="sgd", lr=0.01, epochs=10))
    k: int = number(2, at_least=1, search=(1, 5))
    requires = frozenset({Access.RETAIN_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        layers = last_layers(model, self.k)
        variation = Variation(before_epoch=lambda network, epoch: freeze_batchnorm_outside(network, layers))
        with context.clock.phase("train"), trained_alone(model, layers):
            batches = EpochBatches.from_view(data.retain, self.train, context, "cf_k")
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
