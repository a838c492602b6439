"""The metric on values worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from my_unlearning.forget_confidence import forget_confidence

from unsir_bench import MetricUnavailable


def inputs(logits: list[list[float]], labels: list[int]) -> Any:
    """What a metric reads, of a model that says these logits of the forget test samples and nothing else."""
    given = {"forget_test": (torch.tensor(logits), torch.tensor(labels, dtype=torch.int64))}
    return SimpleNamespace(logits=lambda part: given[part][0], labels=lambda part: given[part][1])


def test_it_is_the_mean_probability_of_the_true_class() -> None:
    third, two_thirds = [0.0, math.log(2)], [math.log(2), 0.0]
    assert forget_confidence(inputs([third, two_thirds, two_thirds], [0, 0, 1])) == pytest.approx((1 + 2 + 1) / 9)


def test_without_forget_samples_it_is_undefined() -> None:
    with pytest.raises(MetricUnavailable, match="no forget sample"):
        forget_confidence(inputs([], []))
