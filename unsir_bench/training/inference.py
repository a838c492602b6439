"""Inference: one pass over a view gives the logits and features that all metrics read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import SPLITS, DeviceData
from unsir_bench.models.model import in_mode
from unsir_bench.training.context import RunContext

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for some samples, on the CPU.

    Attributes:
        logits: float32 of shape (samples, classes).
        features: float32 of shape (samples, dimensions), the input of the head; None if the head was not found.
    """

    logits: Tensor
    features: Tensor | None


def predict(model: nn.Module, view: DataView, context: RunContext, title: str) -> Tensor:
    """Logits of every sample of a view; see ``outputs``."""
    return outputs(model, view, context, title).logits


@torch.inference_mode()
def outputs(model: nn.Module, view: DataView, context: RunContext, title: str) -> Outputs:
    """Logits and penultimate features of every sample of a view, in its order, by one pass.

    Args:
        model: on the context's device; returned to the mode it was in.
        view: the samples.
        context: device and precision.
        title: shown while it runs.

    Returns:
        Of len(view) samples.
    """
    features: list[Tensor] = []
    handle = _listening_at_the_head(model, context, features)
    logits = []
    with in_mode(model, training=False), context.progress.task(title, len(view), "images") as task:
        for images, labels in view.batches(EVALUATION_BATCH):
            logits.append(context.forward(model, images))
            task.advance(len(labels))
    if handle is not None:
        handle.remove()
    return Outputs(torch.cat(logits).cpu(), torch.cat(features).cpu() if features else None)


def _listening_at_the_head(model: nn.Module, context: RunContext, heard: list[Tensor]) -> RemovableHandle | None:
    try:
        head = context.architecture.head(model)
    except AttributeError:  # a model of timm without a classifier of the usual name
        return None
    return head.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0].float().flatten(1)))


def outputs_of_splits(model: nn.Module, data: DeviceData, context: RunContext, title: str) -> dict[str, Outputs]:
    """Outputs of the whole training and test splits, by split name."""
    return {split: outputs(model, data.view(split), context, f"evaluating {title} on {split}") for split in SPLITS}


def predict_splits(model: nn.Module, data: DeviceData, context: RunContext, title: str) -> dict[str, Tensor]:
    """Logits of the whole training and test splits, by split name."""
    return {split: predict(model, data.view(split), context, f"evaluating {title} on {split}") for split in SPLITS}
