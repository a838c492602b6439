"""Probes on features with a known answer, against brute force, and where they are undefined."""

import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics import feature_probe
from unsir_bench.evaluation.metrics.feature_probe import ProbeSamples, knn_auc, knowledge_retention, linear_probe_auc

Split = tuple[Tensor, Tensor]
AUCS = [linear_probe_auc, knn_auc]


def clusters(centres: list[list[float]], per_class: int, seed: int, width: float = 1.0) -> Split:
    """Normal clouds of the given standard deviation, class by class."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(centres)).repeat_interleave(per_class)
    points = torch.tensor(centres)[labels]
    return points + width * torch.randn(points.shape, generator=draws), labels


def pair_count_auc(scores: list[float], positive: list[bool]) -> float:
    inside = [score for score, is_in in zip(scores, positive, strict=True) if is_in]
    outside = [score for score, is_in in zip(scores, positive, strict=True) if not is_in]
    wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    return wins / (len(inside) * len(outside))


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_linear_probe_reaches_what_two_shifted_normals_allow(shift: float):
    """Two unit normals d apart: no classifier does better than AUC Phi(d / sqrt 2), and a plane reaches it."""
    centres = [[shift, 0.0, 0.0], [0.0, 0.0, 0.0]]
    found = linear_probe_auc(ProbeSamples(*clusters(centres, 3000, 0), *clusters(centres, 3000, 1), [0]), seed=0)
    assert found == pytest.approx(norm.cdf(shift / math.sqrt(2)), abs=0.025)


@pytest.mark.parametrize("auc", AUCS)
def test_separable_features_give_1_also_for_several_forget_classes(auc: Callable[..., float]):
    centres = [[20.0, 0.0], [0.0, 0.0], [20.0, 20.0], [-20.0, 0.0]]
    assert auc(ProbeSamples(*clusters(centres, 40, 0), *clusters(centres, 30, 1), (0, 2)), seed=0) == 1.0


def test_neighbours_see_a_class_that_no_plane_cuts_off():
    """The forget class lies in the middle of four others."""
    centres = [[0.0, 0.0], [9.0, 9.0], [-9.0, 9.0], [9.0, -9.0], [-9.0, -9.0]]
    train, test = clusters(centres, 200, 0), clusters(centres, 100, 1)
    assert knn_auc(ProbeSamples(*train, *test, [0]), seed=0) == pytest.approx(1.0)
    assert linear_probe_auc(ProbeSamples(*train, *test, [0]), seed=0) < 0.8


@pytest.mark.parametrize("neighbours", [1, 7, 10])
def test_knn_agrees_with_brute_force(neighbours: int):
    centres = [[1.0, 0.0, 0.0], [0.0, 0.0, 30.0], [0.0, 2.0, 0.0]]
    (train, train_labels), (test, test_labels) = clusters(centres, 60, 0), clusters(centres, 25, 1)
    low, width = train.double().mean(0), train.double().std(0, correction=0)
    own, theirs = ((train.double() - low) / width).tolist(), ((test.double() - low) / width).tolist()
    shares = []
    for point in theirs:
        by_distance = sorted(range(len(own)), key=lambda i: math.dist(point, own[i]))[:neighbours]
        shares.append(sum(train_labels[i] == 0 for i in by_distance) / neighbours)
    expected = pair_count_auc(shares, (test_labels == 0).tolist())
    found = knn_auc(ProbeSamples(train, train_labels, test, test_labels, [0]), seed=4, neighbours=neighbours)
    assert 0.55 < expected < 0.99
    assert found == pytest.approx(expected)


def test_neighbours_at_equal_distance_are_not_all_of_one_side():
    """Training: 20 forget and 180 other samples in one spot, and a wide cloud half of which is forget.

    Forget test samples in the cloud (half their neighbours forget) must rank above others in the spot (a tenth).
    """
    cloud = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) + 20
    train = torch.cat([torch.ones(200, 3), cloud])
    labels = torch.tensor([0] * 20 + [1] * 180 + [0, 1] * 100)
    test = torch.cat([cloud + 0.01, torch.ones(200, 3)])
    test_labels = torch.tensor([0] * 200 + [1] * 200)
    aucs = [knn_auc(ProbeSamples(train, labels, test, test_labels, [0]), seed=seed, neighbours=20) for seed in range(5)]
    assert min(aucs) > 0.9


@pytest.mark.parametrize("auc", AUCS)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
def test_constant_features_tell_nothing(auc: Callable[..., float], value: float):
    """Exactly a half: dead features of the training samples, whatever the test samples look like."""
    dead, labels = torch.full((90, 4), value), torch.arange(90) % 3
    alive = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    assert auc(ProbeSamples(dead, labels, dead, labels, [1]), seed=0) == 0.5
    assert auc(ProbeSamples(dead, labels, alive, labels, [1]), seed=0) == 0.5


@pytest.mark.parametrize("auc", AUCS)
def test_a_dead_feature_among_live_ones_changes_nothing(auc: Callable[..., float]):
    centres = [[1.0, 0.0], [0.0, 0.0]]
    (train, labels), (test, test_labels) = clusters(centres, 80, 0), clusters(centres, 80, 1)
    expected = auc(ProbeSamples(train, labels, test, test_labels, [0]), seed=0)
    dead = torch.full((160, 1), 0.3)
    # It may come alive on test samples: nothing was learned about it.
    woken = dead + 100 * torch.randn(160, 1, generator=torch.Generator().manual_seed(2))
    found = auc(
        ProbeSamples(torch.cat([train, dead], 1), labels, torch.cat([test, woken], 1), test_labels, [0]), seed=0
    )
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("auc", AUCS)
def test_units_of_the_features_do_not_matter(auc: Callable[..., float]):
    centres = [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    (train, labels), (test, test_labels) = clusters(centres, 100, 0), clusters(centres, 100, 1)
    units, zero = torch.tensor([1e-3, 1.0, 1e4]), torch.tensor([5.0, -2.0, 1e3])
    plain = auc(ProbeSamples(train, labels, test, test_labels, [0]), seed=0)
    scaled = auc(ProbeSamples(train * units + zero, labels, test * units + zero, test_labels, [0]), seed=0)
    assert 0.55 < plain < 0.95
    assert scaled == pytest.approx(plain, abs=0.005)


def test_no_more_samples_a_side_are_used_than_asked():
    train = clusters([[0.0, 0.0], [1.0, 0.0]], 100, 0)
    with pytest.raises(MetricUnavailable, match="11 neighbours were asked for; there are 10 training samples"):
        knn_auc(ProbeSamples(*train, *train, [0]), seed=0, most_per_side=5, neighbours=11)
    assert knn_auc(ProbeSamples(*train, *train, [0]), seed=0, most_per_side=5, neighbours=10) == 0.5


@pytest.mark.parametrize("auc", AUCS)
def test_the_seed_decides_which_samples_are_used(auc: Callable[..., float]):
    centres = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    train, test = clusters(centres, 300, 0), clusters(centres, 100, 1)
    first, again, other = (auc(ProbeSamples(*train, *test, [0]), seed=seed, most_per_side=15) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_retention_of_separable_and_of_merged_classes():
    apart = [[20.0, 0.0], [0.0, 20.0], [-20.0, -20.0]]
    found = knowledge_retention(ProbeSamples(*clusters(apart, 50, 0), *clusters(apart, 40, 1), [0]), seed=0)
    assert (found.forget_accuracy, found.retain_accuracy) == (1.0, 1.0)
    # The forget class lies on class 1: half of each is told right by chance, class 2 always.
    merged = [[0.0, 20.0], [0.0, 20.0], [-20.0, -20.0]]
    found = knowledge_retention(ProbeSamples(*clusters(merged, 400, 0), *clusters(merged, 400, 1), [0]), seed=0)
    both_halves = (2 * found.retain_accuracy - 1) + found.forget_accuracy
    assert both_halves == pytest.approx(1.0, abs=0.08)
    assert 0.1 < found.forget_accuracy < 0.9


def test_retention_reaches_the_best_accuracy_between_two_normals():
    centres = [[1.5, 0.0], [0.0, 0.0]]
    found = knowledge_retention(ProbeSamples(*clusters(centres, 500, 0), *clusters(centres, 4000, 1), [0]), seed=0)
    assert (found.forget_accuracy + found.retain_accuracy) / 2 == pytest.approx(norm.cdf(0.75), abs=0.02)


def test_a_common_class_does_not_crowd_out_a_rare_one():
    """2,000 samples of class 0 and 40 of class 1, overlapping: taught all, the head would hardly ever say class 1."""
    centres = [[1.0, 0.0], [0.0, 0.0]]
    features, labels = clusters(centres, 2000, 0)
    train = features[:2040], labels[:2040]
    test = clusters(centres, 1000, 1)
    balanced = knowledge_retention(ProbeSamples(*train, *test, [1]), seed=0, most_per_class=40)
    everything = knowledge_retention(ProbeSamples(*train, *test, [1]), seed=0, most_per_class=5000)
    assert everything.forget_accuracy < 0.2
    assert balanced.forget_accuracy > 0.5


def test_retention_draws_by_seed():
    centres = [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    train, test = clusters(centres, 300, 0), clusters(centres, 200, 1)
    first, again, other = (
        knowledge_retention(ProbeSamples(*train, *test, [0]), seed=s, most_per_class=10) for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("classes", "each", "taught"), [(100, 505, 50_000), (101, 505, 101 * 495), (1000, 60, 50_000), (3000, 25, 60_000)]
)
def test_the_head_of_many_classes_is_taught_no_more_than_the_cap(
    classes: int, each: int, taught: int, monkeypatch: pytest.MonkeyPatch
):
    """50,000 samples at most, as 100 classes of 500 have, but 20 of each class."""
    passed = []

    def fit(head, features, targets):
        passed.append(len(features))
        assert set(np.unique(targets, return_counts=True)[1]) == {taught // classes}
        return SimpleNamespace(predict=lambda test: np.zeros(len(test)))

    monkeypatch.setattr(feature_probe, "fitted", fit)
    labels = torch.arange(classes).repeat_interleave(each)
    features = torch.arange(float(len(labels)))[:, None]
    found = knowledge_retention(ProbeSamples(features, labels, features, labels, [0]), seed=0)
    assert passed == [found.training_samples] == [taught]


def test_retention_keeps_label_numbers_that_are_not_consecutive():
    features, labels = clusters([[20.0, 0.0], [0.0, 20.0], [-20.0, -20.0]], 20, 0)
    named = torch.tensor([7, 2, 90])[labels]
    found = knowledge_retention(ProbeSamples(features, named, features, named, [90]), seed=0)
    assert (found.forget_accuracy, found.retain_accuracy) == (1.0, 1.0)


@pytest.mark.parametrize("probe", [*AUCS, knowledge_retention])
@pytest.mark.parametrize(
    ("split", "kept", "reason"),
    [
        ("train", [1, 2], "no forget-class training samples"),
        ("train", [0], "no retain-class training samples"),
        ("test", [1, 2], "no forget-class test samples"),
        ("test", [0], "no retain-class test samples"),
        ("test", [], "no forget-class test samples"),
    ],
)
def test_a_missing_side_is_named(probe: Callable[..., object], split: str, kept: list[int], reason: str):
    features, labels = clusters([[1.0], [2.0], [3.0]], 10, 0)
    there = torch.isin(labels, torch.tensor(kept, dtype=torch.int64))
    some, everything = (features[there], labels[there]), (features, labels)
    train, test = (some, everything) if split == "train" else (everything, some)
    with pytest.raises(MetricUnavailable, match=reason):
        probe(ProbeSamples(*train, *test, [0]), seed=0)


@pytest.mark.parametrize("probe", [*AUCS, knowledge_retention])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused(probe: Callable[..., object], bad: float):
    features, labels = clusters([[1.0], [2.0]], 10, 0)
    broken = features.clone()
    broken[4] = bad
    for splits in ((broken, labels, features, labels), (features, labels, broken, labels)):
        with pytest.raises(MetricUnavailable, match="features are NaN or infinite"):
            probe(ProbeSamples(*splits, [0]), seed=0)


def test_retention_is_undefined_where_the_head_could_only_guess():
    dead, labels = torch.ones(30, 2), torch.arange(30) % 3
    with pytest.raises(MetricUnavailable, match="constant"):
        knowledge_retention(ProbeSamples(dead, labels, dead, labels, [0]), seed=0)
    features = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    taught = labels != 2
    with pytest.raises(MetricUnavailable, match=r"without training samples: \[2\]"):
        knowledge_retention(ProbeSamples(features[taught], labels[taught], features, labels, [0]), seed=0)


@pytest.mark.parametrize("probe", [linear_probe_auc, knowledge_retention])
def test_a_head_that_is_stopped_early_warns_nobody(probe: Callable[..., object], monkeypatch: pytest.MonkeyPatch):
    draws = np.random.default_rng(0)
    features = torch.tensor(draws.standard_normal((200, 40)) @ draws.standard_normal((40, 40)), dtype=torch.float32)
    labels = torch.tensor(draws.integers(0, 3, 200))
    monkeypatch.setattr(feature_probe, "MOST_ITERATIONS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe(ProbeSamples(features, labels, features, labels, [0]), seed=0)


def test_the_linear_probe_of_wide_features_takes_hundreds_of_steps_at_most(monkeypatch: pytest.MonkeyPatch):
    """4,000 samples of 512 nearly collinear features, the slow case: about a second."""
    draws = torch.Generator().manual_seed(0)
    base = torch.randn(5000, 30, generator=draws)
    features = (base @ torch.randn(30, 512, generator=draws)).relu() + 1e-3 * torch.randn(5000, 512, generator=draws)
    labels = (base[:, 0] + 0.5 * torch.randn(5000, generator=draws) < 0).long()
    steps, fitted = [], feature_probe.fitted

    def counted(*given: Any) -> LogisticRegression:
        head = fitted(*given)
        steps.append(int(head.n_iter_.max()))
        return head

    monkeypatch.setattr(feature_probe, "fitted", counted)
    value = linear_probe_auc(ProbeSamples(features[:4500], labels[:4500], features[4500:], labels[4500:], [0]), seed=0)
    assert steps and steps[0] < 500 and value > 0.7
