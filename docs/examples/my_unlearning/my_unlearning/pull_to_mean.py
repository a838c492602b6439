"""Pull the classifier's rows of the forget classes to the mean of the other rows, then fine-tune on few retain samples.

An example, not a published method. After a full pull the logit of a forget class is the mean of the others' logits, so
the class is never predicted, whatever the features still hold of it: A_Df is zero, as for ``logit_mask``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, fit, number


@dataclass
class PullToMean(UnlearningMethod):
    """Make the forget classes average in the last layer, then repair by cross-entropy; no forget sample is read."""

    name: str = "pull_to_mean"
    strength: float = number(1.0, above=0, at_most=1, search=(0.1, 1.0))
    retain_per_class: int = number(100, at_least=1)
    repair: Recipe = field(default_factory=lambda: Recipe(name="pull_to_mean", optimizer="sgd", lr=0.01, epochs=2))

    @property
    def requires(self) -> frozenset[Access]:
        return frozenset({Access.RETAIN_SUBSET})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        gone = [*context.forgotten_before, *context.forget_classes]
        with context.clock.phase("pull"):
            pull_rows(context.architecture.linear_head(model), context.forget_classes, gone, self.strength)
        with context.clock.phase("repair"):
            subset = data.retain_subset(self.retain_per_class)
            fit(model, EpochBatches.from_view(subset, self.repair, context, "repair"), self.repair, context, "repair")
        return model


@torch.no_grad()
def pull_rows(head: nn.Linear, classes: Sequence[int], gone: Sequence[int], strength: float) -> None:
    """Move rows ``classes`` of ``head``, in place, by ``strength`` in [0, 1] to the mean of the rows not ``gone``."""
    others = [row for row in range(head.out_features) if row not in gone]
    for parameter in (head.weight, head.bias):
        parameter[list(classes)] = parameter[list(classes)].lerp(parameter[others].mean(dim=0), strength)
