"""Teachers and divergences for methods that distil."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in eval mode whose parameters receive no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def divergence_from(teacher_logits: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)) of each sample (Hinton et al. 2015 for the factor T²).

    Args:
        teacher_logits: (samples, classes); may hold -inf, a class of probability zero.
        logits: the student's, (samples, classes).
        temperature: T, above 0.

    Returns:
        (samples,), in nats, at least 0.
    """
    teacher = torch.softmax(teacher_logits / temperature, dim=1)
    student = torch.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none").sum(dim=1)
