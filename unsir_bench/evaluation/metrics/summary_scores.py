"""Single scores that papers rank by: ToW against the retrained model, and NoMUS of accuracy and attack.

Both trade forgetting against accuracy in one number and hide which of the two failed; they stand beside their parts,
not for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from unsir_bench.evaluation.metrics.inputs import measured
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, metric


def tug_of_war(unlearned: Sequence[float], retrained: Sequence[float]) -> float:
    """ToW = Π over forget, retain and test of (1 - |acc_unlearned - acc_retrained|) (Zhao et al., NeurIPS 2024).

    Args:
        unlearned: top-1 accuracies as fractions, of the model to judge: on the forget samples and on the retain samples
            of the training split, and on the test samples.
        retrained: the same three of the model retrained without the forget samples, on the same samples.

    Returns:
        In [0, 1], without unit; ideal 1, the retrained model's own.

    Raises:
        ValueError: an accuracy is not in [0, 1], or there are not three of each.
    """
    for name, accuracies in (("unlearned", unlearned), ("retrained", retrained)):
        if len(accuracies) != 3:
            raise ValueError(f"{name} must be the accuracies on forget, retain and test, not {len(accuracies)} values")
        for accuracy in accuracies:
            _require_fraction(f"{name} accuracy", accuracy)
    return math.prod(1 - abs(own - theirs) for own, theirs in zip(unlearned, retrained, strict=True))


def nomus(test_accuracy: float, attack_accuracy: float) -> float:
    """NoMUS = ½ · accuracy + ½ · (1 - 2 |attack - ½|), the normalised machine unlearning score (Choi and Na 2023).

    Args:
        test_accuracy: top-1, over all test samples of retain classes, a fraction.
        attack_accuracy: of a membership inference attack on balanced samples, a fraction; ½ is guessing.

    Returns:
        In [0, 1], without unit; 1 if every answer is right and the attack guesses; ideal: the retrained model's.

    Raises:
        ValueError: an input is not in [0, 1].
    """
    _require_fraction("test_accuracy", test_accuracy)
    _require_fraction("attack_accuracy", attack_accuracy)
    return (test_accuracy + 1 - 2 * abs(attack_accuracy - 0.5)) / 2


def _require_fraction(name: str, value: float) -> None:
    """Raise ``ValueError`` unless the value is in [0, 1]; NaN is not."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a fraction in [0, 1], not {value}")


@metric(MetricCard("tow", "ToW %", "Zhao et al. 2024", "1"), relative_to="retrain", group="scores", summary=True)
def tug_of_war_score(inputs: MetricInputs) -> float:
    """ToW of the unlearned model."""
    names = ("acc_forget_train", "acc_retain_train", "acc_retain_test")
    return tug_of_war(measured(inputs, *names), measured(inputs, *(f"retrain_{name}" for name in names)))


@metric(MetricCard("nomus", "NoMUS %", "Choi and Na 2023"), when="membership", group="scores", summary=True)
def nomus_score(inputs: MetricInputs) -> float:
    """NoMUS of the unlearned model."""
    return nomus(*measured(inputs, "acc_retain_test", "mia_loss_accuracy"))
