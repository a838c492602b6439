"""Single-gradient unlearning (A. Thudi et al., "Unrolling SGD: Understanding Factors Influencing Machine Unlearning",
IEEE EuroS&P 2022, arXiv:2109.13398).

SGD with rate η and batches of b samples, unrolled to first order around the initial weights θ_0, subtracts
(η / b) ∇ℓ(θ_0, x) once for each of the E epochs that sample x is seen in. Unlearning adds it back for all of D_f:
θ ← θ + E (η / b) Σ_{x in D_f} ∇ℓ(θ_0, x). The authors' code trains with momentum 0.9 and weight decay and adds back no
more than that. SGD with momentum μ takes each gradient away 1 / (1 - μ) times, which ``momentum=μ`` adds back. Second
order is ignored: the paper's verification error, the distance of θ from the retrained weights, is among the metrics of
every record, and grows with η, E and the change of the weights. The authors' θ_0 is a pretrained network, fine-tuned
for some epochs, and what they remove is one batch; here θ_0 are the initial weights, and a class is many batches.

The gradient is that of training: in train mode, so that batch normalisation sees batches of D_f.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, NotApplicable, Recipe, RunContext, UnlearningData, UnlearningMethod, number
from unsir_bench.config_fields import choice, hashed_if_not_default
from unsir_bench.data.batches import DataView
from unsir_bench.training.recipe import optimizer_for
from unsir_bench.unlearning.gradient_sums import wide_gradients, zero_sums


@dataclass
class SingleGradient(UnlearningMethod):
    """Add back what the forget samples' gradients at the initial weights took away; nothing is trained.

    All fields but ``momentum`` are those of the original's training; of a schedule, ``lr`` is its peak, an upper bound.
    Where that used no SGD, clipped gradients or was private, its steps cannot be added back: the run is skipped.
    ``momentum`` is 0 in the authors' formula; the training's adds each gradient ``1 / (1 - momentum)`` times.
    """

    name: str = "single_gradient"
    optimizer: str = choice("sgd", ("adam", "adamw", "sgd"))
    lr: float = number(0.1, above=0)
    momentum: float = number(0.0, at_least=0, below=1)
    batch_size: int = number(256, at_least=1)
    epochs: int = number(1, at_least=0)
    label_smoothing: float = hashed_if_not_default(number(0.0, at_least=0, below=1))
    backbone_lr_scale: float | None = hashed_if_not_default(number(None, above=0))
    clip_value: float | None = hashed_if_not_default(number(None, above=0))
    clip_norm: float | None = hashed_if_not_default(number(None, above=0))
    noise_multiplier: float | None = hashed_if_not_default(number(None, above=0))
    requires = frozenset({Access.FORGET_DATA, Access.INITIAL_WEIGHTS})
    changes_all_layers = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        if self.noise_multiplier is not None:
            raise NotApplicable("single_gradient unrolls plain SGD; the original's training is private (train.privacy)")
        for key, plain in (("optimizer", "sgd"), ("clip_value", None), ("clip_norm", None)):
            if (value := getattr(self, key)) != plain:
                raise NotApplicable(f"single_gradient unrolls plain SGD; the original's train.{key} is {value}")
        times = self.epochs / (self.batch_size * (1 - self.momentum))
        trained = Recipe(optimizer="sgd", lr=self.lr, backbone_lr_scale=self.backbone_lr_scale)
        groups = optimizer_for(model, trained, context).param_groups
        rates = {id(parameter): float(group["lr"]) for group in groups for parameter in group["params"]}
        with context.clock.phase("gradient"):
            initial = data.initial_network(context).train()
            gradients = summed_gradient(initial, data.forget, self.batch_size, context, self.label_smoothing)
        with torch.no_grad(), context.clock.phase("add"):
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.add_(gradient, alpha=times * rates[id(parameter)])
        return model


def summed_gradient(
    network: nn.Module, view: DataView, batch_size: int, context: RunContext, label_smoothing: float = 0.0
) -> list[Tensor]:
    """The gradient of the summed cross-entropy over a view, by parameter, in the mode that the network is in."""
    parameters = list(network.parameters())
    sums = zero_sums(parameters)
    context.seed_everything("single gradient")  # dropout
    for images, labels in view.batches(batch_size):
        logits = context.forward(network, images, mixed=False)
        loss = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
        torch._foreach_add_(sums, wide_gradients(loss, parameters))
    return sums
