"""Forgetting quality of the 2023 competition: how well single forget samples tell unlearned from retrained models."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from unsir_bench.errors import MetricUnavailable

LEAST_MODELS = 3  # of either kind: one is left out, and a spread needs two
# Of the competition's evaluation code.
DELTA = 1e-5
LARGEST_EPSILON = 50.0
PEAKY = 0.01
BIN = 0.5
EQUAL_BANKS = "two equal banks'"  # what `equal_banks` gives at the bank's size
SIMULATED_SAMPLES = 1000

Array = npt.NDArray[np.float64]


def forgetting_epsilons(unlearned: Array, retrained: Array) -> Array:
    """For each forget sample, the ε by which its confidences tell unlearned from retrained models.

    The attacks are all single thresholds and all intervals between observed confidences (the published code tries a
    grid of them). Of an attack's error rates ε = max(log((1 - δ - FPR) / FNR), log((1 - δ - FNR) / FPR)), at least 0,
    with δ = 1e-5; infinite where both are 0, ignored where one is, as a sign of too few models. The largest counts, at
    most 50, which also stands for confidences of one kind spread less than 1 % of the other's.

    Args:
        unlearned: log(p / (1 - p)) of the true class, (models, samples), finite.
        retrained: the same of as many retrained models.

    Returns:
        (samples,), in [0, 50].

    Raises:
        MetricUnavailable: fewer than 3 models of either kind.

    Source:
        Triantafillou et al. 2024, "Are we making progress in unlearning? Findings from the first NeurIPS unlearning
        competition", arXiv 2406.09073, and its evaluation code.
    """
    check_banks(unlearned, retrained)
    pairs = zip(unlearned.T, retrained.T, strict=True)
    return np.array([_epsilon(np.sort(inside), np.sort(outside)) for inside, outside in pairs])


def _epsilon(inside: Array, outside: Array) -> float:
    widths = [np.ptp(inside), np.ptp(outside)]
    if max(widths) == 0:
        return LARGEST_EPSILON if inside[0] != outside[0] else 0.0
    if min(widths) / max(widths) < PEAKY:
        return LARGEST_EPSILON
    # Counts of either kind up to each observed confidence; an interval's are differences of two of them.
    ends = np.unique(np.concatenate([inside, outside]))
    ranks = [np.concatenate([[0], np.searchsorted(side, ends, side="right")]) / len(side) for side in (inside, outside)]
    low, high = np.triu_indices(len(ends) + 1, k=1)
    caught, wrongly = (rank[high] - rank[low] for rank in ranks)
    # What lies within is called unlearned, or it is called retrained.
    epsilons = np.concatenate([_of_rates(wrongly, 1 - caught), _of_rates(caught, 1 - wrongly)])
    return float(np.clip(np.nanmax(np.append(epsilons, 0.0)), 0, LARGEST_EPSILON))


def _of_rates(false_positive: Array, false_negative: Array) -> Array:
    """ε of attacks with these error rates; NaN where exactly one rate is 0."""
    false_positive, false_negative = np.round(false_positive, 12), np.round(false_negative, 12)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.fmax(
            np.log(1 - DELTA - false_positive) - np.log(false_negative),
            np.log(1 - DELTA - false_negative) - np.log(false_positive),
        )
    found[(false_positive == 0) ^ (false_negative == 0)] = np.nan
    found[(false_positive == 0) & (false_negative == 0)] = np.inf
    return found


def forgetting_quality(epsilons: Array, models: int) -> float:
    """Mean over forget samples of the competition's points: 1 for ε below ½, half as many for each further ½.

    Args:
        epsilons: ``forgetting_epsilons``.
        models: of either kind; ε beyond what so few can show, ceil(log(models - 1)), earns nothing.

    Returns:
        In [0, 1]; 1 is the best, which equal models do not reach with few of them (``equal_banks``).
    """
    bins = np.floor(epsilons / BIN)
    counted = np.floor(math.ceil(math.log(models - 1)) / BIN)
    return float(np.where(bins < counted, 0.5**bins, 0.0).mean())


@cache
def equal_banks(models: int) -> dict[str, float]:
    """Median ε and forgetting quality of two banks of equally distributed models, simulated once with a fixed seed.

    An ε is the largest over many attacks on few models, so that chance alone makes it large: of an ε no larger than
    this nothing follows. Confidences are drawn from N(0, 1); the attacks see their order alone, but for the rule of
    narrow spreads, so that any continuous distribution gives much the same.

    Args:
        models: of either kind, at least 3.

    Returns:
        ``epsilon`` and ``quality``, over 1,000 independent samples.
    """
    unlearned, retrained = np.random.default_rng(0).standard_normal((2, models, SIMULATED_SAMPLES))
    epsilons = forgetting_epsilons(unlearned, retrained)
    return {"epsilon": float(np.median(epsilons)), "quality": forgetting_quality(epsilons, models)}


def check_banks(unlearned: Array, retrained: Array) -> None:
    """Raise ``ValueError`` where shapes differ, ``MetricUnavailable`` for too few models of either kind."""
    if unlearned.shape != retrained.shape:
        raise ValueError(f"the two kinds of models have shapes {unlearned.shape} and {retrained.shape}")
    if len(unlearned) < LEAST_MODELS:
        raise MetricUnavailable(f"needs at least {LEAST_MODELS} models of either kind; there are {len(unlearned)}")
