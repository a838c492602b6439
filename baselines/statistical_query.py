"""Statistical-query learning (Y. Cao, J. Yang, "Towards making systems forget with machine unlearning", S&P 2015).

A learner that reads its samples through sums alone forgets by subtracting: here the nearest class mean, of which the
model keeps each class's sum and number of samples. Features are multiples of 2^-30, so that the sums are exact in
float64 and the result is recomputation's, bit for bit. To forget a whole class is to drop a row: an honest lower
bound of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from torch import nn

from unsir_bench import Access, RunContext, UnlearningData
from unsir_bench.models.frozen_head import NearestMeanHead
from unsir_bench.training.convex_heads import class_sums, set_means
from unsir_bench.unlearning.solved_heads import SolvedHeadMethod, head_samples


@dataclass
class StatisticalQuery(SolvedHeadMethod):
    """Subtract the sums of the forget samples from those of all samples."""

    classifiers: ClassVar[tuple[str, ...]] = ("nearest_mean",)
    name: str = "statistical_query"
    requires = frozenset({Access.FORGET_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        found, _ = self.head_of(model, context)
        head = cast("NearestMeanHead", found)
        forget = head_samples(model, data.forget, context)
        with context.clock.phase("subtract"):
            sums, counts = class_sums(forget.inputs, forget.labels, context.num_classes)
            set_means(head, head.sums - sums, head.counts - counts)
        head.to(context.device)
        context.guarantee(exact=1, removed_samples=len(forget))
        return model
