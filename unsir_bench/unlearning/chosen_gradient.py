"""A loss whose gradient is chosen: masked, clipped or combined from several, and not merely differentiated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def with_gradient(loss: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar that equals ``loss`` and whose gradient for ``parameters`` is ``gradients``.

    An objective of ``fit`` returns it where the step is not along the loss's own gradient; gradient scaling and the
    recipe's clipping then work as for any loss. Averaging over devices does not: the average of what is chosen from
    parts of a batch is not what is chosen from the whole. Its method sets ``needs_whole_batches``.

    Args:
        loss: shown in the curve; its graph is not used.
        parameters: that the optimiser changes.
        gradients: one of each parameter's shape, detached.
    """
    product = inner_product(parameters, gradients)
    return loss.detach() + (product - product.detach())


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of ``loss`` for each parameter; zeros for one that it does not depend on.

    Within an objective of ``fit`` the loss is of the bare model, ``context.forward(model, images, mixed=False)``: at a
    mixed precision Fabric lets nobody but itself differentiate the output of the wrapped network.
    """
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(parameters, found, strict=True)]


def inner_product(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """The sum over all entries of the products of two lists of tensors of the same shapes, as a scalar."""
    return torch.stack([(one * other).sum() for one, other in zip(first, second, strict=True)]).sum()


def clipped(gradients: Sequence[Tensor], largest_norm: float) -> list[Tensor]:
    """The gradients, scaled down if their common 2-norm exceeds ``largest_norm``."""
    factor = (largest_norm / (inner_product(gradients, gradients).sqrt() + 1e-6)).clamp(max=1)
    return [gradient * factor for gradient in gradients]
