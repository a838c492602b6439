"""Batches of both kinds, whose labels tell forget samples from retain samples of the same class."""

from __future__ import annotations

from torch import Tensor

from unsir_bench.data.batches import DataView


def marked(forget: DataView, num_classes: int) -> DataView:
    """The forget samples with ``num_classes`` added to each label; ``told_apart`` takes it away again.

    A sample's class alone does not say whether it is to be forgotten: of a sub-class, or of random samples, others of
    the same class are retained.
    """
    return forget.relabelled(forget.labels + num_classes)


def told_apart(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The class of each sample of a batch, and whether it is marked as a forget sample.

    Args:
        labels: int64 of shape (samples,); those of forget samples are marked.
        num_classes: of the data set.

    Returns:
        int64 classes and booleans, of shape (samples,) each.
    """
    return labels % num_classes, labels >= num_classes
