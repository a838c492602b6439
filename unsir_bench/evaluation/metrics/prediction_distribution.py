"""What a network calls the forgotten samples when it may only name retain classes.

A retrained network spreads them over the classes that look alike; one that sends them all to a single class betrays
what was forgotten (the Streisand effect). The UNSIR paper (Tarun et al., TNNLS 2023) plots these shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric


def prediction_distribution(logits: Tensor, retain_classes: Sequence[int]) -> Tensor:
    """Share of each retain class among the predictions: share_c = mean over samples of [argmax over R of logits = c].

    The logits of the forget classes are not read: a network that still knows them is asked for its next best answer.
    Of equal largest logits the class listed first is predicted.

    Args:
        logits: float32 (samples, classes), of the forget-class test samples.
        retain_classes: R, columns of ``logits``.

    Returns:
        float64 (retain classes,) in the order of ``retain_classes``, each in [0, 1], sum 1; ideal: the retrained
        model's, see ``total_variation``.

    Raises:
        ValueError: a retain class is no column, or is listed twice.
        MetricUnavailable: there is no sample or no retain class, a logit read is NaN or infinite, or several retain
            classes have equal logits throughout, so that none is predicted.
    """
    classes = list(retain_classes)
    if len(set(classes)) != len(classes) or any(not 0 <= label < logits.shape[1] for label in classes):
        raise ValueError(f"retain classes must be distinct columns of {logits.shape[1]}, not {classes}")
    if not classes:
        raise MetricUnavailable("there are no retain classes to predict")
    retained = logits[:, classes]
    require_finite("logits of forget-class samples", retained)
    if len(classes) > 1 and bool((retained == retained[:, :1]).all()):
        raise MetricUnavailable("the logits of all retain classes are equal on every sample, so none is predicted")
    counts = torch.bincount(retained.argmax(dim=1), minlength=len(classes))
    return counts.double() / len(logits)


def normalised_entropy(shares: Tensor) -> float:
    """-Σ share · log(share) / log(number of classes), with 0 · log 0 = 0.

    Args:
        shares: (classes,), at least 0, sum 1.

    Returns:
        In [0, 1]: 1 if uniform, 0 if one class gets everything; ideal: the retrained model's.

    Raises:
        ValueError: ``shares`` is no distribution.
        MetricUnavailable: there is one class only.
    """
    shares = _distribution(shares)
    if len(shares) == 1:
        raise MetricUnavailable("the entropy of predictions over a single retain class is not defined")
    # Rounding may pass 1 by a few 1e-16.
    return min(1.0, float(torch.special.entr(shares).sum()) / math.log(len(shares)))


def largest_share(shares: Tensor) -> float:
    """The share of the class predicted most often.

    Args:
        shares: (classes,), at least 0, sum 1.

    Returns:
        In [1 / classes, 1]: 1 if all samples go to one class; ideal: the retrained model's.

    Raises:
        ValueError: ``shares`` is no distribution.
    """
    return float(_distribution(shares).max())


def total_variation(shares: Tensor, other: Tensor) -> float:
    """½ Σ |share - other share|: the share of predictions that would have to change for the two to be equal.

    Args:
        shares: (classes,), at least 0, sum 1.
        other: of the same classes in the same order, for instance the retrained model's.

    Returns:
        In [0, 1], without unit; ideal 0.

    Raises:
        ValueError: one of the two is no distribution, or they have different numbers of classes.
    """
    shares, other = _distribution(shares), _distribution(other)
    if len(shares) != len(other):
        raise ValueError(f"distributions over {len(shares)} and over {len(other)} classes cannot be compared")
    return min(1.0, float((shares - other).abs().sum()) / 2)


def _distribution(shares: Tensor) -> Tensor:
    """``shares`` in float64; ``ValueError`` if they are no distribution."""
    shares = shares.double()
    # 1e-5: float32 shares of many classes may add up to 1 no better. NaN fails both comparisons.
    if shares.dim() != 1 or not bool((shares >= 0).all()) or not abs(float(shares.sum()) - 1) <= 1e-5:
        raise ValueError(f"shares must be one-dimensional, at least 0 and add up to 1, not {shares.tolist()}")
    return shares


@metric(when="outputs", group="prediction distribution")
def forget_prediction_shares(inputs: MetricInputs) -> Scores:
    """The shares themselves, a detail."""
    shares = prediction_distribution(inputs.logits("forget_test"), inputs.retain_classes)
    return {"forget_predictions": shares.tolist()}


@metric(
    MetricCard(
        "forget_prediction_entropy", "entropy", "UNSIR", compared=True, minimum_margin=0.02, scale=1.0,
        why_null="the entropy of predictions over a single retain class is not defined",
    ),
    MetricCard("forget_prediction_largest_share", "largest share %", "UNSIR"),
    MetricCard("forget_prediction_tv_to_retrain", "TV to retrain %", "defined here", "0, the floor's"),
    when="outputs",
    group="prediction distribution",
)  # fmt: skip
def forget_predictions(inputs: MetricInputs) -> Scores:
    """How the shares are spread, and how far they lie from retrain's."""
    shares = prediction_distribution(inputs.logits("forget_test"), inputs.retain_classes)
    scores = {
        "forget_prediction_entropy": normalised_entropy(shares) if len(shares) > 1 else None,
        "forget_prediction_largest_share": largest_share(shares),
    }
    if inputs.run.retrained is not None:
        theirs = prediction_distribution(inputs.retrain_logits("forget_test"), inputs.retain_classes)
        scores["forget_prediction_tv_to_retrain"] = total_variation(shares, theirs)
    return scores
