"""Quantised k-means (A. Ginart, M. Guan, G. Valiant, J. Zou, "Making AI forget you", NeurIPS 2019), their Algorithm 1.

After each iteration of Lloyd's algorithm the centroids are rounded to a lattice with a random phase, so that removing
a few samples rarely moves any. Two choices make deletion exact here: the first centroids are samples drawn without
regard to the others (the paper's k-means++ draws depend on all of them), and there is always the same number of
iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unsir_bench.models.frozen_head import KMeansHead


@dataclass(frozen=True)
class QuantisedKMeans:
    """The settings: the lattice's step, and the share of the mean cluster size below which a centroid moves less."""

    quantum: float
    balance: float

    def solve(
        self, head: KMeansHead, features: Tensor, labels: Tensor, indices: Tensor, ranks: Tensor, phases: Tensor
    ) -> None:
        """Cluster features and note all that deletion needs, in place.

        Args:
            head: to be filled.
            features: (samples, dimensions), as ``head_inputs`` gives them.
            labels: (samples,).
            indices: of the samples in the training split; the sample's rank in ``ranks`` is its own, whoever is gone.
            ranks: a random rank of each sample of the training split; the lowest give the first centroids.
            phases: of the lattice in each iteration, uniform in [-½, ½), (iterations, dimensions).

        Raises:
            ValueError: there are fewer samples than clusters.
        """
        clusters = len(head.centroids)
        if len(features) < clusters:
            raise ValueError(f"{len(features)} samples are fewer than model.clusters={clusters}")
        first = ranks[indices].argsort()[:clusters]
        head.first.copy_(indices[first])
        head.phases.copy_(phases)
        head.course[0].copy_(features[first])
        for iteration in range(len(phases)):
            sums, counts = sums_of(nearest(features, head.course[iteration]), features, clusters)
            head.sums[iteration].copy_(sums)
            head.counts[iteration].copy_(counts)
            head.course[iteration + 1].copy_(self.moved(head, iteration, sums, counts, len(features)))
        self.finish(head, class_counts(head, features, labels))

    def moved(self, head: KMeansHead, iteration: int, sums: Tensor, counts: Tensor, samples: int) -> Tensor:
        """The quantised centroids after an iteration, (clusters, dimensions)."""
        least = self.balance * samples / len(counts)
        lacking = (least - counts).clamp(min=0)[:, None]
        before = head.course[iteration]
        weight = counts[:, None] + lacking
        centroids = torch.where(weight > 0, (sums + lacking * before) / weight.clamp(min=1e-300), before)
        phase = head.phases[iteration]
        return self.quantum * (phase + (centroids / self.quantum - phase).round())

    def finish(self, head: KMeansHead, counts: Tensor) -> None:
        """Set centroids and class shares from the last iteration's, in place.

        Args:
            head: whose course is whole.
            counts: of each class in each cluster, (clusters, classes).
        """
        head.class_counts.copy_(counts)
        head.centroids.data.copy_(head.course[-1])
        smoothed = counts + 1 / counts.shape[1]  # a cluster without samples gives each class the same share
        head.class_logits.data.copy_((smoothed / smoothed.sum(1, keepdim=True)).log())


def nearest(features: Tensor, centroids: Tensor) -> Tensor:
    """The cluster of each sample; of equally near ones the first."""
    # One sample's distances must not depend on which others are asked about, as a matrix product's last bits may.
    distances = torch.stack([(features - centroid).square().sum(1) for centroid in centroids], dim=1)
    return distances.argmin(dim=1)


def sums_of(clusters: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sum (clusters, dimensions) and number (clusters) of the samples of each cluster; exact for ``head_inputs``."""
    sums = torch.zeros(count, features.shape[1], dtype=torch.float64).index_add_(0, clusters, features)
    return sums, clusters.bincount(minlength=count).double()


def class_counts(head: KMeansHead, features: Tensor, labels: Tensor) -> Tensor:
    """Samples of each class in each final cluster, (clusters, classes)."""
    counts = torch.zeros_like(head.class_counts)
    counts.index_put_((nearest(features, head.course[-1]), labels), torch.ones(1, dtype=counts.dtype), accumulate=True)
    return counts
