"""ESC (T.-Y. Lee et al., "ESC: Erasing Space Concept for Knowledge Deletion", CVPR 2025, arXiv:2504.02199).

The leading left singular vectors U_k of the matrix of D_f's features (what the head receives, eval mode, not centred)
span what the network says of D_f most strongly; features pass through I - U_k U_kᵀ before the head, which is folded
into its weight: W ← W (I - U_k U_kᵀ). Nothing is trained. Published: k is ``percent`` = 1.5 % of the feature
dimensions, rounded down; here at least one. The authors keep the remaining singular vectors instead, which is the same
where D_f has at least as many samples as features have dimensions. Their code never leaves train mode: its features are
normalised by each batch, and its statistics drift while they are computed. Eval mode is ours, so that the erased
directions are those of the features that the head receives in use. ESC-T, which learns a mask over the vectors, is left
out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod
from unsir_bench.config_fields import number
from unsir_bench.runtime.float64 import as_float64
from unsir_bench.training.inference import outputs


@dataclass
class ErasingSpaceConcept(UnlearningMethod):
    """Project the leading directions of the forget samples' features out of what the head reads."""

    name: str = "esc"
    percent: float = number(1.5, above=0, at_most=100, search=(0.5, 50.0))
    requires = frozenset({Access.FORGET_DATA})
    needs_classes = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        head = context.architecture.linear_head(model)
        with context.clock.phase("erase"):
            features = outputs(model, data.forget, context, "forget features").features
            assert features is not None  # noqa: S101 - a linear head was found
            erase(head, leading_directions(features, self.percent))
        return model


def leading_directions(features: Tensor, percent: float) -> Tensor:
    """The left singular vectors of ``features`` transposed that belong to the largest singular values.

    Args:
        features: (samples, dimensions).
        percent: of the dimensions, rounded down to whole vectors, at least one.

    Returns:
        float64 of shape (dimensions, vectors), orthonormal columns.
    """
    vectors: Tensor = torch.linalg.svd(features.double().T, full_matrices=False).U
    return vectors[:, : max(1, int(features.shape[1] * percent / 100))]


@torch.no_grad()
def erase(head: nn.Linear, directions: Tensor) -> None:
    """Make the head blind, in place, to ``directions``: orthonormal columns (dimensions, vectors)."""
    weight = as_float64(head.weight)
    seen = directions.to(weight)
    head.weight.copy_(weight - weight @ seen @ seen.T)
