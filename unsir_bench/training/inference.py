"""Inference: one pass over a view gives the logits and features that all metrics read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import SPLITS, DeviceData
from unsir_bench.models.model import in_mode, is_weight_layer
from unsir_bench.training.context import RunContext

EVALUATION_BATCH = 512
CHANNELS_LAST = (nn.Linear, nn.MultiheadAttention)


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for some samples, on the CPU.

    Attributes:
        logits: float32 of shape (samples, classes).
        features: float32 of shape (samples, dimensions), the input of the head; None if the head was not found.
    """

    logits: Tensor
    features: Tensor | None


@torch.inference_mode()
def predict(model: nn.Module, view: DataView, context: RunContext, title: str) -> Tensor:
    """Logits of every sample of a view, in its order, on the CPU: float32 (samples, classes), by one pass.

    Args:
        model: on the context's device; returned to the mode it was in.
        view: the samples.
        context: device and precision.
        title: shown while it runs.
    """
    logits = []
    with in_mode(model, training=False), context.progress.task(title, len(view), "images") as task:
        for images, labels in view.batches(EVALUATION_BATCH):
            logits.append(context.forward(model, images).cpu())
            task.advance(len(labels))
    return torch.cat(logits)


@torch.inference_mode()
def outputs(model: nn.Module, view: DataView, context: RunContext, title: str) -> Outputs:
    """Logits and penultimate features of every sample of a view, by the same pass; arguments as of ``predict``."""
    features: list[Tensor] = []
    handle = _listening_at_the_head(model, context, features)
    try:
        logits = predict(model, view, context, title)
    finally:
        if handle is not None:
            handle.remove()
    return Outputs(logits, torch.cat(features) if features else None)


def features_of(parts: Mapping[str, Outputs]) -> dict[str, Tensor] | None:
    """The features by split; None where no head was found."""
    return {name: part.features for name, part in parts.items() if part.features is not None} or None


@torch.inference_mode()
def layer_inputs(model: nn.Module, view: DataView, context: RunContext, title: str, most: int) -> dict[str, Tensor]:
    """What up to ``most`` layers receive of every sample of a view, by the layer's name, in forward order.

    The layers are weight layers (convolutions, linear layers, attentions) at even distances, the last one among them;
    the first is left out, since it receives the images.

    Args:
        model: on the context's device; returned to the mode it was in.
        view: the samples.
        context: device and precision.
        title: shown while it runs.
        most: at least 1.

    Returns:
        float32 of shape (samples, channels), on the CPU: means over positions (pixels or tokens).
    """
    with in_mode(model, training=False):
        heard = _heard(model, {name for name, module in model.named_modules() if is_weight_layer(module)})
        first, _ = next(iter(view.batches(1)))
        with heard as of_two:
            context.forward(model, first.repeat(2, 1, 1, 1))
        # Layers over windows, or over no image at all, as in Swin, receive another number of rows than of images.
        order = [name for name, received in of_two.items() if [len(rows) for rows in received] == [2]][1:]
        count = min(most, len(order))
        chosen = {order[round((place + 1) * len(order) / count) - 1] for place in range(count)}
        with _heard(model, chosen) as found, context.progress.task(title, len(view), "images") as task:
            for images, labels in view.batches(EVALUATION_BATCH):
                context.forward(model, images)
                task.advance(len(labels))
    return {name: torch.cat(received) for name, received in found.items()}


@contextmanager
def _heard(model: nn.Module, names: Collection[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What modules receive while the context lasts, by name, in the order of the first call."""
    heard: dict[str, list[Tensor]] = {}

    def listen(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            heard.setdefault(name, []).append(_mean_over_positions(module, inputs[0].float()).cpu())

    handles = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: listen(name, module, inputs))
        for name, module in model.named_modules()
        if name in names
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _mean_over_positions(module: nn.Module, activations: Tensor) -> Tensor:
    """(samples, channels) of a module's input: (samples, tokens, channels), of linear layers (samples, ..., channels),
    of others with four dimensions (samples, channels, height, width)."""
    if activations.ndim == 4 and not isinstance(module, CHANNELS_LAST):
        return activations.mean(dim=(2, 3))
    return activations.flatten(1, -2).mean(dim=1) if activations.ndim > 2 else activations.flatten(1)


def _listening_at_the_head(model: nn.Module, context: RunContext, heard: list[Tensor]) -> RemovableHandle | None:
    try:
        head = context.architecture.head(model)
    except AttributeError:  # a model of timm without a classifier of the usual name
        return None
    return head.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0].float().flatten(1).cpu()))


def outputs_of_splits(model: nn.Module, data: DeviceData, context: RunContext, title: str) -> dict[str, Outputs]:
    """Outputs of the whole training and test splits, by split name."""
    return {split: outputs(model, data.view(split), context, f"evaluating {title} on {split}") for split in SPLITS}


def predict_splits(model: nn.Module, data: DeviceData, context: RunContext, title: str) -> dict[str, Tensor]:
    """Logits of the whole training and test splits, by split name."""
    return {split: predict(model, data.view(split), context, f"evaluating {title} on {split}") for split in SPLITS}
