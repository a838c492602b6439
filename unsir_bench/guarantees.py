"""What the guarantees that methods state mean: one card for each number in a record's ``guarantees``.

A guarantee follows from a method's procedure, not from the weights that it returned; metrics measure those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from unsir_bench.config_fields import nearest

Guarantees = dict[str, float | int | None]


@dataclass(frozen=True)
class GuaranteeCard:
    """How to read one number.

    Attributes:
        title: for table heads.
        meaning: one line.
        at_most: the largest possible value; the smallest is 0.
    """

    title: str
    meaning: str
    at_most: float = math.inf


GUARANTEES = {
    "exact": GuaranteeCard("exact", "1: the same distribution as retraining, by construction; 0: not", 1),
    "epsilon": GuaranteeCard("ε", "(ε, δ): the unlearned model cannot be told from the retrained one any better"),
    "delta": GuaranteeCard("δ", "the probability with which epsilon may fail", 1),
    "group_size": GuaranteeCard("group", "samples at once that epsilon and delta are of"),
    "sample_epsilon": GuaranteeCard("ε, one sample", "epsilon for a single sample, whatever the group"),
    "sample_delta": GuaranteeCard("δ, one sample", "delta for a single sample, whatever the group", 1),
    "residual_norm": GuaranteeCard("residual", "L2 norm of the objective's gradient on the retain samples"),
    "residual_bound": GuaranteeCard("bound", "what the method proves residual_norm to be at most"),
    "residual_budget": GuaranteeCard("budget", "the largest residual_bound that the wanted epsilon and delta allow"),
    "removable_samples": GuaranteeCard("removable", "samples that fitted before a retrain was due; none: all did"),
    "removed_samples": GuaranteeCard("removed", "samples that were removed without retraining"),
    "retrained": GuaranteeCard("retrained", "1: the budget was spent, and the model was retrained; 0: not", 1),
    "noise_std": GuaranteeCard("noise sd", "standard deviation of the Gaussian noise on each weight or objective term"),
    "covers_backbone": GuaranteeCard("covers backbone", "1: the backbone never saw a forgotten sample; 0: it did", 1),
}  # fmt: skip


def impossible_guarantees(guarantees: Mapping[str, float | int | None]) -> Iterator[str]:
    """One line for each value that its card does not allow; names without a card may have any value."""
    for name, value in guarantees.items():
        card = GUARANTEES.get(name)
        if card is not None and value is not None and not 0 <= value <= card.at_most:
            yield f"guarantee {name}={value} is not in [0, {card.at_most:g}]"


def checked_guarantees(guarantees: Mapping[str, float | None]) -> Guarantees:
    """The guarantees of a method, as they may enter a record.

    Raises:
        ValueError: a name has no card, or a value is not finite or outside the range of its card.
    """
    for name, value in guarantees.items():
        if name not in GUARANTEES:
            raise ValueError(f"guarantee {name}: no such guarantee; near it are {nearest(name, list(GUARANTEES))}")
        if value is not None and not math.isfinite(value):
            raise ValueError(f"guarantee {name}={value}: must be a finite number, or None where nothing is promised")
    for complaint in impossible_guarantees(guarantees):
        raise ValueError(complaint)
    return dict(guarantees)
