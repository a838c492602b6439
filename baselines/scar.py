"""SCAR (J. Bonato, M. Cotogni, L. Sabetta, "Is Retain Set All You Need in Machine Unlearning?", ECCV 2024,
arXiv:2404.12922): move D_f to its nearest retained class.

Of each retained class c the features (what the head receives), raised to ``power``, have a mean μ_c and a covariance,
which is shrunk twice (+ γ₁ mean variance on the diagonal, + γ₂ mean covariance off it) and scaled to a correlation;
Σ_c⁺ is its pseudo-inverse. The distance of a sample is d_cᵀ Σ_c⁺ d_c with d_c = φ/‖φ‖ - μ_c/‖μ_c‖, φ its features to
that power. Objective: ``forget_weight`` times the mean distance of D_f to the class that was nearest before +
``retain_weight`` times KL(original at temperature T ‖ network) on other images, the forget classes' logits of the
original lowered to its smallest. Each forget batch is paired with the first ``retain_steps`` batches of a pass over
these, one step each. It ends once accuracy on D_f is below ``enough``, but not in the first two epochs. Published for
CIFAR-10: Adam at 1e-3, 10 epochs, batch 1024, weights 1 and 0.1, T = 2, power 0.5, γ₁ = γ₂ = 3, 6 retain steps.

The authors' other images are of another data set, shifted by up to 4 pixels and mirrored; here they are the retain
samples, as they are. The class is chosen by the original in eval mode, theirs by the network in train mode at the
batch's first visit; they measure accuracy after every step, here it is before each epoch. The power needs features that
are not negative: networks whose features may be (vision transformers) are not applicable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import number
from unsir_bench.data.batches import Batch, DataView
from unsir_bench.errors import NotApplicable
from unsir_bench.training.fit import Objective
from unsir_bench.training.inference import outputs, predict
from unsir_bench.training.recipe import no_label_smoothing
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy
from unsir_bench.unlearning.marked_samples import marked, told_apart

SURE_EPOCHS = 2  # done whatever the accuracy
SMALLEST = 1e-8


class Cluster(NamedTuple):
    """A retained class: its mean, normalised (dimensions,), and the pseudo-inverse of its correlation matrix."""

    direction: Tensor
    precision: Tensor


@dataclass
class Scar(UnlearningMethod):
    """Pull forget features to the nearest retained class, and distil the original on retain samples."""

    name: str = "scar"
    train: Recipe = field(default_factory=lambda: Recipe(name="scar", lr=1e-3, epochs=10))
    forget_weight: float = number(1.0, above=0, search=(0.1, 10.0))
    retain_weight: float = number(0.1, at_least=0, search=(0.01, 10.0))
    temperature: float = number(2.0, above=0)
    power: float = number(0.5, above=0, at_most=1)
    shrink_variance: float = number(3.0, at_least=0)
    shrink_covariance: float = number(3.0, at_least=0)
    retain_steps: int = number(6, at_least=1)
    enough: float = number(0.01, at_least=0, at_most=1)
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})
    needs_classes = True
    changes_all_layers = True
    needs_whole_batches = True

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "no label of a class is learned")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        head = context.architecture.linear_head(model)
        with context.clock.phase("statistics"):
            retained = features_of(model, data.retain, context)
            clusters = self._clusters(retained, data.retain.labels, context.device)
            distances = to_clusters(features_of(model, data.forget, context).to(context.device), clusters, self.power)
            nearest = distances.argmin(dim=1).cpu()
        objective = self._objective(frozen_copy(model), clusters, heard := [], context)
        with context.clock.phase("train"):
            handle = head.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
            try:
                batches = self._paired_batches(model, nearest, data, context)
                fit(model, batches, self.train, context, "train", variation=Variation(objective=objective))
            finally:
                handle.remove()
        return model

    def _clusters(self, features: Tensor, labels: Tensor, device: torch.device) -> list[Cluster]:
        """Of each class among ``labels``, in order."""
        moved = raised(features.double(), self.power)
        return [
            Cluster(
                F.normalize(moved[labels == label].mean(dim=0), dim=0).float().to(device),
                torch.linalg.pinv(
                    correlation(moved[labels == label], self.shrink_variance, self.shrink_covariance)
                ).float().to(device),
            )
            for label in labels.unique()
        ]  # fmt: skip

    def _objective(
        self, teacher: nn.Module, clusters: Sequence[Cluster], heard: list[Tensor], context: RunContext
    ) -> Objective:
        """Of batches whose marked labels number the clusters that forget samples move to."""
        gone = [*context.forget_classes, *context.forgotten_before]

        def objective(network: Any, images: Tensor, labels: Tensor) -> Tensor:
            targets, forgotten = told_apart(labels, context.num_classes)
            heard.clear()
            network(images[forgotten])
            distances = to_clusters(heard[0].float(), clusters, self.power)
            away = distances.gather(1, targets[forgotten][:, None]).mean()
            with torch.no_grad():
                wanted = context.forward(teacher, images[~forgotten])
                still = ~torch.isin(wanted.argmax(dim=1), torch.tensor(gone, device=wanted.device))
                wanted[:, gone] = wanted[still].min() if bool(still.any()) else wanted.min()
            kept = divergence_from(wanted / self.temperature, network(images[~forgotten]))[still]
            return self.forget_weight * away + self.retain_weight * kept.sum() / max(1, len(kept))

        return objective

    def _paired_batches(
        self, model: nn.Module, nearest: Tensor, data: UnlearningData, context: RunContext
    ) -> EpochBatches:
        """Each forget batch beside the first retain batches of a pass of its own; none once enough is forgotten."""
        target = marked(data.forget.relabelled(nearest), context.num_classes)
        forget = EpochBatches.from_view(target, self.train, context, "scar forget")
        retain = EpochBatches.from_view(data.retain, self.train, context, "scar retain")
        ended = False

        def of_epoch(epoch: int) -> Iterator[Batch]:
            nonlocal ended
            ended = ended or (epoch >= SURE_EPOCHS and self._accuracy(model, data, context) < self.enough)
            if ended:
                return
            for place, (images, targets) in enumerate(forget.batches(epoch)):
                for others, labels in islice(retain.batches(epoch * forget.steps + place), self.retain_steps):
                    yield torch.cat([images, others]), torch.cat([targets, labels])

        steps = forget.steps * min(self.retain_steps, retain.steps)
        return EpochBatches(of_epoch, retain.samples, self.train.batch_size, lambda epochs: epochs * steps)

    def _accuracy(self, model: nn.Module, data: UnlearningData, context: RunContext) -> float:
        right = predict(model, data.forget, context, "forget accuracy").argmax(dim=1) == data.forget.labels
        return right.double().mean().item()


def features_of(model: nn.Module, view: DataView, context: RunContext) -> Tensor:
    """What the head receives for each sample of a view: float32 (samples, dimensions), on the CPU.

    Raises:
        NotApplicable: some are negative.
    """
    features = outputs(model, view, context, "features").features
    assert features is not None  # noqa: S101 - a linear head was found
    if bool((features < 0).any()):
        raise NotApplicable("scar raises features to a power; this network's features may be negative")
    return features


def raised(features: Tensor, power: float) -> Tensor:
    """Features to a power; at 0, where its slope is infinite, no gradient flows."""
    return features.clamp(min=SMALLEST) ** power


def correlation(samples: Tensor, shrink_variance: float, shrink_covariance: float) -> Tensor:
    """The correlation matrix of (samples, dimensions) after the covariance was shrunk twice.

    Raises:
        NotApplicable: there are fewer than two samples.
    """
    if len(samples) < 2:
        raise NotApplicable("scar needs two samples of each retained class for its covariance")
    covariance = torch.cov(samples.T)
    diagonal = torch.eye(len(covariance), dtype=covariance.dtype)
    for _ in range(2):
        beside = covariance * (1 - diagonal)
        mean_beside = beside.sum() / beside.count_nonzero().clamp(min=1)
        added = shrink_variance * covariance.diagonal().mean() * diagonal
        covariance = covariance + added + shrink_covariance * mean_beside * (1 - diagonal)
    deviations = covariance.diagonal().clamp(min=SMALLEST).sqrt()
    return covariance / (deviations[:, None] * deviations)


def to_clusters(features: Tensor, clusters: Sequence[Cluster], power: float) -> Tensor:
    """Squared Mahalanobis distances (samples, clusters) of features (samples, dimensions)."""
    moved = F.normalize(raised(features, power), dim=1)
    apart = [moved - cluster.direction for cluster in clusters]
    return torch.stack(
        [((one @ cluster.precision) * one).sum(dim=1) for one, cluster in zip(apart, clusters, strict=True)], dim=1
    )
