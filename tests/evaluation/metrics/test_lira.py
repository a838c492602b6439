"""LiRA, offline: against brute force, on samples with a known answer, and where it is undefined."""

import math
import re
import statistics
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.lira import chance_of_detection, few_nonmembers, lira_attack, lira_offline_attack

Side = tuple[Tensor, Tensor]


def logit_scaled(row: list[float], label: int) -> float:
    """log(p / (1 - p)) as it is written, in float64."""
    weights = [math.exp(value) for value in row]
    p = weights[label] / sum(weights)
    return math.log(p / (1 - p))


def lira_scores(logits: Tensor, labels: Tensor, shadows: Tensor, pooled: float | None) -> list[float]:
    scores = []
    for i, label in enumerate(labels.tolist()):
        outside = [logit_scaled(shadow[i].tolist(), label) for shadow in shadows]
        deviation = statistics.stdev(outside) if pooled is None else pooled
        scores.append((logit_scaled(logits[i].tolist(), label) - statistics.mean(outside)) / deviation)
    return scores


def brute_force(inside: list[float], outside: list[float]) -> tuple[float, float]:
    """AUC by counting pairs, and the best true positive rate over all thresholds with at most 1 % false ones."""
    wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    best = 0.0
    for threshold in inside + outside:
        if sum(value >= threshold for value in outside) <= 0.01 * len(outside):
            best = max(best, sum(value >= threshold for value in inside) / len(inside))
    return wins / (len(inside) * len(outside)), best


@pytest.mark.parametrize("models", [2, 5, 64])
def test_lira_agrees_with_brute_force(models: int):
    draws = torch.Generator().manual_seed(models)
    members, others = torch.randn(60, 4, generator=draws), torch.randn(250, 4, generator=draws)
    member_labels = torch.randint(0, 4, (60,), generator=draws)
    other_labels = torch.randint(0, 4, (250,), generator=draws)
    members[torch.arange(60), member_labels] += 1.5
    # Samples whose shadows vary by different amounts: a common and an own deviation order them differently.
    widths = torch.rand(1, 310, 1, generator=draws) * 3 + 0.1
    shadows = torch.randn(models, 310, 4, generator=draws) * widths
    spreads: dict[str, float | None] = {}
    variances = [
        statistics.variance([logit_scaled(shadow[i].tolist(), label) for shadow in shadows])
        for i, label in enumerate(member_labels.tolist() + other_labels.tolist())
    ]
    spreads = {"own": None, "common": math.sqrt(statistics.mean(variances))}
    expected = {
        name: brute_force(
            lira_scores(members, member_labels, shadows[:, :60], pooled),
            lira_scores(others, other_labels, shadows[:, 60:], pooled),
        )
        for name, pooled in spreads.items()
    }
    assert expected["own"] != expected["common"]
    found = lira_offline_attack(
        members, member_labels, others, other_labels, shadows[:, :60].contiguous(), shadows[:, 60:].contiguous()
    )
    assert (found.auc, found.tpr_at_1_percent_fpr) == pytest.approx(expected["own" if models >= 64 else "common"])


def margins(values: list[float]) -> Side:
    """Two classes: log(p/(1-p)) of label 0 is the difference of the logits, here the value."""
    return torch.tensor([[value, 0.0] for value in values]), torch.zeros(len(values), dtype=torch.int64)


def around(values: list[float]) -> Tensor:
    """Two shadow models, one above and one below each value."""
    return torch.stack([margins([value + step for value in values])[0] for step in (1.0, -1.0)])


def test_lira_sees_hard_members_that_confidence_alone_does_not():
    """Members are hard (shadows at -5) and known, others easy (+5) and as expected: plain confidence is all wrong."""
    attack = lira_offline_attack(*margins([-3.0] * 8), *margins([5.0] * 8), around([-5.0] * 8), around([5.0] * 8))
    assert (attack.auc, attack.tpr_at_1_percent_fpr) == (1.0, 1.0)


def test_the_attack_of_a_record_holds_each_part_against_its_own_shadows():
    own = {"forget_train": margins([-3.0] * 8), "unseen_test": margins([5.0] * 8)}
    shadows = {"forget_train": around([-5.0] * 8), "unseen_test": around([5.0] * 8)}
    inputs: Any = SimpleNamespace(
        logits=lambda part: own[part][0],
        labels=lambda part: own[part][1],
        retrain_logits=lambda part: torch.zeros_like(own[part][0]),
        shadow_logits=lambda part: shadows[part],
    )
    scores = {"lira_auc": 1.0, "lira_tpr_at_1_percent_fpr": 1.0}
    assert lira_attack(inputs) == {**scores, **few_nonmembers("lira", 8)}
    itself = {part: torch.cat([own[part][0][None], shadows[part]]) for part in own}
    measured_among_shadows = SimpleNamespace(**{**vars(inputs), "shadow_logits": itself.get})
    assert lira_attack(measured_among_shadows) == lira_attack(inputs)
    alone = SimpleNamespace(**{**vars(inputs), "shadow_logits": lambda part: itself[part][:2]})
    with pytest.raises(MetricUnavailable, match=r"at least 2 shadow models .* there are 1"):
        lira_attack(alone)


@pytest.mark.parametrize("others", [20, 99, 100, 250])
def test_an_attack_that_knows_nothing_finds_the_share_of_chance(others: int):
    draws = torch.Generator().manual_seed(0)
    found = []
    for _ in range(4000):
        members, nonmembers = torch.randn(5, generator=draws), torch.randn(others, generator=draws).sort().values
        allowed = others // 100  # of the non-members may lie above the threshold
        found.append((members > nonmembers[others - 1 - allowed]).float().mean().item())
    assert statistics.fmean(found) == pytest.approx(chance_of_detection(others), abs=0.005)
    assert bool(few_nonmembers("lira", others)) == (others < 100)


def test_the_chance_of_20_others_is_1_in_21():
    assert chance_of_detection(20) == 1 / 21


def test_lira_orders_samples_far_beyond_where_probabilities_round_to_1():
    attack = lira_offline_attack(
        *margins([3000.0, 2000.0]), *margins([1000.0, 500.0]), around([0.0] * 2), around([0.0] * 2)
    )
    assert attack.auc == 1.0
    # A tail probability would be 1 for all four, and the order lost.
    assert len({norm.cdf(value) for value in (3000.0, 2000.0, 1000.0, 500.0)}) == 1


def test_true_positives_at_1_percent_counted_by_hand():
    """Of 200 non-members two may be called members: 9 and 8, but not 7. Of ten members four lie above 7."""
    others = [9.0, 8.0, 7.0] + [0.0] * 197
    members = [10.0, 8.5, 7.5, 7.2, 6.9, 6.0, 5.0, 4.0, 3.0, 2.0]
    attack = lira_offline_attack(
        *margins(members), *margins(others), around([0.0] * len(members)), around([0.0] * len(others))
    )
    assert attack.tpr_at_1_percent_fpr == pytest.approx(0.4)


def test_true_positives_between_ties_are_not_lost():
    """Groups of one non-member and ten members at 5, 4, 3, ...: with 300 non-members three groups fit in 1 %."""
    members = [value for value in (5.0, 4.0, 3.0, 2.0, 1.0) for _ in range(10)]
    others = [5.0, 4.0, 3.0, 2.0, 1.0] + [-1.0] * 295
    attack = lira_offline_attack(*margins(members), *margins(others), around([0.0] * 50), around([0.0] * 300))
    assert attack.tpr_at_1_percent_fpr == pytest.approx(30 / 50)


def test_a_model_like_its_shadows_gives_lira_nothing():
    attack = lira_offline_attack(*margins([1.0] * 20), *margins([1.0] * 30), around([0.5] * 20), around([0.5] * 30))
    assert (attack.auc, attack.tpr_at_1_percent_fpr) == (0.5, 0.0)


def test_lira_is_undefined_where_shadows_or_samples_are_missing():
    side, shadows = margins([1.0, 2.0, 3.0]), around([0.0, 1.0, 2.0])
    empty = (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    same = shadows[:1].repeat(2, 1, 1)
    single = (torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    for inside, outside, inside_shadows, outside_shadows, reason in (
        (side, side, shadows[:1], shadows[:1], "at least 2 shadow models .* there are 1"),
        (side, side, shadows[:0], shadows[:0], "there are 0"),
        (side, side, same, same, "agree exactly"),
        (empty, side, shadows[:, :0], shadows, "there are no forget-class logits"),
        (side, side, shadows, shadows.clone().fill_(torch.nan), "shadow models' logits are NaN"),
        ((side[0] * torch.inf, side[1]), side, shadows, shadows, "NaN or infinite"),
        (single, single, torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), "single class"),
    ):
        with pytest.raises(MetricUnavailable, match=reason):
            lira_offline_attack(*inside, *outside, inside_shadows, outside_shadows)


def test_shadow_logits_of_another_shape_are_a_mistake_of_the_caller():
    side, shadows = margins([1.0, 2.0, 3.0]), around([0.0, 1.0, 2.0])
    for other in (shadows[:, :2], torch.cat([shadows, shadows]), shadows[0]):
        with pytest.raises(ValueError, match=re.escape("(2, 3, 2) was expected")):
            lira_offline_attack(*side, *side, shadows, other)
