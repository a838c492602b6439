"""Deletion from quantised k-means (A. Ginart, M. Guan, G. Valiant, J. Zou, NeurIPS 2019, their Algorithm 1).

The model keeps the sums and numbers of every iteration's clusters. A deletion subtracts a sample from them; as long
as no quantised centroid moves and no first centroid is deleted, the clusters are those of a training without the
sample, bit for bit. The first deletion that moves one makes a retrain due. A whole class moves some nearly always.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData
from unsir_bench.models.frozen_head import KMeansHead
from unsir_bench.training.quantised_kmeans import QuantisedKMeans, class_counts, nearest
from unsir_bench.unlearning.solved_heads import HeadSamples, SolvedHeadMethod, head_samples


@dataclass
class KMeansDelete(SolvedHeadMethod):
    """Delete samples one after another while no centroid moves, and train again where one does."""

    classifiers: ClassVar[tuple[str, ...]] = ("kmeans",)
    name: str = "kmeans_delete"
    requires = frozenset({Access.FORGET_DATA, Access.RETAIN_DATA, Access.INITIAL_WEIGHTS})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        found, architecture = self.head_of(model, context)
        head, forget = cast("KMeansHead", found), head_samples(model, data.forget, context)
        settings = QuantisedKMeans(architecture.quantum, architecture.balance)
        with context.clock.phase("delete"):
            fitted = deletable(head, forget, settings)
            whole = fitted == len(forget)
            if whole:
                delete(head, forget, settings)
        head.to(context.device)
        if not whole:
            model = data.train_from_scratch(context)
        context.guarantee(
            exact=1, retrained=int(not whole), removed_samples=fitted if whole else 0,
            removable_samples=None if whole else fitted,
        )  # fmt: skip
        return model


def deletable(head: KMeansHead, forget: HeadSamples, settings: QuantisedKMeans) -> int:
    """How many of the samples can be deleted, in their order, before a centroid moves."""
    blocked = torch.isin(forget.indices.double(), head.first)
    most = int(blocked.nonzero()[0]) if bool(blocked.any()) else len(forget)
    for iteration in range(len(head.phases)):
        most = _still_in_place(head, iteration, forget.inputs[:most], settings)
    return most


def _still_in_place(head: KMeansHead, iteration: int, inputs: Tensor, settings: QuantisedKMeans) -> int:
    """How many of these samples, in their order, leave every quantised centroid of an iteration where it is."""
    sums, counts = head.sums[iteration].clone(), head.counts[iteration].clone()
    samples = int(counts.sum())
    for place, (cluster, row) in enumerate(zip(nearest(inputs, head.course[iteration]), inputs, strict=True)):
        sums[cluster] -= row
        counts[cluster] -= 1
        moved = settings.moved(head, iteration, sums, counts, samples - place - 1)
        if not torch.equal(moved, head.course[iteration + 1]):
            return place
    return len(inputs)


def delete(head: KMeansHead, forget: HeadSamples, settings: QuantisedKMeans) -> None:
    """Subtract samples, none of which moves a centroid, from all that the head keeps, in place."""
    for iteration in range(len(head.phases)):
        clusters = nearest(forget.inputs, head.course[iteration])
        head.sums[iteration].index_add_(0, clusters, forget.inputs, alpha=-1)
        head.counts[iteration] -= clusters.bincount(minlength=len(head.centroids))
    settings.finish(head, head.class_counts - class_counts(head, forget.inputs, forget.labels))
