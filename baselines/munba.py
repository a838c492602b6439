"""MUNBa (J. Wu, M. Harandi, "MUNBa: Machine Unlearning via Nash Bargaining", ICCV 2025, arXiv:2411.15537).

Each step bargains between g_r, the gradient of CE on a retain batch, and g_f, that of CE with random labels on a forget
batch: the Nash solution for two, α_r g_r + α_f g_f with α_i = 1 / √(‖g_i‖² (1 + cos(g_r, g_f))), gives both the same
gain. The published closed form is the same number, but divides by g_r·g_f. Where the two are opposed there is no
agreement; the authors then step along g_r + 0.1 g_f. Their code adds ``epsilon`` = 1e-8 to two denominators. Where the
network fits the retain batch well this decides: ‖g_r‖⁴‖g_f‖² is then below 1e-8, so that the step leans to g_f, or
finds no agreement. The combined gradient is clipped to norm 1; when an epoch's forget
samples are used up, the remaining retain batches are plain steps. Published (defaults of the authors' program): SGD at
0.01, momentum 0.9, weight decay 5e-4, 10 epochs, batch 256, labels drawn over all classes,
images shifted by up to 4 pixels and mirrored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice, hashed_if_not_default, number
from unsir_bench.data.batches import Batch, DataView
from unsir_bench.unlearning.chosen_gradient import clipped, gradients_of, inner_product, with_gradient
from unsir_bench.unlearning.marked_samples import marked, told_apart
from unsir_bench.unlearning.relabelling import LABEL_SOURCES, random_labels

LARGEST_NORM = 1.0
NO_AGREEMENT = (1.0, 0.1)  # weights of the two gradients where they are opposed


@dataclass
class MUNBa(UnlearningMethod):
    """Retain and forget gradients, weighed so that both objectives gain alike."""

    name: str = "munba"
    train: Recipe = field(default_factory=lambda: Recipe(name="munba", optimizer="sgd", lr=0.01, epochs=10))
    labels_from: str = choice("retained", LABEL_SOURCES)
    epsilon: float = hashed_if_not_default(number(0.0, at_least=0))
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})
    needs_whole_batches = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        parameters = list(context.architecture.trained_parameters(model).values())
        smoothing = self.train.label_smoothing

        def objective(network: Any, images: Tensor, labels: Tensor) -> Tensor:
            classes, forgotten = told_apart(labels, context.num_classes)
            if len(forgotten.unique()) == 1:
                return F.cross_entropy(network(images), classes, label_smoothing=smoothing)
            losses = [
                F.cross_entropy(
                    context.forward(model, images[kind], mixed=False), classes[kind], label_smoothing=smoothing
                )
                for kind in (~forgotten, forgotten)
            ]
            return bargained(losses[0], losses[1], parameters, self.epsilon)

        with context.clock.phase("train"):
            batches = self._paired_batches(data, context)
            fit(model, batches, self.train, context, "train", variation=Variation(objective=objective))
        return model

    def _paired_batches(self, data: UnlearningData, context: RunContext) -> EpochBatches:
        """Retain batches, the first of an epoch with a forget batch each; their random labels are marked.

        An epoch ends with the retain batches: of a larger forget set each epoch sees another part.
        """
        truth = data.forget.labels

        def mislabelled(epoch: int) -> DataView:
            labels = random_labels(truth, self.labels_from, context, "random labels", epoch)
            return marked(data.forget.relabelled(labels), context.num_classes)

        retain = EpochBatches.from_view(data.retain, self.train, context, "munba retain")
        forget = EpochBatches.from_views(mislabelled, len(truth), self.train, context, "munba forget")

        def of_epoch(epoch: int) -> Iterator[Batch]:
            for pair in zip(retain.batches(epoch), chain(forget.batches(epoch), repeat(None)), strict=False):
                present = [batch for batch in pair if batch is not None]
                yield torch.cat([images for images, _ in present]), torch.cat([labels for _, labels in present])

        return EpochBatches(of_epoch, retain.samples, self.train.batch_size, lambda epochs: epochs * retain.steps)


def bargained(retain_loss: Tensor, forget_loss: Tensor, parameters: Sequence[Tensor], epsilon: float) -> Tensor:
    """The sum of both losses, with the gradient of the Nash bargaining solution, clipped."""
    of_retain, of_forget = (gradients_of(loss, parameters) for loss in (retain_loss, forget_loss))
    weights = bargaining_weights(of_retain, of_forget, epsilon)
    combined = [weights[0] * one + weights[1] * other for one, other in zip(of_retain, of_forget, strict=True)]
    return with_gradient(retain_loss + forget_loss, parameters, clipped(combined, LARGEST_NORM))


def bargaining_weights(first: Sequence[Tensor], second: Sequence[Tensor], epsilon: float = 0.0) -> Tensor:
    """The weights (2,) with which two gradients enter the Nash solution; ``NO_AGREEMENT`` where there is none.

    Args:
        first: gradients, one of each parameter.
        second: likewise.
        epsilon: 0: the exact solution; above: the published closed form, with it added to two denominators.
    """
    squares = torch.stack([inner_product(one, one) for one in (first, second)])
    product, sizes = inner_product(first, second), squares.prod().sqrt()
    if epsilon:
        along = squares[0]
        weight = ((sizes.square() - product * sizes) / (along * (sizes.square() - product.square()) + epsilon)).sqrt()
        weights = torch.stack([weight, (1 - along * weight.square()) / (product * weight + epsilon)])
        agreed = (weights > 0).all() & torch.isfinite(weights).all()
    else:
        cosine = product / sizes
        weights = (squares * (1 + cosine)).rsqrt()
        agreed = torch.isfinite(weights).all() & (cosine > -1 + 1e-6)
    return torch.where(agreed, weights, weights.new_tensor(NO_AGREEMENT))
