"""How much each parameter matters for some samples, by gradients of batches, as SSD and SFRon measure it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.data.batches import DataView
from unsir_bench.models.model import in_mode
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.gradient_sums import wide_gradients, zero_sums

ORDERS = ("shuffled", "by_class")


def importance(
    model: nn.Module, view: DataView, batch_size: int, context: RunContext, order: str = "shuffled"
) -> dict[str, Tensor]:
    """Mean over batches of the squared gradient of the mean cross-entropy, by parameter name; float32 at least.

    Args:
        model: in eval mode meanwhile; its gradients and statistics stay as they are.
        view: the samples.
        batch_size: samples; where batches mix classes, gradients of single samples cancel the more, the larger it is.
        context: precision, seed.
        order: ``shuffled`` by the seed; ``by_class``: class after class, each in the view's order, so that most
            batches hold a single class. Their gradients hardly cancel, which makes the importance much larger.
    """
    by_class = order == "by_class"
    view = view.narrowed(view.labels.argsort(stable=True)) if by_class else view
    draws = None if by_class else context.generator("importance", "order")
    names, parameters = zip(*model.named_parameters(), strict=True)
    totals = zero_sums(parameters)
    batches = 0
    with in_mode(model, training=False):
        for images, labels in view.batches(batch_size, order=draws):
            loss = F.cross_entropy(context.forward(model, images, mixed=False), labels)
            for total, gradient in zip(totals, wide_gradients(loss, parameters), strict=True):
                total.addcmul_(gradient, gradient)
            batches += 1
    return {name: total / batches for name, total in zip(names, totals, strict=True)}
