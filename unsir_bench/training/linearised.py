"""A network linearised in some of its parameters: its Jacobian, and least squares on it, in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from unsir_bench.data.batches import DataView
from unsir_bench.models.frozen_head import LinearisedNetwork
from unsir_bench.runtime.available_memory import require_memory
from unsir_bench.runtime.float64 import device_of_float64
from unsir_bench.training.context import RunContext
from unsir_bench.training.convex_heads import targets_of

AT_ONCE = 64  # samples whose Jacobians are held at once
LinearRows = tuple[Tensor, Tensor, Tensor]


def in_float64(model: nn.Module) -> nn.Module:
    """A copy of the network in float64 and eval mode, on its device, or on the CPU if that has no float64 (MPS)."""
    device = next(model.parameters()).device
    return copy.deepcopy(model).to(device_of_float64(device)).double().eval()


def jacobian(model: nn.Module, names: Sequence[str], images: Tensor) -> Tensor:
    """The derivatives of each sample's logits for the parameters ``names``.

    Args:
        model: in eval mode, so that no sample's logits depend on another one.
        names: of parameters, as ``named_parameters`` has them.
        images: (samples, channels, height, width), of the model's type and device.

    Returns:
        (samples, classes, weights), the weights of each parameter flattened, one parameter after another.
    """
    weights = dict(model.named_parameters())

    def logits(selected: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(model, selected, (image[None],))[0]  # type: ignore[no-any-return]

    selected = {name: weights[name].detach() for name in names}
    by_name = vmap(jacrev(logits), in_dims=(None, 0))(selected, images)
    return torch.cat([by_name[name].flatten(2) for name in names], dim=2)


def linear_rows(
    model: nn.Module, names: Sequence[str], view: DataView, batch_size: int, context: RunContext
) -> Iterator[LinearRows]:
    """Jacobian, logits and labels of each batch of a view, in its order.

    Args:
        model: of ``in_float64``.
        names, batch_size: of the parameters; of the samples whose Jacobians are held at once.
        view: each sample is read once.
        context: shows progress.
    """
    place = next(model.parameters())
    with context.progress.task("Jacobians", len(view), "images") as task:
        for images, labels in view.batches(batch_size):
            moved = images.to(place)
            with torch.no_grad():
                logits = model(moved)
            yield jacobian(model, names, moved), logits, labels.to(place.device)
            task.advance(len(labels))


@torch.no_grad()
def normal_equations(
    network: LinearisedNetwork, view: DataView, l2: float, context: RunContext
) -> tuple[Tensor, Tensor]:
    """The system H w = g of ridge least squares of a linearised network's logits on one-hot targets.

    The objective is ½ Σ ‖f(x) + ∇f(x)·w - y‖² + l2 / 2 ‖w‖²; its gradient is H w - g.

    Args:
        network: gives f, ∇f and the layout of w.
        view: each sample is read once.
        l2: strength of the regulariser, beside the sum of the losses.
        context: shows progress.

    Returns:
        H (weights, weights) and g (weights,), float64, on the CPU.

    Raises:
        NotApplicable, NotEnoughMemoryError: H would not fit, in all or in what is free.
    """
    weights = network.head.get_parameter("change").numel()
    _require_memory(weights)
    core = in_float64(network.backbone)
    place = next(core.parameters())
    hessian, moment = l2 * torch.eye(weights).to(place), torch.zeros(weights).to(place)
    for derivatives, logits, labels in linear_rows(core, network.names, view, AT_ONCE, context):
        rows = derivatives.flatten(0, 1)
        lacking = targets_of(labels, logits.shape[1]) - logits
        hessian.addmm_(rows.T, rows)
        moment.addmv_(rows.T, lacking.flatten())
    return hessian.cpu(), moment.cpu()


def _require_memory(weights: int) -> None:
    needed = 8 * 3 * weights**2  # the system, its factor and a copy; a float64 has 8 bytes
    what = f"model.classifier=linearised, for a system over {weights} weights,"
    require_memory(needed, what, "lower model.layers, or take a smaller backbone")


@torch.no_grad()
def add_to(model: nn.Module, names: Sequence[str], change: Tensor) -> None:
    """Add a vector to the parameters ``names``, in place.

    Args:
        model: to be changed.
        names: of parameters.
        change: (weights,), laid out as the last dimension of ``jacobian``.
    """
    weights = [model.get_parameter(name) for name in names]
    for weight, piece in zip(weights, change.split([weight.numel() for weight in weights]), strict=True):
        weight.add_(piece.view(weight.shape).to(weight))
