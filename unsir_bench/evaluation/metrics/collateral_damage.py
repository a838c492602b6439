"""Collateral damage: what forgetting costs the test samples that lie nearest to what was forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.accuracy import accuracy
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric


def nearest_classes(features: Tensor, labels: Tensor, forgotten: Sequence[int], retained: Sequence[int]) -> list[int]:
    """For each forgotten class, the retained class whose mean feature is nearest by Euclidean distance.

    Args:
        features: of training samples, (samples, dimensions).
        labels: int64 (samples,).
        forgotten, retained: class indices; a retained class without samples is left out.

    Returns:
        Distinct class indices, ascending; fewer than ``forgotten`` where some share a neighbour.

    Raises:
        MetricUnavailable: a forgotten class, or all retained ones, have no sample.
    """
    present = set(labels.tolist())
    known = [index for index in retained if index in present]
    if not known or not set(forgotten) <= present:
        raise MetricUnavailable("a forgotten class, or every retained one, has no training sample")

    def means(classes: Sequence[int]) -> Tensor:
        return torch.stack([features[labels == index].double().mean(dim=0) for index in classes])

    nearest = torch.cdist(means(forgotten), means(known)).argmin(dim=1)
    return sorted({known[place] for place in nearest.tolist()})


def nearest_samples(forgotten: Tensor, retained: Tensor) -> Tensor:
    """For each forgotten sample the nearest retained one by Euclidean distance, each counted once.

    Args:
        forgotten: features (samples, dimensions).
        retained: features (other samples, dimensions); at equal distance the first counts.

    Returns:
        int64 places in ``retained``, distinct and ascending.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(retained.double().numpy())
    nearest: Tensor = torch.from_numpy(index.kneighbors(forgotten.double().numpy(), return_distance=False))
    return nearest.unique()  # type: ignore[no-any-return]


def nearest_to_forgotten(inputs: MetricInputs) -> tuple[Tensor, list[int]]:
    """Indices of the D_r test samples nearest to what was forgotten, and the classes that they stand for.

    They depend on the split and the original alone, so that every method is measured on the same samples. Of a
    sub-class they are its siblings, the retained samples of the same class; of classes, the classes nearest by the
    original's mean features; of other samples, the nearest neighbour of each in the original's features, of any class.

    Raises:
        MetricUnavailable: the original has no features, or there is no such sample.
    """
    run, split = inputs.run, inputs.run.split
    labels, retained = run.labels, run.split.retain_test
    if len(retained) == 0:
        raise MetricUnavailable("there is no retain sample in the test split")
    classes = list(split.superclasses)
    if not classes:
        features = run.references.features(run.original, run.context)
        if features is None:
            raise MetricUnavailable("the original has no head whose input could be read as features")
        require_finite("the original's features", *features.values())
        if not split.classes:
            forgotten = run.rows(features, "forget_train")
            return retained[nearest_samples(forgotten, features["test"][retained])], []
        kept = inputs.retain_classes
        classes = nearest_classes(features["train"], labels["train"], split.classes, kept)
    return retained[torch.isin(labels["test"][retained], torch.tensor(classes))], classes


@metric(
    MetricCard(
        "acc_nearest_test", "A nearest %", "defined here", compared=True, minimum_margin=0.02,
        overshoot="below retrain's: forgetting harmed what lies near", overshoots=-1,
    ),
    when="collateral",
    group="collateral damage",
)  # fmt: skip
def collateral_damage(inputs: MetricInputs) -> Scores:
    """Accuracy on the D_r test samples nearest to what was forgotten. Details: ``nearest``, their number, classes."""
    chosen, classes = nearest_to_forgotten(inputs)
    if len(chosen) == 0:
        raise MetricUnavailable("no retain sample of the test split is of the nearest class")
    logits, labels = inputs.model.logits["test"][chosen], inputs.run.labels["test"][chosen]
    names = [inputs.run.data.class_names[index] for index in classes]
    return {"acc_nearest_test": accuracy(logits, labels), "nearest": {"samples": len(chosen), "classes": names}}
