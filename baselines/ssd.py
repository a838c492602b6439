"""Selective synaptic dampening (J. Foster, S. Schoepf, A. Brintrup, AAAI 2024): no training at all.

Importance I of each parameter: the mean over batches of the squared gradient of the batch's mean cross-entropy (the
authors' estimator; it is no Fisher diagonal, which squares the gradients of single samples). Where I(D_f) > α I(D), the
parameter is multiplied by min(λ I(D) / I(D_f), 1). Published: λ = 1, α = 10 for ResNets and 5 for transformers, and
batches of 64. To forget classes or sub-classes, the authors' code goes through D class after class
(``order=by_class``): gradients of a batch of one class hardly cancel, so I(D) is much larger than on shuffled batches,
and the same α selects fewer parameters. There the forgotten class comes last, and samples of a sub-class stand
together; here D is sorted by label alone. So I(D) does not depend on what is forgotten: it is computed once for all
runs and kept in the store; its time counts. Here gradients are those of eval mode, so that no statistics drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod, choice, number
from unsir_bench.config_fields import hashed_if_not_default
from unsir_bench.data.batches import DataView, joined
from unsir_bench.unlearning.batch_importance import ORDERS, importance


@dataclass
class SelectiveSynapticDampening(UnlearningMethod):
    """Shrink the parameters that matter more for the forget samples than for all samples."""

    precomputes: ClassVar[tuple[str, ...]] = ("importance",)
    name: str = "ssd"
    selection: float = number(10.0, above=0, search=(1.0, 100.0))
    dampening: float = number(1.0, above=0, search=(0.1, 1.0))
    batch_size: int = number(256, at_least=1)
    order: str = hashed_if_not_default(choice("shuffled", ORDERS))
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})
    changes_all_layers = True

    @property
    def precomputes_by_draw(self) -> bool:
        return self.order == "shuffled"

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        everything = joined(data.retain, data.forget)
        drawn_by = {"seed": context.seed} if self.precomputes_by_draw else {"order": self.order}
        settings = {"batch_size": self.batch_size, **drawn_by}

        def measured(view: DataView) -> dict[str, Tensor]:
            return importance(model, view, self.batch_size, context, self.order)

        of_all = context.precomputed("importance", settings, model, everything, measured)
        with context.clock.phase("dampen"):
            of_forget = measured(data.forget)
            dampen(model, of_all, of_forget, self.selection, self.dampening)
        return model


@torch.no_grad()
def dampen(
    model: nn.Module,
    of_all: dict[str, Tensor],
    of_forget: dict[str, Tensor],
    selection: float,
    dampening: float,
) -> None:
    """Multiply each selected parameter by min(dampening · I(D) / I(D_f), 1), in place."""
    for name, parameter in model.named_parameters():
        chosen = of_forget[name] > selection * of_all[name]
        factor = (dampening * of_all[name] / of_forget[name]).clamp(max=1)
        parameter.copy_(torch.where(chosen, parameter * factor, parameter))
