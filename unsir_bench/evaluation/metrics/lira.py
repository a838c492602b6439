"""LiRA, offline: membership inference by how far a model's confidence lies above that of models without the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.metrics.membership import COMPARED, members_and_others, scaled_confidences
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric

POOLED_BELOW = 64
AT_CHANCE = "0.01 to 0.02, by chance"  # with 100 non-members or more
FEW_NONMEMBERS = 100


@dataclass(frozen=True)
class LiraAttack:
    """What the LiRA-style attack achieved.

    Attributes:
        auc: area under the ROC curve of members against non-members, in [0, 1]; ideal 0.5.
        tpr_at_1_percent_fpr: largest share of members found while at most 1 % of the non-members are called members,
            in [0, 1]; ideal: that of an attack that knows nothing, ``chance_of_detection``.
    """

    auc: float
    tpr_at_1_percent_fpr: float


def chance_of_detection(nonmembers: int) -> float:
    """True positive rate at 1 % FPR of an attack that knows nothing, on average: (⌊N / 100⌋ + 1) / (N + 1).

    Scores without ties, of N non-members: a member is as likely to lie in any of the N + 1 gaps between theirs, and is
    found in those above which at most 1 % of them lie.
    """
    return (nonmembers // 100 + 1) / (nonmembers + 1)


def few_nonmembers(attack: str, nonmembers: int) -> dict[str, str]:
    """The detail that warns of a true positive rate at 1 % FPR where fewer than 100 non-members are there."""
    if nonmembers >= FEW_NONMEMBERS:
        return {}
    chance = f"only {nonmembers} non-members: an attack that knows nothing finds {chance_of_detection(nonmembers):.3f}"
    return {f"{attack}_caution": f"{chance} of the members at 1 % false positives on average, not 0.01"}


def lira_offline_attack(
    member_logits: Tensor,
    member_labels: Tensor,
    nonmember_logits: Tensor,
    nonmember_labels: Tensor,
    member_shadow_logits: Tensor,
    nonmember_shadow_logits: Tensor,
) -> LiraAttack:
    """Tell members from non-members by how far the model's confidence lies above that of models without them.

    With phi = log(p_y / (1 - p_y)), p = softmax(z), the score of sample i is (phi_i - mean_k phi_ki) / sd_i over the
    shadow models k. The paper's score, the one-sided Gaussian tail Phi(score), orders samples alike, but ties far out
    where Phi rounds to 1. sd_i is sample i's own with 64 shadow models or more; below, where single samples'
    estimates are too noisy, all share the root of their mean variance (the paper shares the variance of all confidences
    together; no common value changes the order). Variances are unbiased (K - 1).

    Args:
        member_logits: (members, classes), the unlearned model's, of forget-class training samples.
        member_labels: int64 (members,).
        nonmember_logits: (non-members, classes), the unlearned model's, of the same classes' test samples.
        nonmember_labels: int64 (non-members,).
        member_shadow_logits: (K, members, classes), of K >= 2 models that never saw the members or the non-members,
            such as models retrained with other seeds.
        nonmember_shadow_logits: (K, non-members, classes), of the same K models.

    Returns:
        AUC (ideal 0.5) and the true positive rate at a false positive rate of at most 1 % (ideal:
        ``chance_of_detection``).

    Raises:
        MetricUnavailable: no sample on a side; fewer than 2 shadow models; fewer than 2 classes; NaN or infinite
            logits; shadow models that agree exactly.
        ValueError: the shadow models' logits are not of the shapes above.

    Source:
        Carlini et al. 2022, "Membership Inference Attacks From First Principles", offline variant.
    """
    require_finite("forget-class logits", member_logits, nonmember_logits)
    if member_logits.shape[1] < 2:
        raise MetricUnavailable("a model of a single class is always certain, so its confidences tell nothing")
    _check_shadows(member_shadow_logits, member_logits, nonmember_shadow_logits, nonmember_logits)
    outside = np.concatenate(
        [
            _shadow_confidences(member_shadow_logits, member_labels),
            _shadow_confidences(nonmember_shadow_logits, nonmember_labels),
        ],
        axis=1,
    )
    observed = np.concatenate(
        [scaled_confidences(member_logits, member_labels), scaled_confidences(nonmember_logits, nonmember_labels)]
    )
    from sklearn.metrics import roc_auc_score, roc_curve

    scores = (observed - outside.mean(axis=0)) / _spread(outside)
    is_member = np.arange(len(scores)) < len(member_labels)
    # Without drop_intermediate=False, corners between ties would be missing and the best one at 1 % could be lost.
    false_rates, true_rates, _ = roc_curve(is_member, scores, drop_intermediate=False)
    return LiraAttack(float(roc_auc_score(is_member, scores)), float(true_rates[false_rates <= 0.01].max()))


def _shadow_confidences(logits: Tensor, labels: Tensor) -> npt.NDArray[np.float64]:
    return np.stack([scaled_confidences(of_one, labels) for of_one in logits])


def _check_shadows(member_shadows: Tensor, members: Tensor, nonmember_shadows: Tensor, nonmembers: Tensor) -> None:
    count = len(member_shadows)
    for shadows, samples in ((member_shadows, members), (nonmember_shadows, nonmembers)):
        expected = (count, *samples.shape)
        if tuple(shadows.shape) != expected:
            raise ValueError(f"shadow models' logits have shape {tuple(shadows.shape)}; {expected} was expected")
    if count < 2:
        raise MetricUnavailable(f"LiRA needs at least 2 shadow models to see how they vary; there are {count}")
    require_finite("shadow models' logits", member_shadows, nonmember_shadows)


def _spread(outside: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The standard deviation to divide each sample by: (samples,) or, with few shadow models, one for all: (1,)."""
    variances: npt.NDArray[np.float64] = outside.var(axis=0, ddof=1)
    if len(outside) < POOLED_BELOW:
        variances = variances.mean(keepdims=True)
    if not variances.all():
        raise MetricUnavailable("the shadow models agree exactly; they must be trained with different seeds")
    return np.sqrt(variances)


@metric(
    MetricCard("lira_auc", "LiRA AUC %", "Carlini et al. 2022", "½"),
    MetricCard("lira_tpr_at_1_percent_fpr", "LiRA TPR at 1 % FPR %", "Carlini et al. 2022", AT_CHANCE),
    when="lira_shadows",
    group="membership, LiRA",
)
def lira_attack(inputs: MetricInputs) -> Scores:
    """AUC and true positive rate of LiRA, with retrained models of other seeds as shadows; a caution where few samples.

    A measured model that is one of the shadows, as the second retrained model is, is left out of them.
    """
    shadows, own = ([of(part) for part in COMPARED] for of in (inputs.shadow_logits, inputs.logits))
    others = [
        index for index in range(len(shadows[0]))
        if not all(torch.equal(of_part[index], logits) for of_part, logits in zip(shadows, own, strict=True))
    ]  # fmt: skip
    attack = lira_offline_attack(*members_and_others(inputs), *(of_part[others] for of_part in shadows))
    scores = {f"lira_{name}": value for name, value in vars(attack).items()}
    return {**scores, **few_nonmembers("lira", len(own[1]))}
