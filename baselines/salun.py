"""SalUn (C. Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency", ICLR 2024).

Saliency: the magnitude of the gradient of CE accumulated over D_f; the ``share`` of all weights with the largest is
trained on D_r and on D_f with random labels, the others stay. Published: the top 50 %, 10 epochs of SGD in batches of
256, momentum 0.9, weight decay 5e-4, and a rate of 0.013 in the example that forgets a random 10 % of CIFAR-10; labels
are drawn over all classes, images are shifted by up to 4 pixels and mirrored (``method=salun_published``). On CIFAR-10
and SVHN the authors' epoch is a pass over D_f, then one over D_r (``passes=forget_then_retain``); on CIFAR-100 and Tiny
ImageNet both share batches. Masking gradients alone lets momentum and weight decay move the other weights; here they
are put back after each step, as the authors' repository now does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, choice, fit, number
from unsir_bench.config_fields import hashed_if_not_default
from unsir_bench.data.batches import DataView
from unsir_bench.models.model import in_mode
from unsir_bench.unlearning.gradient_sums import wide_gradients, zero_sums
from unsir_bench.unlearning.relabelling import LABEL_SOURCES, PASSES, mislabelled_batches


@dataclass
class SalUn(UnlearningMethod):
    """Random labels, on the weights that are salient for the forget samples."""

    name: str = "salun"
    train: Recipe = field(default_factory=lambda: Recipe(name="salun", optimizer="sgd", lr=0.013, epochs=10))
    share: float = number(0.5, above=0, at_most=1, search=(0.1, 1.0))
    labels_from: str = choice("retained", LABEL_SOURCES)
    passes: str = hashed_if_not_default(choice("mixed", PASSES))
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        with context.clock.phase("saliency"):
            masks = salient_weights(model, data.forget, self.share, self.train.batch_size, context)
        with context.clock.phase("train"):
            batches = mislabelled_batches(data.retain, data.forget, self.labels_from, self.train, context, self.passes)
            restore = restoring(list(context.architecture.trained_parameters(model).values()), masks)
            fit(model, batches, self.train, context, "train", variation=Variation(after_step=restore))
        return model


def salient_weights(
    model: nn.Module, view: DataView, share: float, batch_size: int, context: RunContext
) -> list[Tensor]:
    """Boolean masks of the trained parameters: the ``share`` of their weights with the largest |Σ gradient of CE|."""
    parameters = list(context.architecture.trained_parameters(model).values())
    sums = zero_sums(parameters)
    with in_mode(model, training=False):
        for images, labels in view.batches(batch_size):
            loss = F.cross_entropy(context.forward(model, images, mixed=False), labels, reduction="sum")
            torch._foreach_add_(sums, wide_gradients(loss, parameters))
    magnitudes = torch.cat([total.abs().flatten() for total in sums])
    kept = torch.zeros_like(magnitudes, dtype=torch.bool)
    kept[magnitudes.topk(max(1, round(share * len(magnitudes)))).indices] = True
    pieces = kept.split([parameter.numel() for parameter in parameters])
    return [piece.view(total.shape) for piece, total in zip(pieces, sums, strict=True)]


def restoring(parameters: list[nn.Parameter], masks: list[Tensor]) -> Callable[[nn.Module, Tensor], None]:
    """A ``Variation.after_step`` that restores every weight outside its mask to its value now."""
    before = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def restore(network: nn.Module, labels: Tensor) -> None:
        for parameter, old, mask in zip(parameters, before, masks, strict=True):
            parameter.copy_(torch.where(mask, parameter, old))

    return restore
