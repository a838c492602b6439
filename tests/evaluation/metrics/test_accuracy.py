"""Accuracy by hand, by brute force, and weighted by samples."""

import pytest
import torch

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.accuracy import (
    accuracy,
    per_class_accuracies,
    retain_forget_accuracies,
    share_answered_with,
)


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        ([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 2.0]], [0, 1, 1, 0], 0.5),
        ([[0.1, 0.2, 0.3]], [2], 1.0),
        ([[0.1, 0.2, 0.3]], [0], 0.0),
        # Logits, not probabilities: negative and large ones count as they are.
        ([[-9.0, -1.0, -5.0], [1e4, -1e4, 0.0], [-3.0, -2.0, -1.0]], [1, 0, 0], 2 / 3),
    ],
)
def test_accuracy_counted_by_hand(logits: list[list[float]], labels: list[int], expected: float):
    assert accuracy(torch.tensor(logits), torch.tensor(labels)) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_accuracy_agrees_with_a_plain_loop(classes: int):
    draws = torch.Generator().manual_seed(classes)
    logits = torch.randn(333, classes, generator=draws)
    labels = torch.randint(0, classes, (333,), generator=draws)
    hits = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        hits += max(range(classes), key=row.__getitem__) == label
    assert accuracy(logits, labels) == pytest.approx(hits / 333, abs=1e-6)


def test_samples_weigh_the_same_where_batches_would_not():
    """Four right in a batch of four, none right in a batch of one: 4/5, where the mean of batches says 1/2."""
    labels = torch.tensor([0, 0, 0, 0, 1])
    logits = torch.tensor([[1.0, 0.0]] * 5)
    mean_of_batches = sum(accuracy(logits[part], labels[part]) for part in (slice(0, 4), slice(4, 5))) / 2
    assert mean_of_batches == pytest.approx(0.5)
    assert accuracy(logits, labels) == pytest.approx(0.8)


def test_classes_weigh_by_their_samples():
    labels = torch.tensor([0] * 9 + [1])
    assert accuracy(torch.tensor([[1.0, 0.0]] * 10), labels) == pytest.approx(0.9)


def test_no_sample_has_no_accuracy():
    with pytest.raises(ValueError, match="no samples"):
        accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_retain_and_forget_accuracies_read_their_own_split_and_samples():
    # Every image is called class 0: right in train for 0 and 2, in test for 1 alone.
    logits = {"train": torch.tensor([[1.0, 0.0]] * 4), "test": torch.tensor([[1.0, 0.0]] * 3)}
    labels = {"train": torch.tensor([0, 1, 0, 1]), "test": torch.tensor([1, 0, 1])}
    indices = {
        "retain_train": torch.tensor([0, 1, 2]),
        "forget_train": torch.tensor([3]),
        "retain_test": torch.tensor([0, 1]),
        "forget_test": torch.tensor([2]),
    }
    found = retain_forget_accuracies(logits, labels, indices, prefix="original_")
    assert found == pytest.approx(
        {
            "original_acc_retain_train": 2 / 3,
            "original_acc_forget_train": 0.0,
            "original_acc_retain_test": 0.5,
            "original_acc_forget_test": 0.0,
        }
    )
    assert set(retain_forget_accuracies(logits, labels, indices)) == {f"acc_{name}" for name in indices}


def test_another_forgotten_class_counts_as_an_answer_with_a_forgotten_class():
    """Samples of the forgotten classes 0 and 1, called 1, 0, 2 and 1: A_Df is 1/4, any forget class 3/4."""
    logits = torch.eye(3)[[1, 0, 2, 1]]
    labels = torch.tensor([0, 1, 0, 1])
    assert accuracy(logits, labels) == 0.25
    assert share_answered_with(logits, (0, 1)) == 0.75
    assert share_answered_with(logits, (0,)) == 0.25
    assert share_answered_with(logits, ()) == 0.0


@pytest.mark.parametrize("logits", [torch.zeros(0, 3), torch.tensor([[float("nan"), 0.0]])])
def test_no_answers_give_no_share(logits: torch.Tensor):
    with pytest.raises(MetricUnavailable):
        share_answered_with(logits, (0,))


def test_accuracies_by_class_are_those_of_a_loop_over_classes() -> None:
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (500,), generator=draws)
    labels[labels == 4] = 5
    logits = torch.randn(500, 7, generator=draws)
    expected = []
    for label in range(7):
        answers = [logits[i].argmax().item() == label for i in range(500) if labels[i] == label]
        expected.append(sum(answers) / len(answers) if answers else None)
    assert per_class_accuracies(logits, labels, 7) == expected
    assert expected[4] is expected[6] is None
