"""The anamnesis index and what of a relearning is recorded, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.relearn_time import anamnesis, anamnesis_index, relearn_time
from unsir_bench.evaluation.relearning import RelearnTime


def test_the_anamnesis_index_is_a_ratio() -> None:
    assert anamnesis_index(15, 60) == 0.25
    assert anamnesis_index(60, 15) == 4
    assert anamnesis_index(0, 15) == 0


@pytest.mark.parametrize(
    ("own", "retrain", "reason"),
    [(None, 5, "the unlearned model"), (5, None, "the retrained model did not"), (5, 0, "before"), (0, 0, "before")],
)
def test_the_anamnesis_index_needs_two_times(own: int | None, retrain: int | None, reason: str) -> None:
    with pytest.raises(MetricUnavailable, match=reason):
        anamnesis_index(own, retrain)


def of_values(**values: int | None) -> Any:
    return SimpleNamespace(labels=lambda part: torch.tensor([0]), values=values)


def test_a_records_index_is_its_own_time_over_retrains() -> None:
    values = {"relearn_batches": 15, "original_relearn_batches": 5, "retrain_relearn_batches": 60}
    assert anamnesis(of_values(**values, relearn_censored=0, retrain_relearn_censored=0)) == 0.25


def test_a_relearning_that_was_not_measured_is_no_censored_one() -> None:
    """It diverged, or the original knew nothing: all its fields are null."""
    diverged = of_values(relearn_batches=None, relearn_censored=None, retrain_relearn_batches=60)
    with pytest.raises(MetricUnavailable, match="needs relearn_censored, retrain_relearn_censored"):
        anamnesis(diverged)
    censored = of_values(relearn_batches=None, relearn_censored=1, retrain_relearn_censored=0)
    with pytest.raises(MetricUnavailable, match="before the cap"):
        anamnesis(censored)


@pytest.mark.parametrize(
    ("batches", "epochs", "censored"), [(4, 0.5, 0), (0, 0.0, 0), (None, None, 1)], ids=["later", "at once", "never"]
)
def test_a_relearning_is_recorded_with_its_curve(batches: int | None, epochs: float | None, censored: int) -> None:
    inputs: Any = SimpleNamespace(relearning=RelearnTime(batches, epochs, 8, [(0, 0.25), (4, 1.0)]))
    assert relearn_time(inputs) == {
        "relearn_batches": batches, "relearn_epochs": epochs, "relearn_censored": censored,
        "relearn_curve": [[0, 0.25], [4, 1.0]],
    }  # fmt: skip
