"""One pass of inference over a view; every metric reads the logits it returns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unsir_bench.context import RunContext
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import SPLITS, DeviceData

EVALUATION_BATCH = 512


@torch.inference_mode()
def predict(model: nn.Module, view: DataView, context: RunContext, title: str) -> Tensor:
    """Logits of every sample of a view, in its order.

    Args:
        model: on the context's device; returned to the mode it was in.
        view: the samples.
        context: device and precision.
        title: shown while it runs.

    Returns:
        float32 of shape (len(view), classes), on the CPU.
    """
    was_training = model.training
    model.eval()
    logits = []
    with context.progress.task(title, len(view), "images") as task:
        for images, labels in view.batches(EVALUATION_BATCH):
            logits.append(context.forward(model, images))
            task.advance(len(labels))
    model.train(was_training)
    return torch.cat(logits).cpu()


def predict_splits(model: nn.Module, data: DeviceData, context: RunContext, title: str) -> dict[str, Tensor]:
    """Logits of the whole training and test splits, by split name."""
    return {split: predict(model, data.view(split), context, f"evaluating {title} on {split}") for split in SPLITS}
