"""Relearn time and the anamnesis index; ``evaluation.relearning`` does the training."""

from __future__ import annotations

import math
from typing import Any

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import measured
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric

CENSORED = "the forgotten classes did not come back before the cap"


@metric(
    MetricCard("relearn_batches", "relearn batches", "UNSIR", range=(0, math.inf), scale=1.0, why_null=CENSORED),
    MetricCard("relearn_epochs", "relearn epochs", "UNSIR", range=(0, math.inf), scale=1.0, why_null=CENSORED),
    MetricCard("relearn_censored", "relearn time censored", "defined here", scale=1.0),
    when="relearn",
)
def relearn_time(inputs: MetricInputs) -> Scores:
    """How long the forgotten classes take to come back; null where censored. Details: the curve."""
    result = inputs.relearning
    return {
        "relearn_batches": result.batches,
        "relearn_epochs": result.epochs,
        "relearn_censored": int(result.batches is None),
        "relearn_curve": [list(point) for point in result.curve],
    }


@metric(
    MetricCard("anamnesis_index", "AIN", "Chundawat et al. 2023 (zero-shot)", "1", (0, math.inf), scale=1.0),
    when="relearn",
    relative_to="retrain",
    group="scores",
    summary=True,
)
def anamnesis(inputs: MetricInputs) -> float:
    """Relearn time over retrain's."""
    inputs.labels("forget_test")  # raises where there is nothing to relearn
    measured(inputs, "relearn_censored", "retrain_relearn_censored")  # raises where a relearning could not be measured
    batches: Any = [inputs.values.get(name) for name in ("relearn_batches", "retrain_relearn_batches")]
    return anamnesis_index(*batches)


def anamnesis_index(relearn_batches: int | None, retrain_relearn_batches: int | None) -> float:
    """Relearn time of the unlearned model over that of the retrained one, AIN = RT / RT_retrain (Chundawat et al.).

    Both times are known to the grid of ``metrics.relearn.every`` batches: each true one lies in (value - every, value].

    In [0, ∞); 1 is ideal. Below 1 the unlearned model relearns sooner than one that never saw the classes: something of
    them was left.

    Args:
        relearn_batches: ``RelearnTime.batches`` of the unlearned model.
        retrain_relearn_batches: the same of the retrained model, measured with the same settings.

    Raises:
        MetricUnavailable: either is censored, or the retrained model had nothing to relearn.
    """
    if relearn_batches is None:
        raise MetricUnavailable("the unlearned model did not relearn the forgotten classes before the cap")
    if retrain_relearn_batches is None:
        raise MetricUnavailable("the retrained model did not relearn the forgotten classes before the cap")
    if retrain_relearn_batches == 0:
        raise MetricUnavailable("the retrained model is as accurate on the forgotten classes before it relearns them")
    return relearn_batches / retrain_relearn_batches
