"""Top-1 accuracy on the retain and forget samples, A_Dr and A_Df of the paper."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


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
    of_class = [labels == index for index in range(num_classes)]
    return [accuracy(logits[mine], labels[mine]) if bool(mine.any()) else None for mine in of_class]


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
