"""Membership inference: can an attacker tell that the forget samples were trained on?

The default is the class-matched loss attack. The confidence-SVC attack is here because many papers print it; ``lira``
is the strongest of the three, and needs shadow models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric
from unsir_bench.runtime.seeding import generator

FOLDS = 5
LEAST_PER_SIDE = FOLDS
# Below, the accuracy of an attack that knows nothing varies by about a tenth or more (one deviation), its AUC by more.
FEW_PER_SIDE = 20
MOST_NATS = 400.0
COMPARED = ("forget_train", "unseen_test")


@dataclass(frozen=True)
class LossAttack:
    """What the class-matched loss attack achieved.

    Attributes:
        accuracy: share of members and non-members told right, in [0, 1]; ideal 0.5.
        auc: area under the attack's ROC curve, in [0, 1]; ideal 0.5.
        samples_per_side: members used, and as many non-members.
    """

    accuracy: float
    auc: float
    samples_per_side: int


def class_matched_loss_attack(
    member_logits: Tensor, member_labels: Tensor, nonmember_logits: Tensor, nonmember_labels: Tensor, *, seed: int
) -> LossAttack:
    """Tell forget-class training samples from test samples of the same classes by their loss.

    Cross-entropy -log softmax(z)_y in nats, clipped to [-400, 400] as by Kurmanji et al.; a class has as many members
    as non-members (the larger side is subsampled, a class that one side lacks is left out); logistic regression on
    the loss, standardised on the samples it is fitted on. Mean over 5 folds of accuracy and AUC on the held-out fold.
    Folds are stratified by class and hold as many members as non-members, so that an attack that knows nothing (all
    losses equal) scores 0.5 exactly. The direction is learned: losses raised above the test samples' by forgetting
    give a forget sample away as much as losses left low. On few samples chance alone moves both numbers: compare
    with retrain's.

    Args:
        member_logits: (members, classes), of the forget-class training samples.
        member_labels: int64 (members,).
        nonmember_logits: (non-members, classes), of the same classes' test samples.
        nonmember_labels: int64 (non-members,).
        seed: of the subsample.

    Returns:
        Accuracy and AUC, both in [0, 1] and ideally 0.5, retrain's expectation.

    Raises:
        MetricUnavailable: fewer than 5 samples a side after matching classes; NaN or infinite logits.

    Source:
        Kurmanji et al. 2023 (SCRUB), "Towards Unbounded Machine Unlearning", its basic attack; matched by class here.
    """
    members, nonmembers = _matched_by_class(member_labels, nonmember_labels, seed)
    require_finite("forget-class logits", member_logits, nonmember_logits)
    losses = np.concatenate(
        [
            _clipped_losses(member_logits[members], member_labels[members]),
            _clipped_losses(nonmember_logits[nonmembers], nonmember_labels[nonmembers]),
        ]
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_validate
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pairs = len(members)
    # Samples come class by class in random order: dealing them out in turn stratifies the folds by class. With unequal
    # sides in a fold, the fit would lean to the side that the held-out fold has fewer of, and score below chance.
    folds = PredefinedSplit(np.tile(np.arange(pairs) % FOLDS, 2))
    attack = make_pipeline(StandardScaler(), LogisticRegression())
    is_member = np.repeat([1, 0], pairs)
    scores = cross_validate(attack, losses[:, None], is_member, cv=folds, scoring=("accuracy", "roc_auc"))
    return LossAttack(float(scores["test_accuracy"].mean()), float(scores["test_roc_auc"].mean()), pairs)


def confidence_svc_attack(
    retain_train_logits: Tensor,
    retain_train_labels: Tensor,
    retain_test_logits: Tensor,
    retain_test_labels: Tensor,
    forget_logits: Tensor,
    forget_labels: Tensor,
    *,
    seed: int,
    most_per_side: int = 1000,
) -> float:
    """Share of forget training samples that an SVC calls members, by the confidence in their label.

    The SVC (RBF kernel, C = 3, gamma = 1, as in the published code) learns softmax(z)_y of retain training samples
    (members) against retain test samples (non-members), equally many, at most ``most_per_side``.

    Known weaknesses, which is why it is not the default:
        - It learns on retain classes and judges forget classes. A model that merely gets the forget samples wrong
          scores 0, whatever it still knows of them; so does almost every method, and retrain.
        - A lower share is often called better, but only retrain's share is right: one that forgets too much, which an
          attacker can see as well, is not punished.
        - Its own strength is never checked. Where retain training and test confidences overlap, as in models that
          generalise, it is at chance, and the share follows the seed.
        - Confidences saturate at 1, where members and non-members look the same to it.

    Args:
        retain_train_logits: (samples, classes), as the other logits.
        retain_train_labels: int64 (samples,), as the other labels.
        retain_test_logits: of retain-class test samples.
        retain_test_labels: theirs.
        forget_logits: of forget-class training samples.
        forget_labels: theirs.
        seed: of the subsample.
        most_per_side: of samples the SVC learns; its time grows with the square.

    Returns:
        A share in [0, 1]; ideal: retrain's. Papers that print "MIA efficacy" (higher is better) print 1 minus this.

    Raises:
        MetricUnavailable: fewer than 5 retain samples a side, or no forget sample; NaN or infinite logits; all the
            confidences it would learn from are equal.

    Source:
        Jia et al. 2023, "Model Sparsity Can Simplify Machine Unlearning"; Fan et al. 2024 (SalUn), and their code.
    """
    count = min(len(retain_train_labels), len(retain_test_labels), most_per_side)
    if count < LEAST_PER_SIDE:
        raise MetricUnavailable(
            f"the confidence attack learns from at least {LEAST_PER_SIDE} retain samples a side; there are "
            f"{len(retain_train_labels)} training and {len(retain_test_labels)} test samples"
        )
    require_finite("retain-class logits", retain_train_logits, retain_test_logits)
    require_finite("forget-class training logits", forget_logits)
    draws = generator(seed, "confidence_svc_attack")
    members = torch.randperm(len(retain_train_labels), generator=draws)[:count]
    nonmembers = torch.randperm(len(retain_test_labels), generator=draws)[:count]
    learned = np.concatenate(
        [
            _confidences(retain_train_logits[members], retain_train_labels[members]),
            _confidences(retain_test_logits[nonmembers], retain_test_labels[nonmembers]),
        ]
    )
    if np.ptp(learned) == 0:
        raise MetricUnavailable("the model is equally confident in all retain samples, so there is nothing to learn")
    from sklearn.svm import SVC

    attack = SVC(C=3, kernel="rbf", gamma="auto").fit(learned[:, None], np.repeat([1, 0], count))
    return float(attack.predict(_confidences(forget_logits, forget_labels)[:, None]).mean())


def _matched_by_class(member_labels: Tensor, nonmember_labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of as many members as non-members of each class, class by class, in random order within a class."""
    members, nonmembers = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, dtype=torch.int64)]
    for label in sorted(set(member_labels.tolist()) & set(nonmember_labels.tolist())):
        draws = generator(seed, "class_matched_loss_attack", label)
        inside, outside = (torch.nonzero(labels == label).flatten() for labels in (member_labels, nonmember_labels))
        count = min(len(inside), len(outside))
        members.append(inside[torch.randperm(len(inside), generator=draws)[:count]])
        nonmembers.append(outside[torch.randperm(len(outside), generator=draws)[:count]])
    matched = sum(map(len, members))
    if matched < LEAST_PER_SIDE:
        raise MetricUnavailable(
            f"the loss attack needs at least {LEAST_PER_SIDE} forget-class samples a side; there are "
            f"{len(member_labels)} training and {len(nonmember_labels)} test samples, and {matched} a side once "
            "classes are matched"
        )
    return torch.cat(members), torch.cat(nonmembers)


def _clipped_losses(logits: Tensor, labels: Tensor) -> npt.NDArray[np.float64]:
    """Cross-entropy per sample, in nats.

    Forgetting by ascent leaves losses without bound, and one of a million would be most of the standard deviation: all
    others would look alike to the regression. The lower bound is the paper's; cross-entropy never reaches it.
    """
    losses = F.cross_entropy(logits.double(), labels, reduction="none")
    return np.asarray(losses.clamp(-MOST_NATS, MOST_NATS).numpy())


def _confidences(logits: Tensor, labels: Tensor) -> npt.NDArray[np.float64]:
    return np.asarray(logits.double().softmax(dim=1).gather(1, labels[:, None]).squeeze(1).numpy())


def scaled_confidences(logits: Tensor, labels: Tensor) -> npt.NDArray[np.float64]:
    """log(p/(1-p)) = z_y - logsumexp of the other logits: finite where p rounds to 0 or 1."""
    wide, at_label = logits.double(), labels[:, None]
    others = wide.scatter(1, at_label, -torch.inf).logsumexp(dim=1)
    return np.asarray((wide.gather(1, at_label).squeeze(1) - others).numpy())


@metric(
    MetricCard(
        "mia_loss_accuracy", "MIA (loss) %", "Kurmanji et al. 2023", "½, retrain's", compared=True, minimum_margin=0.02,
        overshoot="attack below retrain's: losses of forgotten samples give them away the other way round",
        overshoots=-1,
    ),
    MetricCard("mia_loss_auc", "MIA (loss) AUC %", "Kurmanji et al. 2023", "½, retrain's"),
    when="membership", group="membership, loss",
)  # fmt: skip
def loss_attack(inputs: MetricInputs) -> Scores:
    """Accuracy and AUC of the class-matched loss attack; details: ``mia_samples_per_side``, a caution where few."""
    attack = class_matched_loss_attack(*members_and_others(inputs), seed=inputs.seed)
    few = f"only {attack.samples_per_side} samples a side: chance alone moves accuracy by ten points, and AUC by more"
    cautions = {"mia_loss_caution": few} if attack.samples_per_side < FEW_PER_SIDE else {}
    scores = {"mia_loss_accuracy": attack.accuracy, "mia_loss_auc": attack.auc}
    return {**scores, "mia_samples_per_side": attack.samples_per_side, **cautions}


@metric(
    MetricCard("mia_svc_member_share", "MIA (SVC) %", "Jia et al. 2023", compared=True, minimum_margin=0.02),
    when="membership",
    group="membership, confidence",
)
def confidence_attack(inputs: MetricInputs) -> float:
    """Share of forget samples that the SVC calls members."""
    parts = ("retain_train", "retain_test", "forget_train")
    samples = [tensor for part in parts for tensor in (inputs.logits(part), inputs.labels(part))]
    return confidence_svc_attack(*samples, seed=inputs.seed)


def members_and_others(inputs: MetricInputs) -> list[Tensor]:
    """Logits and labels of the forget training samples, then of those that they are compared with."""
    return [of(part) for part in COMPARED for of in (inputs.logits, inputs.labels)]
