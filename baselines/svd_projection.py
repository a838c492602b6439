"""SVD class forgetting (S. Kodge, G. Saha, K. Roy, TMLR 2024, arXiv:2312.00761): layer by layer, without gradients.

From the inputs of each convolution (patches) and linear layer, M = U diag(α r / ((α - 1) r + 1)) Uᵀ with U the left
singular vectors and r their shares of the squared singular values: M_r of retain samples with α_r, M_f of forget
samples with α_f. Each weight loses what only the forget samples use: W ← W (I - (M_f - M_f M_r))ᵀ. All statistics are
those of the original, in eval mode. Published: at most 10,000 patches of each layer, and for CIFAR-10 (the preset's
values, on any data) 900 samples of each kind, the retain samples in equal parts of each class, α_r = 100, α_f = 3; for
CIFAR-100 990 samples, 1000 and 30; for ImageNet 999 samples, 100 and 10.

Here M comes from the eigenvectors of the inputs' second moments, which are the singular vectors, and patches are drawn
from the whole map (the published code draws them from one random window of three kernels). Grouped convolutions and
attention weights that are no linear layer stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod
from unsir_bench.config_fields import number
from unsir_bench.data.batches import DataView
from unsir_bench.models.model import in_mode
from unsir_bench.runtime.float64 import as_float64

Layer = nn.Conv2d | nn.Linear


@dataclass
class SvdProjection(UnlearningMethod):
    """Project each layer's weights away from the directions that only forget samples use."""

    name: str = "svd_projection"
    retain_scale: float = number(100.0, above=0, search=(1.0, 1000.0))
    forget_scale: float = number(3.0, above=0, search=(0.1, 1000.0))
    samples: int = number(900, at_least=1)
    max_patches: int = number(10_000, at_least=1)
    batch_size: int = number(256, at_least=1)
    requires = frozenset({Access.RETAIN_SUBSET, Access.FORGET_DATA})
    needs_classes = True
    changes_all_layers = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        kept_classes = context.num_classes - len(context.forget_classes) - len(context.forgotten_before)
        retain = data.retain_subset(max(1, self.samples // kept_classes))
        order = torch.randperm(len(data.forget), generator=context.generator("svd", "forget samples"))
        forget = data.forget.narrowed(order[: self.samples].sort().values)
        with context.clock.phase("project"):
            of_retain = self._moments(model, retain, context, "retain")
            of_forget = self._moments(model, forget, context, "forget")
            for layer in of_retain:
                kept = scaled_projection(of_retain[layer], self.retain_scale)
                project(layer, scaled_projection(of_forget[layer], self.forget_scale), kept)
        return model

    def _moments(self, model: nn.Module, view: DataView, context: RunContext, kind: str) -> dict[Layer, Tensor]:
        draws = context.generator("svd", "patches", kind)
        with listening(model, self.max_patches / len(view), draws) as moments, in_mode(model, training=False):
            for images, _ in view.batches(self.batch_size):
                with torch.no_grad():
                    context.forward(model, images, mixed=False)
        return moments


def projected_layers(model: nn.Module) -> list[Layer]:
    """Convolutions of one group and linear layers."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]


@contextmanager
def listening(model: nn.Module, per_image: float, draws: torch.Generator) -> Iterator[dict[Layer, Tensor]]:
    """Second moments Σ x xᵀ (float64) of the inputs of each layer during forward passes.

    Args:
        model: its layers are listened to.
        per_image: patches taken of each image; where there are more, a random choice of those of a batch.
        draws: for that choice.
    """
    moments: dict[Layer, Tensor] = {}

    def note(layer: Layer, inputs: tuple[Tensor, ...]) -> None:
        rows = input_rows(layer, inputs[0])
        wanted = max(1, round(per_image * len(inputs[0])))
        if wanted < len(rows):
            rows = rows[torch.randperm(len(rows), generator=draws)[:wanted].to(rows.device)]
        wide = as_float64(rows)
        moment = wide.T @ wide
        moments[layer] = moments[layer] + moment if layer in moments else moment

    handles = [layer.register_forward_pre_hook(note) for layer in projected_layers(model)]
    try:
        yield moments
    finally:
        for handle in handles:
            handle.remove()


def input_rows(layer: Layer, inputs: Tensor) -> Tensor:
    """What each row of a layer's weight, flattened, is multiplied with: (positions, inputs)."""
    if isinstance(layer, nn.Linear):
        return inputs.flatten(0, -2)
    assert not isinstance(layer.padding, str)  # noqa: S101 - no model here names its padding
    patches = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return patches.transpose(1, 2).flatten(0, 1)


def scaled_projection(moment: Tensor, scale: float) -> Tensor:
    """U diag(α r / ((α - 1) r + 1)) Uᵀ of a second moment (n, n), r being the eigenvalues' shares of their sum."""
    values, vectors = torch.linalg.eigh(moment)
    shares = values.clamp(min=0) / values.clamp(min=0).sum()
    importance = scale * shares / ((scale - 1) * shares + 1)
    projection: Tensor = (vectors * importance) @ vectors.T
    return projection


@torch.no_grad()
def project(layer: Layer, of_forget: Tensor, of_retain: Tensor) -> None:
    """W ← W (I - (M_f - M_f M_r))ᵀ for the weight of ``layer``, in place."""
    weight = as_float64(layer.weight).flatten(1)
    lost = weight @ (of_forget - of_forget @ of_retain).T
    layer.weight.copy_((weight - lost).view_as(layer.weight))
