"""Sums over batches of gradients, or of their squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unsir_bench.unlearning.chosen_gradient import gradients_of


def zero_sums(parameters: Sequence[Tensor]) -> list[Tensor]:
    """A zero sum for each parameter, of float32 at least: a sum of 16-bit numbers soon stops growing."""
    return [torch.zeros_like(each, dtype=torch.promote_types(each.dtype, torch.float32)) for each in parameters]


def wide_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """As ``gradients_of``, in the types of ``zero_sums``."""
    gradients = gradients_of(loss, parameters)
    return [gradient.to(torch.promote_types(gradient.dtype, torch.float32)) for gradient in gradients]
