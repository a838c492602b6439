"""Logits without the classes that a forget sample must not be moved to."""

from __future__ import annotations

from torch import Tensor

from unsir_bench.errors import NotApplicable
from unsir_bench.training.context import RunContext

MASKS = ("forget_classes", "own_class")
NO_CLASS_LEFT = "a forget sample must move to another class that is not forgotten, and there is none"


def without_forgotten(logits: Tensor, labels: Tensor, mask: str, context: RunContext) -> Tensor:
    """``logits`` with -inf at classes that the samples must leave.

    Args:
        logits: of forget samples, (samples, classes).
        labels: their own classes, int64 of shape (samples,), on the same device.
        mask: ``forget_classes``: all that are forgotten now or were in earlier steps of a sequence; ``own_class``: each
            sample's own alone, as papers on a single class have it.
        context: forget classes.

    Returns:
        A new tensor of the same shape.

    Raises:
        NotApplicable: no class is left for a sample.
    """
    masked = logits.scatter(1, labels[:, None], -float("inf"))
    if mask == "forget_classes":
        gone = [*context.forget_classes, *context.forgotten_before]
        left = [label for label in range(context.num_classes) if label not in gone]
        # The labels are looked at only where it matters: on a GPU a look waits for the device.
        if not left or (len(left) == 1 and bool((labels == left[0]).any())):
            raise NotApplicable(NO_CLASS_LEFT)
        masked[:, gone] = -float("inf")
    return masked
