"""How much each parameter matters for some samples, by gradients of batches, as SSD and SFRon measure it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.data.batches import DataView
from unsir_bench.models.model import in_mode
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.gradient_sums import wide_gradients, zero_sums


def importance(model: nn.Module, view: DataView, batch_size: int, context: RunContext) -> dict[str, Tensor]:
    """Mean over batches of the squared gradient of the mean cross-entropy, by parameter name; float32 at least."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    totals = zero_sums(parameters)
    batches = 0
    with in_mode(model, training=False):
        for images, labels in view.batches(batch_size, order=context.generator("importance", "order")):
            loss = F.cross_entropy(context.forward(model, images, mixed=False), labels)
            for total, gradient in zip(totals, wide_gradients(loss, parameters), strict=True):
                total.addcmul_(gradient, gradient)
            batches += 1
    return {name: total / batches for name, total in zip(names, totals, strict=True)}
