"""Exact unlearning of the last k layers (S. Goel et al., "Towards Adversarial Evaluations for Inexact Machine
Unlearning", 2022).

The last k weight layers return to the weights that the original's training started from and are trained anew by CE on
D_r; all else is frozen, batch-normalisation statistics included. The published code draws these layers anew (Kaiming
normal weights, biases of 0), and so needs no initial weights; here they start where the retrained model's do. It
resets convolutions and linear layers alone (``reset_norms=false``): normalisations between them then start from what
they learned with D_f. It also leaves all batch normalisation in train mode (``freeze_bn_stats=false``; see ``cf_k``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import hashed_if_not_default, number
from unsir_bench.models.last_layers import last_layers
from unsir_bench.models.model import is_weight_layer
from unsir_bench.unlearning.last_layers import frozen_outside, trained_alone


@dataclass
class ExactUnlearningK(UnlearningMethod):
    """Retrain the last ``k`` weight layers on the retain samples; the others stay as trained on all samples."""

    name: str = "eu_k"
    train: Recipe = field(default_factory=lambda: Recipe(name="eu_k", optimizer="sgd", lr=0.01, epochs=10))
    k: int = number(2, at_least=1, search=(1, 5))
    reset_norms: bool = hashed_if_not_default(True)
    freeze_bn_stats: bool = hashed_if_not_default(True)
    requires = frozenset({Access.RETAIN_DATA, Access.INITIAL_WEIGHTS})
    changes_all_layers = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        layers = last_layers(model, self.k)
        variation = Variation(before_epoch=frozen_outside(layers)) if self.freeze_bn_stats else Variation()
        with context.clock.phase("train"), trained_alone(model, layers):
            for layer, start in zip(layers, last_layers(data.initial_network(context), self.k), strict=True):
                if self.reset_norms or is_weight_layer(layer):
                    layer.load_state_dict(start.state_dict())
            batches = EpochBatches.from_view(data.retain, self.train, context, "eu_k")
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
