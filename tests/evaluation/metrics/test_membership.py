"""Attacks on losses and confidences: known answers, the published classifier, and where they are undefined."""

import math
import statistics
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.svm import SVC
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.membership import (
    class_matched_loss_attack,
    confidence_attack,
    confidence_svc_attack,
    loss_attack,
)

Side = tuple[Tensor, Tensor]
BANDS = ((0.1, 0.5), (0.3, 0.75))


def with_losses(losses: Tensor, label: int = 0, classes: int = 2) -> Side:
    """Logits and labels whose cross-entropy is as given: with all other logits 0, z_y = log((C - 1) / (e^loss - 1))."""
    labels = torch.full((len(losses),), label)
    logits = torch.zeros(len(losses), classes, dtype=torch.float64)
    logits[:, label] = math.log(classes - 1) - torch.log(torch.expm1(losses.double()))
    return logits.float(), labels


def with_confidences(confidences: Tensor, label: int = 0) -> Side:
    return with_losses(-torch.log(confidences.double()), label)


def joined(*sides: Side) -> Side:
    return torch.cat([logits for logits, _ in sides]), torch.cat([labels for _, labels in sides])


def normal(count: int, mean: float, seed: int) -> Tensor:
    return mean + torch.randn(count, generator=torch.Generator().manual_seed(seed))


# --- class-matched loss attack


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_loss_attack_reaches_what_two_shifted_normals_allow(shift: float):
    """The best threshold between two unit normals d apart is right with Phi(d/2); their AUC is Phi(d/sqrt 2).

    A negative shift, losses of members above, is as good a clue.
    """
    members, others = with_losses(normal(8000, 10, 0)), with_losses(normal(8000, 10 + shift, 1))
    attack = class_matched_loss_attack(*members, *others, seed=0)
    assert attack.accuracy == pytest.approx(norm.cdf(abs(shift) / 2), abs=0.015)
    assert attack.auc == pytest.approx(norm.cdf(abs(shift) / math.sqrt(2)), abs=0.015)
    assert attack.samples_per_side == 8000


def test_loss_attack_tells_separable_losses_apart():
    attack = class_matched_loss_attack(
        *with_losses(torch.linspace(0.1, 1, 40)), *with_losses(torch.linspace(5, 6, 40)), seed=3
    )
    assert (attack.accuracy, attack.auc) == (1.0, 1.0)


@pytest.mark.parametrize("count", [5, 6, 7, 8, 9, 10, 33])
def test_equal_losses_tell_the_attack_nothing(count: int):
    """Exactly a half, also where the samples do not divide into five equal folds."""
    logits, labels = torch.full((count, 3), 1.7), torch.ones(count, dtype=torch.int64)
    attack = class_matched_loss_attack(logits, labels, logits, labels, seed=0)
    assert (attack.accuracy, attack.auc, attack.samples_per_side) == (0.5, 0.5, count)


def test_a_hard_class_that_is_commoner_in_the_test_split_gives_nothing_away():
    members = joined(with_losses(normal(900, 10, 0), 0), with_losses(normal(300, 20, 1), 1))
    others = joined(with_losses(normal(300, 10, 2), 0), with_losses(normal(900, 20, 3), 1))
    attack = class_matched_loss_attack(*members, *others, seed=0)
    # Unmatched, calling every sample of class 0 a member would be right for three in four.
    assert attack.accuracy == pytest.approx(0.5, abs=0.06)
    assert attack.auc == pytest.approx(0.5, abs=0.06)
    assert attack.samples_per_side == 600


def test_a_class_that_one_side_lacks_is_left_out():
    shared = with_losses(normal(30, 10, 0), 0)
    members = joined(shared, with_losses(normal(50, 20, 1), 1))
    attack = class_matched_loss_attack(*members, *shared, seed=0)
    assert attack.samples_per_side == 30
    assert attack.auc == pytest.approx(0.5, abs=0.3)


def test_losses_beyond_400_nats_count_as_400():
    members = with_losses(normal(100, 10, 0))
    others, labels = with_losses(normal(100, 12, 1))
    results = []
    for loss in (400.0, 1e6, 1e30):
        # With a true logit this far below the other, the loss is the difference.
        others[0] = torch.tensor([-loss, 0.0])
        results.append(class_matched_loss_attack(*members, others, labels, seed=0))
    assert results[0] == results[1] == results[2]
    assert results[0].auc > 0.8


def test_the_same_seed_draws_the_same_samples():
    members, others = with_losses(normal(200, 10, 0)), with_losses(normal(40, 10.5, 1))
    first, again, other = (class_matched_loss_attack(*members, *others, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.auc != other.auc
    assert first.samples_per_side == 40


def test_the_larger_side_is_drawn_from_all_over():
    """The first 30 of 600 test samples look like members; the rest do not."""
    others = joined(with_losses(normal(30, 10, 0)), with_losses(normal(570, 30, 1)))
    members = with_losses(normal(30, 10, 2))
    for sides in ((*members, *others), (*others, *members)):
        assert class_matched_loss_attack(*sides, seed=0).accuracy > 0.85


def test_adding_to_all_logits_of_a_sample_changes_nothing():
    (members, labels), others = with_losses(normal(60, 10, 0)), with_losses(normal(60, 11, 1))
    plain = class_matched_loss_attack(members, labels, *others, seed=0)
    moved = class_matched_loss_attack(members + 4.0, labels, *others, seed=0)
    assert moved.accuracy == pytest.approx(plain.accuracy, abs=1e-9)
    assert moved.auc == pytest.approx(plain.auc, abs=1e-9)


@pytest.mark.parametrize(("inside", "outside", "matched"), [(4, 50, 4), (50, 3, 3), (0, 50, 0), (50, 0, 0)])
def test_loss_attack_names_the_counts_that_are_too_small(inside: int, outside: int, matched: int):
    members, others = with_losses(normal(inside, 10, 0)), with_losses(normal(outside, 10, 1))
    message = f"at least 5 .* {inside} training and {outside} test samples, and {matched} a side"
    with pytest.raises(MetricUnavailable, match=message):
        class_matched_loss_attack(*members, *others, seed=0)


def test_loss_attack_counts_after_matching_classes():
    members, others = with_losses(normal(50, 10, 0), 0), with_losses(normal(50, 10, 1), 1)
    with pytest.raises(MetricUnavailable, match="50 training and 50 test samples, and 0 a side"):
        class_matched_loss_attack(*members, *others, seed=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_loss_attack_refuses_what_is_not_finite(bad: float):
    (logits, labels), others = with_losses(normal(20, 10, 0)), with_losses(normal(20, 10, 1))
    broken = logits.clone()
    broken[3, 1] = bad
    for sides in ((broken, labels, *others), (*others, broken, labels)):
        with pytest.raises(MetricUnavailable, match="NaN or infinite"):
            class_matched_loss_attack(*sides, seed=0)


# --- confidence-SVC attack


def spread(low: float, high: float, count: int) -> Side:
    return with_confidences(torch.linspace(low, high, count, dtype=torch.float64))


def test_svc_calls_members_those_as_confident_as_retain_training_samples():
    retain = (*spread(0.9, 0.99, 200), *spread(0.3, 0.6, 200))
    for confident in (0, 30, 100):
        forget = joined(spread(0.92, 0.98, confident), spread(0.35, 0.55, 100 - confident))
        assert confidence_svc_attack(*retain, *forget, seed=0) == pytest.approx(confident / 100)


def test_svc_attack_agrees_with_the_published_classifier():
    """Where nothing is subsampled: SVC(C=3, gamma='auto', kernel='rbf') on the confidences of all retain samples.

    Members and non-members alternate in four bands, which a narrower kernel would tell apart.
    """
    draws = np.random.default_rng(0)
    inside, outside = (np.r_[draws.uniform(a, a + 0.1, 150), draws.uniform(b, b + 0.1, 150)] for a, b in BANDS)
    forget = draws.uniform(0.1, 0.9, 300)
    learned, is_member = np.r_[inside, outside][:, None], [1] * 300 + [0] * 300
    published, narrower = (
        SVC(C=3, gamma=gamma, kernel="rbf").fit(learned, is_member).predict(forget[:, None]).mean()
        for gamma in ("auto", "scale")
    )
    assert abs(published - narrower) > 0.1
    (a, b), (c, d), (e, f) = (with_confidences(torch.tensor(values), label=1) for values in (inside, outside, forget))
    assert confidence_svc_attack(a, b, c, d, e, f, seed=5) == pytest.approx(published, abs=0.01)


def test_svc_is_not_swayed_by_the_larger_side():
    """2,000 members and 40 non-members, alike: unbalanced, everything would be called a member."""
    draws = np.random.default_rng(1)
    members, others, forget = (
        with_confidences(torch.tensor(draws.uniform(0.2, 0.9, count))) for count in (2000, 40, 500)
    )
    shares = [confidence_svc_attack(*members, *others, *forget, seed=seed) for seed in range(6)]
    assert 0.2 < statistics.mean(shares) < 0.8
    assert len(set(shares)) > 1
    assert shares[2] == confidence_svc_attack(*members, *others, *forget, seed=2)


def test_svc_learns_from_no_more_samples_than_asked():
    """Of 40 a side all 40 are learned, whatever the seed; of a limit of 5, others with each seed."""
    draws = np.random.default_rng(2)
    sides = [with_confidences(torch.tensor(draws.uniform(0.05, 0.95, 40))) for _ in range(3)]
    members, others, forget = sides
    shares = {
        most: {confidence_svc_attack(*members, *others, *forget, seed=seed, most_per_side=most) for seed in range(5)}
        for most in (5, 40)
    }
    assert len(shares[40]) == 1
    assert len(shares[5]) > 1


def test_svc_attack_is_undefined_without_contrast_or_samples():
    side = spread(0.3, 0.9, 20)
    flat = (torch.zeros(20, 3), torch.zeros(20, dtype=torch.int64))
    empty = (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    few = (side[0][:4], side[1][:4])
    broken = (torch.full((20, 2), torch.nan), side[1])
    for sides, reason in (
        ((flat, flat, side), "nothing to learn"),
        ((few, side, side), "4 training and 20 test samples"),
        ((side, empty, side), "20 training and 0 test samples"),
        ((side, side, empty), "there are no forget-class training logits"),
        ((side, side, broken), "NaN or infinite"),
        ((side, broken, side), "NaN or infinite"),
    ):
        (a, b), (c, d), (e, f) = sides
        with pytest.raises(MetricUnavailable, match=reason):
            confidence_svc_attack(a, b, c, d, e, f, seed=0)


# --- what a record's attacks read


def inputs(sides: Mapping[str, Side]) -> Any:
    """Samples by part; of all of them the retrained model knows nothing."""
    return SimpleNamespace(
        logits=lambda part: sides[part][0],
        labels=lambda part: sides[part][1],
        retrain_logits=lambda part: torch.zeros_like(sides[part][0]),
        seed=0,
    )


def test_the_loss_attack_of_a_record_is_on_the_models_own_losses_of_forgotten_samples():
    sides = {
        "forget_train": with_losses(torch.linspace(0.1, 1, 40)),
        "unseen_test": with_losses(torch.linspace(5, 6, 40)),
    }
    scores = {"mia_loss_accuracy": 1.0, "mia_loss_auc": 1.0}
    assert loss_attack(inputs(sides)) == {**scores, "mia_samples_per_side": 40}


@pytest.mark.parametrize("count", [5, 19, 20])
def test_scores_of_few_samples_stand_with_a_caution_since_chance_alone_moves_them(count: int):
    def guessed(seed: int) -> Mapping[str, Any]:
        found = loss_attack(inputs({part: with_losses(normal(count, 10, 2 * seed + place))
                                    for place, part in enumerate(("forget_train", "unseen_test"))}))  # fmt: skip
        assert isinstance(found, Mapping) and found["mia_samples_per_side"] == count
        return found

    found = [guessed(seed) for seed in range(20)]
    accuracy, auc = (statistics.stdev(each[f"mia_loss_{name}"] for each in found) for name in ("accuracy", "auc"))
    assert 0.08 < accuracy < 0.25 and accuracy < auc < 0.4
    assert {each.get("mia_loss_caution", "").partition(" samples")[0] for each in found} == {
        f"only {count}" if count < 20 else ""
    }


def test_the_svc_of_a_record_learns_from_retained_samples_and_judges_the_forgotten_ones():
    sides = {"retain_train": spread(0.9, 0.99, 200), "retain_test": spread(0.3, 0.6, 200)}
    assert confidence_attack(inputs({**sides, "forget_train": spread(0.92, 0.98, 50)})) == 1.0
    assert confidence_attack(inputs({**sides, "forget_train": spread(0.35, 0.55, 50)})) == 0.0
