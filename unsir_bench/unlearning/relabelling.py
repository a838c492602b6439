"""Wrong labels for forget samples."""

from __future__ import annotations

import torch
from torch import Tensor

from unsir_bench.data.batches import DataView, joined
from unsir_bench.errors import NotApplicable
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.masking import NO_CLASS_LEFT

LABEL_SOURCES = ("retained", "others", "all")


def random_labels(labels: Tensor, source: str, context: RunContext, *role: str | int) -> Tensor:
    """A random label for each sample.

    Args:
        labels: true ones, int64 of shape (samples,), on the CPU.
        source: ``retained``: any class that is not forgotten, and not the sample's own; ``others``: any but the
            sample's own, other forget classes included; ``all``: any, so that the true label returns in 1 of C draws,
            as in some public code.
        context: number of classes, forget classes, seed.
        role: names the draw.

    Returns:
        int64 of shape (samples,).

    Raises:
        NotApplicable: no class is left for a sample.
    """
    allowed = torch.ones(context.num_classes, context.num_classes)
    if source == "others" or (source == "retained" and not context.forget_classes):
        allowed.fill_diagonal_(0)
        if source == "retained":
            allowed[:, list(context.forgotten_before)] = 0
    elif source == "retained":
        allowed[:, [*context.forget_classes, *context.forgotten_before]] = 0
    choices = allowed[labels]
    if not bool(choices.any(dim=1).all()):
        raise NotApplicable(NO_CLASS_LEFT)
    return torch.multinomial(choices, 1, generator=context.generator(*role)).squeeze(1)


def mislabelled_batches(
    retain: DataView, forget: DataView, source: str, recipe: Recipe, context: RunContext
) -> EpochBatches:
    """Shuffled batches of retain samples and of forget samples with random labels, drawn again for each epoch."""
    truth = forget.labels

    def view_of(epoch: int) -> DataView:
        return joined(retain, forget.relabelled(random_labels(truth, source, context, "random labels", epoch)))

    return EpochBatches.from_views(view_of, len(retain) + len(forget), recipe, context, "mislabelled")
