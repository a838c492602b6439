"""Boundary Expand (M. Chen et al., "Boundary Unlearning", CVPR 2023): a shadow class absorbs the forget samples.

The head gets one more class; the network trains to give D_f that label; the class is then pruned, which some public
code forgets. Published as for Boundary Shrink: SGD at 1e-5 with momentum 0.9, 10 epochs of D_f; the new class starts
from Xavier's normal distribution for the widened head, without bias (``shadow_init=xavier``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice, hashed_if_not_default
from unsir_bench.training.fit import with_batchnorm


@dataclass
class BoundaryExpand(UnlearningMethod):
    """Train the forget samples to an extra class, then remove that class."""

    name: str = "boundary_expand"
    train: Recipe = field(default_factory=lambda: Recipe(name="boundary_expand", optimizer="sgd", lr=1e-5, epochs=10))
    freeze_bn_stats: bool = False
    shadow_init: str = hashed_if_not_default(choice("default", ("default", "xavier")))
    requires = frozenset({Access.FORGET_DATA})
    needs_classes = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        head = context.architecture.linear_head(model)
        with context.clock.phase("train"):
            widen(head, self.shadow_init, context)
            shadow = torch.full((len(data.forget),), context.num_classes)
            batches = EpochBatches.from_view(data.forget.relabelled(shadow), self.train, context, "boundary_expand")
            variation = Variation(before_epoch=with_batchnorm(frozen=self.freeze_bn_stats))
            fit(model, batches, self.train, context, "train", variation=variation)
            prune(head, context.num_classes)
        return model


def widen(head: nn.Linear, init: str, context: RunContext) -> None:
    """Add a class to the head, in place.

    Args:
        head: of the network.
        init: where its weights start: ``default``, as torch starts a linear layer; ``xavier``, as Xavier's normal
            distribution starts the whole widened head, with a bias of 0.
        context: its seed.
    """
    context.seed_everything("boundary_expand", "shadow class")
    if init == "xavier":
        weight = nn.init.xavier_normal_(torch.empty(head.out_features + 1, head.in_features))[-1:]
        bias = torch.zeros(1)
    else:
        fresh = nn.Linear(head.in_features, 1)
        weight, bias = fresh.weight.data, fresh.bias.data
    weight, bias = weight.to(head.weight), bias.to(head.bias)
    _replace(head, torch.cat([head.weight.data, weight]), torch.cat([head.bias.data, bias]))


def prune(head: nn.Linear, classes: int) -> None:
    """Leave the head its first ``classes`` classes, in place."""
    _replace(head, head.weight.data[:classes].clone(), head.bias.data[:classes].clone())


def _replace(head: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    head.weight, head.bias, head.out_features = nn.Parameter(weight), nn.Parameter(bias), len(bias)
