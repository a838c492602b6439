"""Catastrophic forgetting of the last k layers (S. Goel et al., "Towards Adversarial Evaluations for Inexact Machine
Unlearning", 2022).

Objective: CE on D_r over the parameters of the last k weight layers; all else is frozen, batch-normalisation statistics
included. In the published code these are in train mode everywhere (``freeze_bn_stats=false``): frozen layers then
normalise by each batch, and their statistics drift. Normalisations between the k layers are trained with them, also a
vision transformer's ``norm`` before the head, which the published code freezes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import hashed_if_not_default, number
from unsir_bench.models.last_layers import last_layers
from unsir_bench.unlearning.last_layers import frozen_outside, trained_alone


@dataclass
class CatastrophicForgettingK(UnlearningMethod):
    """Fine-tune the last ``k`` weight layers on the retain samples."""

    name: str = "cf_k"
    train: Recipe = field(default_factory=lambda: Recipe(name="cf_k", optimizer="sgd", lr=0.01, epochs=10))
    k: int = number(2, at_least=1, search=(1, 5))
    freeze_bn_stats: bool = hashed_if_not_default(True)
    requires = frozenset({Access.RETAIN_DATA})
    changes_all_layers = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        layers = last_layers(model, self.k)
        variation = Variation(before_epoch=frozen_outside(layers)) if self.freeze_bn_stats else Variation()
        with context.clock.phase("train"), trained_alone(model, layers):
            batches = EpochBatches.from_view(data.retain, self.train, context, "cf_k")
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
