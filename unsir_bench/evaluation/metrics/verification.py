"""Verification: do the features still match photos of a forgotten identity, whatever the head answers?

Face systems compare features of two photos and have no class for a person. A photo of the test split is compared with
the photos of the training split, as a visitor is with those who are enrolled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite, whole_classes
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric
from unsir_bench.runtime.seeding import generator

FALSE_MATCH_RATE = 0.01
MOST_PER_SIDE = 2000

Array = npt.NDArray[np.float64]


class Pairs(NamedTuple):
    """Compared pairs of photos.

    Attributes:
        similarity: cosine of the two features, float64 (pairs,).
        genuine: whether both photos are of one identity, bool (pairs,).
    """

    similarity: Array
    genuine: npt.NDArray[np.bool_]


def compared(probes: Tensor, probe_labels: Tensor, enrolled: Tensor, enrolled_labels: Tensor) -> Pairs:
    """Each probe with each enrolled photo.

    Args:
        probes: features (photos, dimensions); those that are all zero have cosine 0 with everything.
        probe_labels: int64 (photos,).
        enrolled: features (other photos, dimensions).
        enrolled_labels: int64 (other photos,).

    Raises:
        MetricUnavailable: no pair is of one identity, or none is of two; NaN or infinite features.
    """
    from sklearn.metrics.pairwise import cosine_similarity

    require_finite("features", probes, enrolled)
    genuine = (probe_labels[:, None] == enrolled_labels[None, :]).flatten().numpy()
    if not genuine.any() or genuine.all():
        raise MetricUnavailable("verification needs pairs of one identity and pairs of two")
    similarity = cosine_similarity(probes.double().numpy(), enrolled.double().numpy())
    return Pairs(similarity.ravel(), genuine)


def equal_error_rate(pairs: Pairs) -> float:
    """The error rate at the threshold where as large a share of genuine pairs is refused as of the others is matched.

    Between two thresholds the rates are joined by a line.

    Returns:
        In [0, 1]: 0 where a threshold separates the pairs, 0.5 by chance.

    Source:
        ISO/IEC 19795-1, "Biometric performance testing and reporting".
    """
    from sklearn.metrics import roc_curve

    false_matches, matches, _ = roc_curve(pairs.genuine, pairs.similarity, drop_intermediate=False)
    return float(np.interp(0.0, false_matches - (1 - matches), false_matches))


def match_threshold(pairs: Pairs, false_match_rate: float = FALSE_MATCH_RATE) -> float:
    """The lowest similarity above which at most this share of the pairs of two identities lies."""
    return float(np.quantile(pairs.similarity[~pairs.genuine], 1 - false_match_rate, method="inverted_cdf"))


@metric(
    MetricCard("verification_eer_forget", "EER of forgotten %", "ISO/IEC 19795-1", compared=True, minimum_margin=0.02),
    MetricCard("verification_eer_retain", "EER of the rest %", "ISO/IEC 19795-1", compared=True),
    MetricCard(
        "verification_match_forget", "forgotten still matched %", "defined here", compared=True, minimum_margin=0.03
    ),
    when="verification",
)
def verification(inputs: MetricInputs) -> Scores:
    """Equal-error rates, and the share of genuine pairs of forgotten identities that are matched.

    The last is at the threshold that a system of the retained identities would have: one in a hundred of their pairs of
    two identities is matched. Details: ``verification``, the numbers of photos and of their pairs.
    """
    whole_classes(inputs, "verification compares photos of one identity")
    (forgotten, counts), (rest, counts_of_rest) = _pairs(inputs, "forget"), _pairs(inputs, "retain")
    matched = forgotten.similarity[forgotten.genuine] > match_threshold(rest)
    return {
        "verification_eer_forget": equal_error_rate(forgotten),
        "verification_eer_retain": equal_error_rate(rest),
        "verification_match_forget": float(matched.mean()),
        "verification": {"forget": counts, "retain": counts_of_rest},
    }


def _pairs(inputs: MetricInputs, side: str) -> tuple[Pairs, dict[str, int]]:
    """Test photos of a side with training photos, of both sides for forgotten ones, of its own for retained ones.

    Returns:
        The pairs, and how many they are. Pairs of one photo are alike, so the numbers of photos say how much they tell.
    """
    parts = ["retain_train", "forget_train"] if side == "forget" else ["retain_train"]
    probes, probe_labels = _photos(inputs, f"{side}_test")
    features, labels = zip(*(_photos(inputs, part) for part in parts), strict=True)
    enrolled = torch.cat(features)
    pairs = compared(probes, probe_labels, enrolled, torch.cat(labels))
    genuine = int(pairs.genuine.sum())
    kinds = {"genuine": genuine, "impostor": len(pairs.genuine) - genuine}
    return pairs, {"probes": len(probes), "enrolled": len(enrolled), **kinds}


def _photos(inputs: MetricInputs, part: str) -> tuple[Tensor, Tensor]:
    """Features and labels of at most ``MOST_PER_SIDE`` photos, drawn with the run's seed."""
    labels = inputs.labels(part)
    drawn = torch.randperm(len(labels), generator=generator(inputs.seed, "verification", part))[:MOST_PER_SIDE]
    return inputs.run.rows(inputs.features, part)[drawn], labels[drawn]
