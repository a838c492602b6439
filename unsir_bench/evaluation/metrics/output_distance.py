"""How far a network's softmax outputs lie from another's on the same samples.

Against the retrained model: Jensen-Shannon divergence and activation distance. Against a random network: ZRF, the zero
retrain forgetting metric of Bad Teacher (Chundawat et al., AAAI 2023). All compute in float64 from logits, so that
probabilities too small for a float32, such as those of masked classes, stay finite in the logarithm.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric


def js_divergence(logits: Tensor, other_logits: Tensor) -> float:
    """Mean over samples of JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m), m = (p + q) / 2, to the base 2 (Lin 1991).

    Args:
        logits: (samples, classes); p is their softmax.
        other_logits: the other network's on the same samples, for instance the retrained model's; q is their softmax.

    Returns:
        In bits, in [0, 1]: 0 if all outputs agree, 1 if no class is likely to both; symmetric; ideal against the
        retrained model: 0.

    Raises:
        ValueError: the shapes differ.
        MetricUnavailable: there is no sample, or a logit is NaN or infinite.
    """
    from scipy.special import rel_entr

    log_p, log_q = _log_softmax(logits, other_logits)
    p, q = log_p.exp().numpy(), log_q.exp().numpy()
    m = np.maximum((p + q) / 2, np.finfo(float).tiny)  # the mean of two of the smallest numbers rounds to 0
    bits = (rel_entr(p, m) + rel_entr(q, m)).sum(axis=1) / (2 * math.log(2))
    # Rounding may pass either end by a few 1e-16.
    return float(bits.clip(0, 1).mean())


def activation_distances(logits: Tensor, other_logits: Tensor) -> tuple[float, float]:
    """Means over samples of ‖p - q‖₁ and of ‖p - q‖₂, p and q being softmax outputs.

    Papers print either under the name of activation distance: Golatkar et al. (2020, 2021) the first, Bad Teacher
    (Chundawat et al., AAAI 2023) the second.

    Args:
        logits: (samples, classes).
        other_logits: the other network's on the same samples, for instance the retrained model's.

    Returns:
        L1, in [0, 2], twice the mean total variation distance; and L2, in [0, √2]. Both without unit; ideal against the
        retrained model: 0.

    Raises:
        ValueError: the shapes differ.
        MetricUnavailable: there is no sample, or a logit is NaN or infinite.
    """
    log_p, log_q = _log_softmax(logits, other_logits)
    gap = log_p.exp() - log_q.exp()
    first, second = (torch.linalg.vector_norm(gap, ord=order, dim=1).mean() for order in (1, 2))
    return float(first), float(second)


def zrf(logits: Tensor, random_logits: Tensor) -> float:
    """ZRF = 1 - mean JS(p, q) in bits, q being the outputs of a randomly initialised network (Chundawat et al. 2023).

    Args:
        logits: (samples, classes), of the forget samples.
        random_logits: the random network's on the same samples.

    Returns:
        In [0, 1]: 1 if the model answers as the random network does; ideal: the retrained model's, which need not be
        near 1.

    Raises:
        ValueError: the shapes differ.
        MetricUnavailable: there is no sample, or a logit is NaN or infinite.
    """
    return 1 - js_divergence(logits, random_logits)


def zrf_legacy(logits: Tensor, random_logits: Tensor) -> float:
    """ZRF as public code computes it, for comparison with published numbers; ``zrf`` is what the paper defines.

    1 - (½ KL(m ‖ p) + ½ KL(m ‖ q)) / classes, in nats, averaged over samples: the code of Bad Teacher calls
    ``F.kl_div(log p, m)``, whose arguments stand the other way round, and whose default reduction averages over classes
    where a divergence sums. Equal to the public code but for its rounding, and where a softmax output underflows
    float32 (a logit about 100 or more below the largest): that code then returns -inf or NaN, this the formula's finite
    value, which may lie far below 0.

    Args:
        logits: (samples, classes), of the forget samples.
        random_logits: the random network's on the same samples.

    Returns:
        At most 1, without lower bound; near 1 for any moderate outputs, as the division by the classes hides the rest;
        ideal: the retrained model's.

    Raises:
        ValueError: the shapes differ.
        MetricUnavailable: there is no sample, or a logit is NaN or infinite.
    """
    log_p, log_q = _log_softmax(logits, random_logits)
    # log((p + q) / 2), finite even where both underflow.
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    # The mean of the elements by hand: asked for it, F.kl_div warns that this is no divergence, as said above.
    return 1 - float((_divergence(log_m, log_p) + _divergence(log_m, log_q)).mean()) / 2


def _log_softmax(logits: Tensor, other_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64 (samples, classes) and finite, after the checks that every metric here makes."""
    if logits.dim() != 2 or logits.shape != other_logits.shape:
        raise ValueError(
            f"both logits must be (samples, classes), not {tuple(logits.shape)} and {tuple(other_logits.shape)}"
        )
    require_finite("logits", logits, other_logits)
    return torch.log_softmax(logits.double(), dim=1), torch.log_softmax(other_logits.double(), dim=1)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The terms p · (log p - log q) of KL(p ‖ q), unsummed; torch takes the second distribution first."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True)


def _cards(kind: str) -> list[MetricCard]:
    floor = "0, the floor's"
    return [
        MetricCard(f"js_to_retrain_{kind}", f"JS, {kind}", "Lin 1991", floor, scale=1.0),
        MetricCard(
            f"activation_l1_to_retrain_{kind}", f"L1, {kind}", "Golatkar et al. 2020", floor, (0, 2), scale=1.0
        ),
        MetricCard(
            f"activation_l2_to_retrain_{kind}", f"L2, {kind}", "Chundawat et al. 2023", floor, (0, 2**0.5), scale=1.0
        ),
    ]  # fmt: skip


@metric(*_cards("forget"), when="outputs", relative_to="retrain", group="output distance")
def distance_on_forget_samples(inputs: MetricInputs) -> Scores:
    """Distances of the softmax outputs from retrain's on the forget test samples."""
    return _distances(inputs, "forget")


@metric(*_cards("retain"), when="outputs", relative_to="retrain", group="output distance")
def distance_on_retain_samples(inputs: MetricInputs) -> Scores:
    """Distances of the softmax outputs from retrain's on the retain test samples."""
    return _distances(inputs, "retain")


def _distances(inputs: MetricInputs, kind: str) -> Scores:
    own, theirs = inputs.logits(f"{kind}_test"), inputs.retrain_logits(f"{kind}_test")
    distances = (js_divergence(own, theirs), *activation_distances(own, theirs))
    return {card.field: distance for card, distance in zip(_cards(kind), distances, strict=True)}


@metric(
    MetricCard("zrf", "ZRF", "Chundawat et al. 2023", compared=True, minimum_margin=0.01, scale=1.0),
    MetricCard("zrf_legacy", "ZRF (public code)", "code of Bad Teacher", range=(-math.inf, 1), scale=1.0),
    when="outputs",
    group="zrf",
)
def zero_retrain_forgetting(inputs: MetricInputs) -> Scores:
    """ZRF on the forget test samples, as defined and as public code computes it."""
    own, random = inputs.logits("forget_test"), inputs.run.random_logits
    return {"zrf": zrf(own, random), "zrf_legacy": zrf_legacy(own, random)}
