"""Top-1 accuracy on the retain and forget samples, A_Dr and A_Df of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unsir_bench.errors import MetricUnavailable
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.evaluation.registry import MetricCard, MetricInputs, Scores, metric


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest logit is their label's.

    Args:
        logits: (samples, classes).
        labels: int64 (samples,).

    Returns:
        A fraction in [0, 1], weighted by samples (not the mean of per-batch means that some public code prints).

    Raises:
        ValueError: there is no sample.
    """
    if len(labels) == 0:
        raise ValueError("accuracy of no samples is undefined")
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels.numpy(), logits.argmax(dim=1).numpy()))


def per_class_accuracies(logits: Tensor, labels: Tensor, num_classes: int) -> list[float | None]:
    """Accuracy on the samples of each class, in the order of classes; None for a class without samples."""
    hits, counts = (
        torch.bincount(of, minlength=num_classes).tolist() for of in (labels[logits.argmax(dim=1) == labels], labels)
    )
    return [hit / count if count else None for hit, count in zip(hits, counts, strict=True)]


def retain_forget_accuracies(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], indices: Mapping[str, Tensor], prefix: str = ""
) -> dict[str, float | None]:
    """A_Dr and A_Df on both splits.

    Args:
        logits: by split (``train``, ``test``), of the whole split.
        labels: by split.
        indices: by ``retain_train``, ``forget_train``, ``retain_test``, ``forget_test``.
        prefix: put before each name.

    Returns:
        ``{prefix}acc_retain_train`` and so on, fractions; None where there is no such sample.
    """
    result: dict[str, float | None] = {}
    for name, chosen in indices.items():
        split = name.rsplit("_", 1)[1]
        any_there = len(chosen) > 0
        result[f"{prefix}acc_{name}"] = accuracy(logits[split][chosen], labels[split][chosen]) if any_there else None
    return result


@metric(
    MetricCard(
        "acc_forget_test", "A_Df %", "UNSIR", compared=True, minimum_margin=0.03,
        overshoot="below retrain's: over-forgotten", overshoots=-1,
    ),
    MetricCard("acc_retain_test", "A_Dr %", "UNSIR", compared=True, minimum_margin=0.02),
    MetricCard("acc_forget_train", "A_Df train %", "UNSIR", compared=True),
    MetricCard("acc_retain_train", "A_Dr train %", "UNSIR", compared=True),
    group="accuracy",
)  # fmt: skip
def accuracies(inputs: MetricInputs) -> Scores:
    """A_Dr and A_Df of both splits; null where there is no such sample. Details: those by class; samples."""
    logits, labels = inputs.model.logits, inputs.run.labels
    by_class = {name: per_class_accuracies(logits[name], labels[name], inputs.run.data.num_classes) for name in labels}
    return {
        **retain_forget_accuracies(logits, labels, inputs.run.split.indices),
        "accuracy_by_class": by_class,
        "samples": {name: len(chosen) for name, chosen in inputs.run.split.indices.items()},
    }


def share_answered_with(logits: Tensor, classes: Sequence[int]) -> float:
    """Share of samples whose largest logit is that of one of some classes, whichever.

    Args:
        logits: (samples, classes).
        classes: columns of ``logits``.

    Raises:
        MetricUnavailable: there is no sample, or a logit is NaN or infinite.
    """
    require_finite("logits of forget-class samples", logits)
    return float(torch.isin(logits.argmax(dim=1), torch.tensor(list(classes))).double().mean())


@metric(
    MetricCard(
        "forget_answered_any_forget_class", "any forget class %", "defined here", compared=True, minimum_margin=0.03
    ),
    group="accuracy",
)
def answered_with_any_forget_class(inputs: MetricInputs) -> float:
    """Of the D_f test samples, the share called any class that has been forgotten so far, their own or another.

    A_Df counts the own class alone, so a model that calls a forgotten class by another forgotten one passes for one
    that knows neither.
    """
    logits = inputs.logits("forget_test")
    if not inputs.run.forgotten_classes:
        raise MetricUnavailable("no class is forgotten, so no answer is that of a forgotten class")
    return share_answered_with(logits, inputs.run.forgotten_classes)
