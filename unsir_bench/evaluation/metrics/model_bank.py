"""Attacks that need a bank of models: some unlearned, some retrained, each with a training seed of its own.

One model shows what it answers; only many show how a method's models are distributed, which is what unlearning is
about: unlearned models should be distributed as retrained ones. `metrics.bank_size` says how many of either are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.accuracy import accuracy, share_answered_with
from unsir_bench.evaluation.metrics.forgetting_quality import (
    EQUAL_BANKS,
    LARGEST_EPSILON,
    check_banks,
    equal_banks,
    forgetting_epsilons,
    forgetting_quality,
)
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.metrics.lira import AT_CHANCE, few_nonmembers
from unsir_bench.evaluation.metrics.membership import scaled_confidences
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric

LEAST_SPREAD = 1e-6
# Of RMIA's paper.
GAMMA, OFFLINE_A = 2.0, 0.3

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TwoWorlds:
    """How well an attack tells unlearned from retrained models, by single forget samples.

    Attributes:
        accuracy: share of (model, sample) pairs told right, a tie counting one half; ideal ½.
        auc: area under the ROC curve over all pairs; ideal ½.
    """

    accuracy: float
    auc: float


def u_lira(unlearned: Array, retrained: Array) -> TwoWorlds:
    """U-LiRA (Hayes et al. 2024, "Inexact Unlearning Needs More Careful Evaluations", arXiv 2403.01218).

    For each sample, normal distributions are fitted to the scaled confidences of the unlearned and of the retrained
    models; a model is called unlearned where its own confidence is likelier under the first. In turn one model of
    either kind is left out of the fits and judged by them, so that an attack that knows nothing scores ½ on average.

    Args:
        unlearned: log(p / (1 - p)) of the true class, (models, samples), finite.
        retrained: the same of as many retrained models.

    Raises:
        MetricUnavailable: fewer than 3 models of either kind.
        ValueError: shapes differ.
    """
    check_banks(unlearned, retrained)
    ratios: dict[bool, list[Array]] = {True: [], False: []}
    for out in range(len(unlearned)):
        fits = [np.delete(side, out, axis=0) for side in (unlearned, retrained)]
        for kind, side in ((True, unlearned), (False, retrained)):
            inside, outside = (_log_density(side[out], fit) for fit in fits)
            ratios[kind].append(inside - outside)
    own, others = np.concatenate(ratios[True]), np.concatenate(ratios[False])
    told = np.concatenate([np.sign(own), -np.sign(others)])
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(own), len(others)])
    return TwoWorlds(float((told + 1).mean() / 2), float(roc_auc_score(truth, np.concatenate([own, others]))))


def _log_density(values: Array, fit: Array) -> Array:
    """Of the normal distribution of each column of ``fit`` (unbiased variance), without the constant."""
    spread = np.maximum(fit.std(axis=0, ddof=1), LEAST_SPREAD)
    density: Array = -np.log(spread) - ((values - fit.mean(axis=0)) / spread) ** 2 / 2
    return density


def rmia_scores(own: Array, references: Array, population_own: Array, population_references: Array) -> Array:
    """RMIA (Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv 2312.03262), offline.

    The share of population samples z with (p(x|θ) / p(x)) / (p(z|θ) / p(z)) at least γ = 2, where p(·) is the mean
    over reference models that never saw the sample, corrected for those that did: ((1 + a) p_out + 1 - a) / 2, a = 0.3.

    Args:
        own: probabilities of the true class by the attacked model, (samples,).
        references: by models that saw none of the samples, (models, samples).
        population_own: by the attacked model, of samples that nobody saw, (population,).
        population_references: by the reference models, (models, population).

    Returns:
        In [0, 1], (samples,); higher: more likely a member.
    """
    tiny = np.finfo(float).tiny

    def log_ratio(probability: Array, outside: Array) -> Array:
        expected = ((1 + OFFLINE_A) * outside.mean(axis=0) + 1 - OFFLINE_A) / 2
        ratio: Array = np.log(np.maximum(probability, tiny)) - np.log(expected)
        return ratio

    ours, theirs = log_ratio(own, references), np.sort(log_ratio(population_own, population_references))
    return np.searchsorted(theirs, ours - math.log(GAMMA), side="right") / len(theirs)


def class_membership_accuracy(unlearned: Array, retrained: Array) -> float:
    """How often a fresh classifier tells an unlearned from a retrained model by its answers to the whole class.

    Logistic regression (L2, C = 1) on standardised summaries of one model each; in turn one model of either kind is
    left out and judged.

    Args:
        unlearned: (models, features), what each model answers on average to samples of the forgotten classes.
        retrained: the same of as many retrained models.

    Returns:
        Share told right, in [0, 1]; ideal ½.

    Raises:
        MetricUnavailable: fewer than 3 models of either kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_banks(unlearned, retrained)
    count = len(unlearned)
    attack = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = PredefinedSplit(np.tile(np.arange(count), 2))
    scores = cross_val_score(attack, np.concatenate([unlearned, retrained]), np.repeat([1, 0], count), cv=folds)
    return float(scores.mean())


def answers_in_mean(logits: Tensor, labels: Tensor) -> Array:
    """What one model answers to a class: mean softmax by class, mean scaled confidence, mean entropy (nats).

    Args:
        logits: (samples, classes), finite.
        labels: int64 (samples,).

    Returns:
        (classes + 2,).
    """
    log_probabilities = logits.double().log_softmax(dim=1)
    probabilities = log_probabilities.exp()
    entropy = -(probabilities * log_probabilities.clamp_min(-1e6)).sum(dim=1).mean()
    confidence = scaled_confidences(logits, labels).mean()
    return np.append(probabilities.mean(dim=0).numpy(), [confidence, float(entropy)])


def mean_difference_of_pairs(values: Array) -> float:
    """Mean absolute difference over all pairs of (at least two) independent models."""
    first, second = np.triu_indices(len(values), k=1)
    return float(np.abs(values[first] - values[second]).mean())


def _confidences(inputs: MetricInputs, kind: str) -> Array:
    logits = inputs.bank(kind, "forget_train")
    require_finite("bank models' logits of forget samples", logits)
    labels = inputs.labels("forget_train")
    return np.stack([scaled_confidences(of_one, labels) for of_one in logits])


@metric(
    MetricCard("ulira_accuracy", "U-LiRA %", "Hayes et al. 2024", "½"),
    MetricCard("ulira_auc", "U-LiRA AUC %", "Hayes et al. 2024", "½"),
    MetricCard("forgetting_quality", "forgetting quality", "Triantafillou et al. 2024", EQUAL_BANKS, scale=1.0),
    MetricCard(
        "forgetting_epsilon", "median ε", "Triantafillou et al. 2024", EQUAL_BANKS, range=(0.0, LARGEST_EPSILON),
        scale=1.0,
    ),
    when="bank_size", summary=True, relative_to="retrain", group="bank of models",
)  # fmt: skip
def unlearned_against_retrained(inputs: MetricInputs) -> Scores:
    """How well forget samples tell the method's models from retrained ones.

    Details: ``forgetting_epsilons``, and ``forgetting_null``, what two equal banks give.
    """
    unlearned, retrained = (_confidences(inputs, kind) for kind in ("unlearned", "retrained"))
    attack, epsilons = u_lira(unlearned, retrained), forgetting_epsilons(unlearned, retrained)
    shares = (5, 25, 50, 75, 95)
    return {
        "ulira_accuracy": attack.accuracy,
        "ulira_auc": attack.auc,
        "forgetting_quality": forgetting_quality(epsilons, len(unlearned)),
        "forgetting_epsilon": float(np.median(epsilons)),
        "forgetting_epsilons": {f"{share} %": float(np.percentile(epsilons, share)) for share in shares},
        "forgetting_null": equal_banks(len(unlearned)),
    }


@metric(
    MetricCard("class_membership_accuracy", "class membership %", "defined here", "½"),
    when="bank_size", summary=True, relative_to="retrain", group="bank of models",
)  # fmt: skip
def class_membership(inputs: MetricInputs) -> float:
    """Whether the answers to D_f test tell a model that was once trained on the classes from one that never was."""
    labels = inputs.labels("forget_test")
    found = []
    for kind in ("unlearned", "retrained"):
        logits = inputs.bank(kind, "forget_test")
        require_finite("bank models' logits of forget samples", logits)
        found.append(np.stack([answers_in_mean(of_one, labels) for of_one in logits]))
    return class_membership_accuracy(*found)


@metric(
    MetricCard("true_floor_acc_forget_test", "floor of A_Df %", "defined here", "0"),
    MetricCard("true_floor_acc_retain_test", "floor of A_Dr %", "defined here", "0"),
    when="bank_size", summary=True, relative_to="retrain", group="bank of models",
)  # fmt: skip
def true_floor(inputs: MetricInputs) -> Scores:
    """What independently retrained models differ by. Details: ``true_floor`` of further shares."""
    found: dict[str, Array] = {}
    for part in filter(inputs.run.has, ("forget_test", "retain_test", "forget_train")):
        logits, labels = inputs.bank("retrained", part), inputs.labels(part)
        found[f"acc_{part}"] = np.array([accuracy(of_one, labels) for of_one in logits])
    classes = inputs.run.split.classes
    if classes:
        shares = [share_answered_with(of_one, classes) for of_one in inputs.bank("retrained", "forget_test")]
        found["forget_answered_any_forget_class"] = np.array(shares)
    floors = {name: mean_difference_of_pairs(values) for name, values in found.items()}
    shown = {f"true_floor_{name}": floors.get(name) for name in ("acc_forget_test", "acc_retain_test")}
    return {**shown, "true_floor": floors}


@metric(
    MetricCard("rmia_auc", "RMIA AUC %", "Zarifzadeh et al. 2024", "½"),
    MetricCard("rmia_tpr_at_1_percent_fpr", "RMIA TPR at 1 % FPR %", "Zarifzadeh et al. 2024", AT_CHANCE),
    when="bank_size",
    group="membership, RMIA",
)
def rmia_attack(inputs: MetricInputs) -> Scores:
    """AUC and true positive rate of RMIA on D_f train against unseen samples of its classes (``EvaluatedRun.parts``).

    The bank's retrained models are those that saw neither. Null where no test sample is forgotten.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    inputs.labels("forget_test")  # raises where there is none
    population = _probabilities(inputs, "retain_test")
    scores = [rmia_scores(*_probabilities(inputs, part), *population) for part in ("forget_train", "unseen_test")]
    truth = np.repeat([1, 0], [len(side) for side in scores])
    false_rates, true_rates, _ = roc_curve(truth, np.concatenate(scores), drop_intermediate=False)
    return {
        "rmia_auc": float(roc_auc_score(truth, np.concatenate(scores))),
        "rmia_tpr_at_1_percent_fpr": float(true_rates[false_rates <= 0.01].max()),
        **few_nonmembers("rmia", len(scores[1])),
    }


def _probabilities(inputs: MetricInputs, part: str) -> tuple[Array, Array]:
    """Of the true class: by the model itself, (samples,); by retrained ones but itself, (models, samples)."""
    own, labels = inputs.logits(part), inputs.labels(part)
    outside = inputs.bank("retrained", part)
    require_finite(f"logits of {part}", own, outside)
    others = [of_one for of_one in outside if not torch.equal(of_one, own)]
    if not others:
        raise MetricUnavailable("the retrained models of other seeds are all the model itself: none is left outside")
    stacked = torch.stack([own, *others]).double().softmax(dim=2)
    at_label = stacked.gather(2, labels.expand(len(stacked), -1)[:, :, None]).squeeze(2).numpy()
    return at_label[0], at_label[1:]
