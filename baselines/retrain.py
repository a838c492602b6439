"""Retraining from scratch on the retain data: the gold standard that every method is measured against.

The network starts from the original's own initial weights and is trained by the original's own recipe on the retain
samples alone, so that it never saw a forget sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from unsir_bench import Access, RunContext, UnlearningData, UnlearningMethod


@dataclass
class Retrain(UnlearningMethod):
    """Train from scratch without the forget classes; the store keeps the model, and its training time counts."""

    name: str = "retrain"
    requires = frozenset({Access.RETAIN_DATA, Access.INITIAL_WEIGHTS})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        return data.train_from_scratch(context)
