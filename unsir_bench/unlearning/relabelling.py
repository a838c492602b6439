"""Wrong labels for forget samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unsir_bench.data.batches import Batch, DataView, joined
from unsir_bench.errors import NotApplicable
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.masking import NO_CLASS_LEFT

LABEL_SOURCES = ("retained", "others", "all")
PASSES = ("mixed", "forget_then_retain")


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
    retain: DataView, forget: DataView, source: str, recipe: Recipe, context: RunContext, passes: str = "mixed"
) -> EpochBatches:
    """Shuffled batches of retain samples and of forget samples with random labels, drawn again for each epoch.

    Args:
        retain: samples with their own labels.
        forget: samples to relabel.
        source: of the labels; see ``random_labels``.
        recipe: batch size, augmentation.
        context: seed, and what ``random_labels`` takes.
        passes: ``mixed``: both kinds share batches; ``forget_then_retain``: each epoch is a pass over the forget
            samples, then one over the retain samples, and no batch holds both.
    """
    truth = forget.labels

    def mislabelled(epoch: int) -> DataView:
        return forget.relabelled(random_labels(truth, source, context, "random labels", epoch))

    def of_both(epoch: int) -> DataView:
        return joined(retain, mislabelled(epoch))

    samples = len(retain) + len(forget)
    if passes == "mixed":
        return EpochBatches.from_views(of_both, samples, recipe, context, "mislabelled")
    first = EpochBatches.from_views(mislabelled, len(forget), recipe, context, "mislabelled forget")
    second = EpochBatches.from_view(retain, recipe, context, "mislabelled retain")

    def one_after_the_other(epoch: int) -> Iterator[Batch]:
        yield from first.batches(epoch)
        yield from second.batches(epoch)

    steps = first.steps + second.steps
    return EpochBatches(one_after_the_other, samples, recipe.batch_size, lambda epochs: epochs * steps)
