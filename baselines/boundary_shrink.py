"""Boundary Shrink (M. Chen et al., "Boundary Unlearning", CVPR 2023): move each forget sample to its nearest class.

Each forget sample is perturbed by one step of the fast gradient sign method against the original; the nearest incorrect
class, the likeliest one for the perturbed sample but for the forget classes, becomes the label that the network is
trained to give the clean sample. Published: ε = 0.1, SGD at 1e-5 with momentum 0.9, 10 epochs of D_f in batches of 64.
The paper's rule knows a single class (``mask=own_class``); with several, it moves samples to other forget classes.

The authors' code differs from the paper. It takes the likeliest class of all (``mask=none``): where the perturbation
fails, the sample is trained on its own class again. It normalises CIFAR-10 by 0.5 and 0.5, but adds ε in the units of
another normalisation (deviations of about 0.2): the step is 0.247, 0.251 and 0.240 of the pixel range in the three
channels, and images run from about -0.25 to 1.25 (``epsilon=0.25``, but for the range). Here ε is a share of the pixel
range 0 to 1, which the step never leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice, number
from unsir_bench.data.batches import DataView
from unsir_bench.errors import NotApplicable
from unsir_bench.models.model import in_mode
from unsir_bench.training.fit import with_batchnorm
from unsir_bench.unlearning.masking import MASKS, without_forgotten

NO_MASK = "none"


@dataclass
class BoundaryShrink(UnlearningMethod):
    """Move the forget samples across the nearest decision boundary."""

    name: str = "boundary_shrink"
    train: Recipe = field(default_factory=lambda: Recipe(name="boundary_shrink", optimizer="sgd", lr=1e-5, epochs=10))
    epsilon: float = number(0.1, above=0, at_most=1, search=(0.01, 0.5))
    freeze_bn_stats: bool = False
    mask: str = choice("forget_classes", (*MASKS, NO_MASK))
    requires = frozenset({Access.FORGET_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        with context.clock.phase("neighbours"):
            labels = neighbour_labels(model, data.forget, self.epsilon, self.train.batch_size, context, self.mask)
        with context.clock.phase("train"):
            view = data.forget.relabelled(labels)
            batches = EpochBatches.from_view(view, self.train, context, "boundary_shrink")
            variation = Variation(before_epoch=with_batchnorm(frozen=self.freeze_bn_stats))
            fit(model, batches, self.train, context, "train", variation=variation)
        return model


def neighbour_labels(
    model: nn.Module, view: DataView, epsilon: float, batch_size: int, context: RunContext, mask: str
) -> Tensor:
    """The likeliest class that ``mask`` leaves, of each sample after a fast-gradient-sign step of ``epsilon``.

    Args:
        model: the original.
        view: forget samples.
        epsilon: see ``fast_gradient_sign``.
        batch_size: samples.
        context: forget classes.
        mask: as ``without_forgotten`` takes it, or ``none``: any class is left, the sample's own too.

    Returns:
        int64 of shape (len(view),), on the CPU, in the view's order.
    """
    nearest = []
    with in_mode(model, training=False):
        for images, labels in view.batches(batch_size):
            perturbed = fast_gradient_sign(model, images, labels, epsilon, view, context)
            with torch.no_grad():
                logits = context.forward(model, perturbed)
            if mask != NO_MASK:
                logits = without_forgotten(logits, labels, mask, context)
            nearest.append(logits.argmax(dim=1).cpu())
    return torch.cat(nearest)


def fast_gradient_sign(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, view: DataView, context: RunContext
) -> Tensor:
    """Normalised images moved by ``epsilon`` in pixel space along the sign of the loss's gradient, kept in [0, 1].

    Raises:
        NotApplicable: the loss has no gradient for the images.
    """
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None]
        for values in (view.normalise.mean, view.normalise.std)
    )
    images = images.detach().requires_grad_()
    loss = F.cross_entropy(context.forward(model, images, mixed=False), labels)
    [gradient] = torch.autograd.grad(loss, [images], allow_unused=True)
    if gradient is None:
        raise NotApplicable(
            f"boundary_shrink needs a gradient for images; model '{context.architecture.name}' gives none"
        )
    moved = images.detach() + epsilon / std * gradient.sign()
    return moved.clamp((0 - mean) / std, (1 - mean) / std)
