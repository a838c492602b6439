"""Attacks on a bank of models: against formulas written out sample by sample, and known distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.forgetting_quality import equal_banks, forgetting_epsilons, forgetting_quality
from unsir_bench.evaluation.metrics.lira import few_nonmembers
from unsir_bench.evaluation.metrics.model_bank import (
    answers_in_mean,
    class_membership,
    class_membership_accuracy,
    mean_difference_of_pairs,
    rmia_attack,
    rmia_scores,
    true_floor,
    u_lira,
    unlearned_against_retrained,
)

Array = npt.NDArray[np.float64]
DELTA = 1e-5


def normal(mean: float, models: int = 30, samples: int = 40, seed: int = 0, spread: float = 1.0) -> Array:
    return np.random.default_rng(seed).normal(mean, spread, (models, samples))


def test_u_lira_is_the_likelihood_ratio_of_scipys_normals_with_one_model_of_either_kind_left_out() -> None:
    inside, outside = normal(1.0, models=5, samples=4), normal(0.0, models=5, samples=4, seed=1)
    right = []
    for out, sample in itertools.product(range(5), range(4)):
        kept = [index for index in range(5) if index != out]
        fits = [stats.norm(s[kept, sample].mean(), s[kept, sample].std(ddof=1)) for s in (inside, outside)]
        for side, sign in ((inside, 1), (outside, -1)):
            ratio = fits[0].logpdf(side[out, sample]) - fits[1].logpdf(side[out, sample])
            right.append(sign * ratio > 0)
    assert u_lira(inside, outside).accuracy == pytest.approx(np.mean(right))


@pytest.mark.parametrize(("distance", "spread"), [(2.0, 1.0), (0.0, 3.0)])
def test_u_lira_comes_near_the_best_test_between_two_known_normals(distance: float, spread: float) -> None:
    # The optimum by numerical integration of max(p, q) / 2.
    grid = np.linspace(-20, 20, 20_001)
    best = np.trapezoid(np.maximum(stats.norm.pdf(grid, distance, spread), stats.norm.pdf(grid)), grid) / 2
    found = u_lira(normal(distance, models=60, samples=200, spread=spread), normal(0.0, models=60, samples=200, seed=1))
    assert found.accuracy == pytest.approx(best, abs=0.02)


def test_u_lira_knows_nothing_where_there_is_nothing_to_know() -> None:
    scores = [u_lira(normal(0, 6, 300, seed=k), normal(0, 6, 300, seed=100 + k)).accuracy for k in range(20)]
    assert np.mean(scores) == pytest.approx(0.5, abs=4 * np.std(scores) / math.sqrt(20))
    same = np.ones((4, 3))
    assert u_lira(same, same).accuracy == u_lira(same, same).auc == 0.5
    assert u_lira(same, same + 1).accuracy == u_lira(same, same + 1).auc == 1.0


def test_rmia_is_the_share_of_the_population_that_a_sample_dominates_twofold() -> None:
    draws = np.random.default_rng(0)
    own, others = draws.uniform(size=7), draws.uniform(size=(3, 7))
    population, population_others = draws.uniform(size=11), draws.uniform(size=(3, 11))

    def ratio(probability: float, outside: Array) -> float:
        return probability / ((1.3 * outside.mean() + 0.7) / 2)

    expected = [
        np.mean([
            ratio(own[i], others[:, i]) / ratio(population[z], population_others[:, z]) >= 2 for z in range(11)
        ])
        for i in range(7)
    ]  # fmt: skip
    assert 0 < np.mean(expected) < 1
    np.testing.assert_allclose(rmia_scores(own, others, population, population_others), expected)


def epsilon_by_brute_force(inside: Array, outside: Array) -> float:
    """Every interval with ends between confidences, one by one; single thresholds are intervals without an end."""
    values = sorted({*inside.tolist(), *outside.tolist()})
    ends = [-math.inf, *[(a + b) / 2 for a, b in itertools.pairwise(values)], math.inf]
    best = 0.0
    for low, high in itertools.combinations(ends, 2):
        caught = np.mean((inside > low) & (inside < high))
        wrongly = np.mean((outside > low) & (outside < high))
        for fpr, fnr in ((wrongly, 1 - caught), (caught, 1 - wrongly)):
            if fpr < 1e-12 and fnr < 1e-12:
                return 50.0
            if min(fpr, fnr) < 1e-12:
                continue
            for one, other in ((fpr, fnr), (fnr, fpr)):
                if 1 - DELTA - one > 0:
                    best = max(best, math.log(1 - DELTA - one) - math.log(other))
    return min(best, 50.0)


@pytest.mark.parametrize("distance", [0.0, 0.7, 3.0])
def test_epsilons_are_those_of_every_interval_tried_one_by_one(distance: float) -> None:
    inside, outside = normal(distance, models=8, samples=12), normal(0.0, models=8, samples=12, seed=1, spread=1.5)
    expected = [epsilon_by_brute_force(inside[:, i], outside[:, i]) for i in range(12)]
    np.testing.assert_allclose(forgetting_epsilons(inside, outside), expected, rtol=1e-6)
    np.testing.assert_allclose(forgetting_epsilons(outside, inside), expected, rtol=1e-6)


def test_an_epsilon_by_hand_and_its_two_special_cases() -> None:
    inside, outside = np.array([[1.0], [2], [3], [6]]), np.array([[4.0], [5], [7], [2.5]])
    # Below 3.5 lie 3 of 4 and 1 of 4: FPR = FNR = 1/4; no threshold or interval does better.
    assert forgetting_epsilons(inside, outside) == pytest.approx(math.log((0.75 - DELTA) / 0.25))
    assert forgetting_epsilons(inside, inside + 10) == [50]
    peaky = 2 + 0.001 * inside
    assert forgetting_epsilons(peaky, outside) == [50]  # spread less than 1 % of the others'
    constant = np.full((4, 1), 3.0)
    assert forgetting_epsilons(constant, constant) == [0] and forgetting_epsilons(constant, constant + 1) == [50]


def test_two_equal_banks_of_three_have_the_mean_over_all_orders_of_their_models() -> None:
    orders = [set(inside) for inside in itertools.combinations(range(6), 3)]
    each = [epsilon_by_brute_force(np.array([*inside], float), np.array([*{*range(6)} - inside])) for inside in orders]
    found = equal_banks(3)
    assert found["epsilon"] == pytest.approx(np.median(each), rel=1e-6)
    # 14 of the 20 orders have an ε of 0.69, which earns half a point; the others are told apart without an error.
    assert forgetting_quality(np.array(each), 3) == 14 * 0.5 / 20
    assert found["quality"] == pytest.approx(14 * 0.5 / 20, abs=0.02)


@pytest.mark.parametrize("models", [10, 30])
def test_two_banks_of_equal_models_have_the_epsilon_of_chance(models: int) -> None:
    """Against draws of another seed and another continuous distribution."""
    generator = np.random.default_rng(7)
    epsilons = forgetting_epsilons(*generator.logistic(3.0, 2.0, (2, models, 400)))
    null = equal_banks(models)
    assert null["epsilon"] == pytest.approx(np.median(epsilons), abs=0.2)
    assert null["quality"] == pytest.approx(forgetting_quality(epsilons, models), abs=0.02)


def test_points_halve_with_each_half_of_epsilon_up_to_what_so_few_models_can_show() -> None:
    # 21 models: ceil(log 20) = 3, six bins of 1/2.
    epsilons = np.array([0.0, 0.49, 0.5, 1.2, 2.9, 3.0, 50.0])
    assert forgetting_quality(epsilons, 21) == pytest.approx((1 + 1 + 0.5 + 0.25 + 1 / 32 + 0 + 0) / 7)


def test_class_membership_tells_shifted_models_and_not_equal_ones() -> None:
    assert class_membership_accuracy(normal(2.0, 20, 6), normal(0.0, 20, 6, seed=1)) > 0.95
    guessed = [class_membership_accuracy(normal(0, 10, 6, seed=k), normal(0, 10, 6, seed=99 + k)) for k in range(20)]
    assert 0.35 < np.mean(guessed) < 0.6


def test_answers_in_mean_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]))
    found = answers_in_mean(logits, torch.tensor([0, 0]))
    np.testing.assert_allclose(found[:3], [0.375, 0.375, 0.25])
    assert found[3] == pytest.approx((0 + math.log(1 / 3)) / 2, abs=1e-6)
    assert found[4] == pytest.approx(1.5 * math.log(2))
    masked = answers_in_mean(torch.tensor([[-1e4, 0.0, 0.0]]), torch.tensor([0]))
    assert np.isfinite(masked).all() and masked[4] == pytest.approx(math.log(2))


def test_the_floor_is_the_mean_over_all_pairs() -> None:
    assert mean_difference_of_pairs(np.array([0.0, 1.0, 3.0])) == pytest.approx((1 + 3 + 2) / 3)


def test_too_few_models_and_unequal_kinds_are_refused() -> None:
    for attack in (u_lira, forgetting_epsilons, class_membership_accuracy):
        with pytest.raises(MetricUnavailable, match="at least 3"):
            attack(np.zeros((2, 5)), np.zeros((2, 5)))
        with pytest.raises(ValueError, match="shapes"):
            attack(np.zeros((4, 5)), np.zeros((3, 5)))


def inputs(
    labels: Mapping[str, Tensor], bank: Mapping[tuple[str, str], Tensor], own: Mapping[str, Tensor] | None = None,
    classes: tuple[int, ...] = (),
) -> Any:  # fmt: skip
    """Parts and banks that are not given raise ``KeyError``."""
    run = SimpleNamespace(has=lambda part: part in labels, split=SimpleNamespace(classes=classes))
    return SimpleNamespace(
        run=run, labels=lambda part: labels[part], logits=lambda part: (own or {})[part],
        bank=lambda kind, part: bank[kind, part],
    )  # fmt: skip


def of_probability(probability: float, shift: float = 0.0) -> Tensor:
    """Logits of four samples and two classes, the first of this probability; the shift changes the logits alone."""
    return torch.tensor([probability, 1 - probability]).log().expand(4, 2) + shift


def test_rmia_takes_the_forgotten_training_samples_for_members() -> None:
    sure = {"forget_train": 0.99, "forget_test": 0.99, "retain_test": 0.1, "unseen_test": 0.1}
    outside = torch.stack([of_probability(0.1, shift) for shift in (1.0, 2.0, 3.0)])
    found = rmia_attack(
        inputs(
            {part: torch.zeros(4, dtype=torch.int64) for part in sure},
            {("retrained", part): outside for part in sure},
            {part: of_probability(probability) for part, probability in sure.items()},
        )
    )
    # 9.9 times the ratio of every sample of the population, and the unseen ones the same ratio.
    assert found == {"rmia_auc": 1.0, "rmia_tpr_at_1_percent_fpr": 1.0, **few_nonmembers("rmia", 4)}


def test_a_model_of_the_bank_is_no_reference_of_its_own() -> None:
    sure = {"forget_train": 0.9, "forget_test": 0.44, "retain_test": 0.44, "unseen_test": 0.44}
    own = {part: of_probability(probability) for part, probability in sure.items()}
    found = rmia_attack(
        inputs(
            {part: torch.zeros(4, dtype=torch.int64) for part in sure},
            {("retrained", part): torch.stack([own[part], of_probability(0.5)]) for part in sure},
            own,
        )
    )
    # Against the other model alone members have 0.9 / 0.44 = 2.05 times the ratio of the population; with the model
    # itself among the references it would be 0.9 / 0.805 over 0.44 / 0.6555 = 1.67 times, below the threshold of 2.
    assert found["rmia_auc"] == 1.0


def test_models_of_a_bank_that_all_are_the_model_itself_leave_no_reference() -> None:
    parts = (
        "forget_train",
        "forget_test",
        "retain_test",
        "unseen_test",
    )  # as of heads that are solved exactly, whatever the seed
    bank = {("retrained", part): torch.stack([of_probability(0.9)] * 3) for part in parts}
    labels = {part: torch.zeros(4, dtype=torch.int64) for part in parts}
    with pytest.raises(MetricUnavailable, match="none is left outside"):
        rmia_attack(inputs(labels, bank, {part: of_probability(0.9) for part in parts}))


def test_class_membership_is_that_of_the_unlearned_and_the_retrained_models_on_the_forgotten_test_samples() -> None:
    labels = torch.tensor([0, 1])
    retrained = torch.stack([torch.tensor([[0.0, 0.0, step], [0.0, 0.0, step]]) for step in (0.0, 0.1, 0.2)])
    unlearned = retrained + 5 * torch.nn.functional.one_hot(labels, 3)
    bank = {("unlearned", "forget_test"): unlearned, ("retrained", "forget_test"): retrained}
    assert class_membership(inputs({"forget_test": labels}, bank)) == 1.0


def answers(*classes: int) -> Tensor:
    """Logits of three classes, the largest of each sample that of its answer."""
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float()


def test_the_true_floor_is_of_the_retrained_models() -> None:
    labels = {"forget_test": torch.tensor([0, 0]), "retain_test": torch.tensor([1, 1])}
    bank = {
        ("retrained", "retain_test"): torch.stack([answers(1, 1), answers(1, 2), answers(2, 2)]),  # A_Dr 1, 1/2, 0
        ("retrained", "forget_test"): torch.stack([answers(1, 1), answers(1, 2), answers(2, 2)]),  # A_Df 0, 0, 0
    }
    found = true_floor(inputs(labels, bank, classes=(0, 2)))
    shown = {"acc_forget_test": 0.0, "acc_retain_test": pytest.approx(2 / 3)}
    # Answers with class 2, forgotten too, are 0, 1/2 and all of the forgotten samples'.
    assert found == {
        **{f"true_floor_{name}": value for name, value in shown.items()},
        "true_floor": {**shown, "forget_answered_any_forget_class": pytest.approx(2 / 3)},
    }


def test_the_banks_attacks_are_on_the_forgotten_training_samples() -> None:
    labels = {"forget_train": torch.zeros(4, dtype=torch.int64)}
    sure = {"unlearned": (0.96, 0.97, 0.98), "retrained": (0.02, 0.03, 0.04)}
    bank = {(kind, "forget_train"): torch.stack([of_probability(p) for p in of_kind]) for kind, of_kind in sure.items()}
    found = unlearned_against_retrained(inputs(labels, bank))
    expected = {"ulira_accuracy": 1.0, "ulira_auc": 1.0, "forgetting_quality": 0.0, "forgetting_epsilon": 50.0}
    assert {name: found[name] for name in expected} == expected
    assert found["forgetting_null"] == equal_banks(3)
