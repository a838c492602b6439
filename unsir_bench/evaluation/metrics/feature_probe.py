"""Feature leak: what can still be read from the penultimate features, whatever the model's own head answers.

A frozen feature extractor is judged by fresh classifiers on its features. Features of a class that was never trained on
are separable too, so each number means something only beside retrain's.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite, whole_classes
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric
from unsir_bench.runtime.seeding import generator

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

MOST_ITERATIONS = 1000
MOST_TAUGHT, LEAST_OF_CLASS = 50_000, 20  # training samples of the retention probe

Array = npt.NDArray[np.float64]


class ProbeSamples(NamedTuple):
    """What a probe learns from and is judged on: penultimate features of all classes.

    Attributes:
        train: (samples, dim), of the training split.
        train_labels: int64 (samples,).
        test: (samples, dim), of the test split.
        test_labels: int64 (samples,).
        forget_classes: the labels that count as forget.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    forget_classes: Collection[int]

    def is_forget(self, labels: Tensor) -> Tensor:
        """Which of some labels are of forget classes."""
        return torch.isin(labels, torch.tensor(sorted(self.forget_classes), dtype=labels.dtype))


@dataclass(frozen=True)
class KnowledgeRetention:
    """Test accuracy of a fresh head on frozen features.

    Attributes:
        forget_accuracy: top-1 on forget-class test samples, in [0, 1]; ideal: retrain's.
        retain_accuracy: top-1 on retain-class test samples, in [0, 1]; ideal: retrain's.
        training_samples: that the head was taught.
    """

    forget_accuracy: float
    retain_accuracy: float
    training_samples: int


@dataclass(frozen=True)
class ForgetOrRest:
    """Standardised features; ``train`` is shuffled, and has no column where the features are constant."""

    train: Array
    train_is_forget: npt.NDArray[np.bool_]
    test: Array
    test_is_forget: npt.NDArray[np.bool_]


def linear_probe_auc(samples: ProbeSamples, *, seed: int, most_per_side: int = 2000) -> float:
    """AUC of a linear classifier of forget samples against all others, on frozen features.

    Logistic regression (L2, C = 1, weights balanced over the two sides) learns from training samples; ROC AUC of its
    decision function on all test samples. Features are standardised by the training samples used.

    Args:
        samples: features and labels of both splits.
        seed: of the subsample.
        most_per_side: at most so many forget, and so many other, training samples.

    Returns:
        In [0, 1]: 0.5 where the classes cannot be told apart (and for features that are constant over the training
        samples), 1 where a plane separates them. Ideal: retrain's, which is seldom 0.5.

    Raises:
        MetricUnavailable: no forget or no other sample in a split; NaN or infinite features.

    Source:
        Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes".
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    data = forget_or_rest(samples, seed, most_per_side)
    if data.train.shape[1] == 0:
        return 0.5
    probe = fitted(LogisticRegression(class_weight="balanced"), data.train, data.train_is_forget)
    return float(roc_auc_score(data.test_is_forget, probe.decision_function(data.test)))


def knn_auc(samples: ProbeSamples, *, seed: int, most_per_side: int = 2000, neighbours: int = 10) -> float:
    """AUC of the share of forget samples among a test sample's nearest training samples.

    Euclidean distance between standardised features; the same training samples as ``linear_probe_auc`` draws. It sees
    clusters that no plane cuts off.

    Args:
        samples: features and labels of both splits.
        seed: of the subsample.
        most_per_side: at most so many forget, and so many other, training samples.
        neighbours: k.

    Returns:
        In [0, 1]; 0.5 for features that are constant over the training samples. Ideal: retrain's.

    Raises:
        MetricUnavailable: no forget or no other sample in a split; fewer than k training samples; NaN or infinite
            features.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import NearestNeighbors

    data = forget_or_rest(samples, seed, most_per_side)
    if len(data.train) < neighbours:
        raise MetricUnavailable(f"{neighbours} neighbours were asked for; there are {len(data.train)} training samples")
    if data.train.shape[1] == 0:
        return 0.5
    index = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(data.train)
    nearest = index.kneighbors(data.test, return_distance=False)
    return float(roc_auc_score(data.test_is_forget, data.train_is_forget[nearest].mean(axis=1)))


def knowledge_retention(samples: ProbeSamples, *, seed: int, most_per_class: int = 500) -> KnowledgeRetention:
    """Accuracy that a fresh head regains on frozen features, taught with all classes' labels.

    Multinomial logistic regression (L2, C = 1) on standardised training features; top-1 on the test samples.

    Args:
        samples: features and labels of both splits.
        seed: of the subsample.
        most_per_class: at most so many training samples of each class; fewer, but at least 20, where all classes would
            have more than 50,000 together. Time grows with samples times classes: 100 classes of 500 samples and 512
            features take some ten seconds on a core, 1,000 classes of 50 about ten times as long.

    Returns:
        Two fractions in [0, 1], forget and retain, ideal: retrain's; and the number of training samples.

    Raises:
        MetricUnavailable: no forget or no other sample in a split; a class of the test split without training samples;
            features that are constant over the training samples, where any class is as good a guess; NaN or infinite
            features.
    """
    _require_both_sides(samples)
    train_labels, test_labels = samples.train_labels, samples.test_labels
    untaught = sorted(set(test_labels.tolist()) - set(train_labels.tolist()))
    if untaught:
        raise MetricUnavailable(f"the head cannot learn classes without training samples: {untaught}")
    classes, counts = train_labels.unique(return_counts=True)
    if int(counts.clamp(max=most_per_class).sum()) > MOST_TAUGHT:
        most_per_class = min(most_per_class, max(LEAST_OF_CLASS, MOST_TAUGHT // len(classes)))
    kept = [
        _drawn(train_labels == label, most_per_class, generator(seed, "knowledge_retention", label))
        for label in classes.tolist()
    ]
    chosen = torch.cat(kept)
    train, test = _standardised(samples.train[chosen], samples.test)
    if train.shape[1] == 0:
        raise MetricUnavailable("all training features are constant, so the head can only guess")
    from sklearn.linear_model import LogisticRegression

    hits = fitted(LogisticRegression(), train, train_labels[chosen].numpy()).predict(test) == test_labels.numpy()
    is_forget = samples.is_forget(test_labels).numpy()
    return KnowledgeRetention(float(hits[is_forget].mean()), float(hits[~is_forget].mean()), len(chosen))


def forget_or_rest(samples: ProbeSamples, seed: int, most_per_side: int) -> ForgetOrRest:
    """At most ``most_per_side`` training samples of either side, drawn with ``seed``, and all test samples."""
    _require_both_sides(samples)
    is_forget = samples.is_forget(samples.train_labels)
    draws = generator(seed, "feature_probe")
    chosen = torch.cat([_drawn(is_forget, most_per_side, draws), _drawn(~is_forget, most_per_side, draws)])
    # Neighbours at equal distance are taken by position: sorted by side, they would all be of one side.
    chosen = chosen[torch.randperm(len(chosen), generator=draws)]
    train, test = _standardised(samples.train[chosen], samples.test)
    return ForgetOrRest(train, is_forget[chosen].numpy(), test, samples.is_forget(samples.test_labels).numpy())


def _require_both_sides(samples: ProbeSamples) -> None:
    for split, labels in (("training", samples.train_labels), ("test", samples.test_labels)):
        is_forget = samples.is_forget(labels)
        for side, there in (("forget-class", is_forget), ("retain-class", ~is_forget)):
            if not bool(there.any()):
                raise MetricUnavailable(f"there are no {side} {split} samples")
    require_finite("features", samples.train, samples.test)


def _drawn(eligible: Tensor, most: int, draws: torch.Generator) -> Tensor:
    """Indices of at most ``most`` eligible samples, in random order."""
    indices = torch.nonzero(eligible).flatten()
    return indices[torch.randperm(len(indices), generator=draws)[:most]]


def _standardised(train: Tensor, test: Tensor) -> tuple[Array, Array]:
    """Zero mean and unit variance by the training samples, in float64; features constant over them are left out."""
    # Compared exactly: a constant's rounded mean would leave a difference that is noise, yet would be learned.
    varying = train.amin(dim=0) != train.amax(dim=0)
    if not bool(varying.any()):
        return np.empty((len(train), 0)), np.empty((len(test), 0))
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train[:, varying].double().numpy())
    return scaler.transform(train[:, varying].double().numpy()), scaler.transform(test[:, varying].double().numpy())


def fitted(head: LogisticRegression, features: Array, targets: npt.NDArray[np.generic]) -> LogisticRegression:
    """Fit by L-BFGS, which needs some tens of steps on standardised features, some hundreds on nearly collinear ones.

    What is left at the limit moves scores in late digits only, so the warning would be noise.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return head.set_params(max_iter=MOST_ITERATIONS).fit(features, targets)


@metric(
    MetricCard(
        "probe_linear_auc", "linear probe AUC %", "Alain and Bengio 2016", compared=True, minimum_margin=0.01,
        overshoot="features separate forgotten samples worse than retrain's: features were damaged", overshoots=-1,
    ),
    when="features",
)  # fmt: skip
def linear_probe(inputs: MetricInputs) -> float:
    """AUC of a plane between forgotten and other features."""
    return linear_probe_auc(_samples(inputs), seed=inputs.seed)


@metric(
    MetricCard("probe_knn_auc", "kNN probe AUC %", "defined here", compared=True, minimum_margin=0.01),
    when="features",
    group="kNN probe",
)
def nearest_neighbour_probe(inputs: MetricInputs) -> float:
    """AUC of the share of forgotten samples among the nearest."""
    return knn_auc(_samples(inputs), seed=inputs.seed)


@metric(
    MetricCard(
        "retention_forget_accuracy", "retention %", "defined here", compared=True, minimum_margin=0.02,
        overshoot="a new head learns the forgotten classes worse than on retrain's features: features were damaged",
        overshoots=-1,
    ),
    MetricCard("retention_retain_accuracy", "retention of the rest %", "defined here"),
    when="features",
)  # fmt: skip
def retention_probe(inputs: MetricInputs) -> Scores:
    """Accuracies of a new head on the frozen features. Details: ``retention_training_samples``."""
    scores = knowledge_retention(_samples(inputs), seed=inputs.seed)
    return {f"retention_{name}": value for name, value in vars(scores).items()}


def _samples(inputs: MetricInputs) -> ProbeSamples:
    forgotten = whole_classes(inputs, "a probe tells forgotten classes from retained ones")
    features, labels = inputs.features, inputs.run.labels
    return ProbeSamples(features["train"], labels["train"], features["test"], labels["test"], forgotten)
