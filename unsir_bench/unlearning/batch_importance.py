"""How much each parameter matters for some samples, by gradients of batches, as SSD and SFRon measure it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.data.batches import DataView
from unsir_bench.models.model import in_mode
from unsir_bench.training.context import RunContext


def importance(model: nn.Module, view: DataView, batch_size: int, context: RunContext) -> dict[str, Tensor]:
    """Mean over batches of the squared gradient of the mean cross-entropy, by parameter name."""
    parameters = dict(model.named_parameters())
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    batches = 0
    with in_mode(model, training=False):
        for images, labels in view.batches(batch_size, order=context.generator("importance", "order")):
            loss = F.cross_entropy(context.forward(model, images, mixed=False), labels)
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            for total, gradient in zip(totals.values(), gradients, strict=True):
                total.addcmul_(gradient, gradient)
            batches += 1
    return {name: total / batches for name, total in totals.items()}
