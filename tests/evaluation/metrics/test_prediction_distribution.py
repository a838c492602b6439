"""What forgotten samples are called: counted by hand, by a plain loop, and compared with scipy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.prediction_distribution import (
    forget_predictions,
    largest_share,
    normalised_entropy,
    prediction_distribution,
    total_variation,
)


def random_shares(classes: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(classes, 0.5)))


def test_shares_counted_by_hand_ignore_the_forget_class():
    # Class 1 is forgotten and has the largest logit wherever it can: among 0, 2 and 3 the answers are 2, 2, 0, 3.
    logits = torch.tensor([[1.0, 9.0, 2.0, 0.0], [-5.0, 9.0, -1.0, -2.0], [3.0, 9.0, 2.9, 0.0], [0.0, 0.0, 0.0, 1e-3]])
    shares = prediction_distribution(logits, [0, 2, 3])
    assert shares.tolist() == [0.25, 0.5, 0.25]


def test_shares_stand_in_the_order_asked_for():
    logits = torch.tensor([[1.0, 9.0, 2.0], [1.0, 9.0, 2.0], [3.0, 9.0, 2.0]])
    assert prediction_distribution(logits, [2, 0]).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_classes_that_are_never_predicted_have_share_0():
    assert prediction_distribution(torch.tensor([[0.0, 9.0, 2.0, 1.0]]), [0, 2, 3]).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_shares_agree_with_a_plain_loop(classes: int):
    logits = torch.randn(777, classes, generator=torch.Generator().manual_seed(classes))
    retain = [label for label in range(classes) if label % 3]
    counts = dict.fromkeys(retain, 0)
    for row in logits.tolist():
        counts[max(retain, key=row.__getitem__)] += 1
    shares = prediction_distribution(logits, retain)
    assert shares.shape == (len(retain),)
    assert shares.tolist() == pytest.approx([counts[label] / 777 for label in retain], abs=1e-15)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-12)


def test_shares_do_not_depend_on_the_samples_order_or_on_what_is_added_to_a_row():
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 10, generator=draws)
    shares = prediction_distribution(logits, range(1, 10))
    moved = logits[torch.randperm(200, generator=draws)] + 3.0
    assert torch.equal(prediction_distribution(moved, range(1, 10)), shares)


@pytest.mark.parametrize("masked", [-1e4, -math.inf, math.nan])
def test_logits_of_forget_classes_are_not_read(masked: float):
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    shares = prediction_distribution(logits, [0, 1, 3])
    logits[:, 2] = masked
    assert torch.equal(prediction_distribution(logits, [0, 1, 3]), shares)


def test_ties_go_to_the_class_listed_first():
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    assert prediction_distribution(logits, [0, 1, 2]).tolist() == [0.5, 0.0, 0.5]
    assert prediction_distribution(logits, [1, 0, 2]).tolist() == [0.5, 0.0, 0.5]


def test_a_single_retain_class_gets_everything():
    assert prediction_distribution(torch.zeros(3, 2), [1]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("logits", "retain", "reason"),
    [
        (torch.zeros(0, 3), [0, 1], "there are no logits of forget-class samples"),
        (torch.tensor([[0.0, math.nan, 1.0]]), [0, 1], "NaN or infinite"),
        (torch.tensor([[0.0, -math.inf, 1.0]]), [0, 1], "NaN or infinite"),
        # Rows differ from each other, and the forget class from both, yet no retain class stands out anywhere.
        (torch.tensor([[0.0, 0.0, 1.0], [2.0, 2.0, 0.0]]), [0, 1], "none is predicted"),
        (torch.zeros(2, 3), [], "no retain classes"),
    ],
)
def test_shares_are_unavailable_where_nothing_is_predicted(logits: Tensor, retain: list[int], reason: str):
    with pytest.raises(MetricUnavailable, match=reason):
        prediction_distribution(logits, retain)


@pytest.mark.parametrize("retain", [[0, 3], [-1, 0], [1, 1]])
def test_retain_classes_must_be_columns(retain: list[int]):
    with pytest.raises(ValueError, match="distinct columns of 3"):
        prediction_distribution(torch.eye(3), retain)


@pytest.mark.parametrize("classes", [2, 9, 100, 1000])
def test_a_uniform_distribution_has_entropy_1_and_one_class_entropy_0(classes: int):
    uniform = normalised_entropy(torch.full((classes,), 1 / classes))
    assert uniform == pytest.approx(1, abs=1e-6)
    assert uniform <= 1
    assert normalised_entropy(torch.eye(classes)[0]) == 0


@pytest.mark.parametrize("classes", [2, 9, 99])
def test_entropy_agrees_with_scipy(classes: int):
    shares = random_shares(classes, seed=classes)
    assert normalised_entropy(shares) == pytest.approx(entropy(shares.numpy(), base=classes), rel=1e-9)


def test_entropy_computed_by_hand():
    # Four classes, one never named: (1/2 · 1 bit + 2 · 1/4 · 2 bits) / 2 bits.
    assert normalised_entropy(torch.tensor([0.5, 0.25, 0.0, 0.25])) == pytest.approx(0.75)


def test_a_single_class_has_no_entropy():
    with pytest.raises(MetricUnavailable, match="single retain class"):
        normalised_entropy(torch.tensor([1.0]))


def test_a_single_retain_class_leaves_the_entropy_alone_undefined():
    def logits(part):
        return torch.tensor([[2.0, 1.0], [0.0, 1.0]])

    run = SimpleNamespace(retrained=object())
    inputs = SimpleNamespace(logits=logits, retrain_logits=logits, retain_classes=(1,), run=run)
    assert forget_predictions(inputs) == {
        "forget_prediction_entropy": None, "forget_prediction_largest_share": 1.0, "forget_prediction_tv_to_retrain": 0,
    }  # fmt: skip


def test_largest_share_by_hand():
    assert largest_share(torch.tensor([0.2, 0.5, 0.3])) == pytest.approx(0.5)
    assert largest_share(torch.tensor([1.0])) == 1


def test_total_variation_computed_by_hand():
    assert total_variation(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])) == pytest.approx(0.5)
    assert total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == 1
    assert total_variation(torch.tensor([0.3, 0.7]), torch.tensor([0.3, 0.7])) == 0


def test_total_variation_is_the_largest_difference_over_all_events():
    """Its definition, max over sets of classes of |P(set) - Q(set)|, by all 2^8 sets."""
    p, q = random_shares(8, seed=1), random_shares(8, seed=2)
    sets = [[bool(code >> label & 1) for label in range(8)] for code in range(256)]
    largest = max(abs(float((p - q)[chosen].sum())) for chosen in sets)
    assert total_variation(p, q) == pytest.approx(largest, rel=1e-9)
    assert total_variation(q, p) == total_variation(p, q)


@pytest.mark.parametrize("bad", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1.0], [math.inf, 1.0], [[0.5, 0.5]], []], ids=str)
def test_what_is_no_distribution_is_refused(bad: list[float]):
    shares, good = torch.tensor(bad), torch.tensor([0.5, 0.5])
    for attempt in (
        lambda: normalised_entropy(shares),
        lambda: largest_share(shares),
        lambda: total_variation(shares, good),
        lambda: total_variation(good, shares),
    ):
        with pytest.raises(ValueError, match="add up to 1"):
            attempt()


def test_distributions_over_different_classes_are_not_compared():
    # One class against two would broadcast.
    with pytest.raises(ValueError, match="1 and over 2 classes"):
        total_variation(torch.tensor([1.0]), torch.tensor([0.5, 0.5]))
