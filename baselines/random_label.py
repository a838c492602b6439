"""Random labels: train on wrong labels for the forget samples beside the retain samples.

Objective: CE on D_r and on D_f with labels drawn anew each epoch (Hayase et al. 2020; the "RL" of later papers).
The literature uses 3 to 10 epochs. Some public code draws from all classes, so that the true label returns
(``labels_from=all``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from unsir_bench import Access, Recipe, RunContext, UnlearningData, UnlearningMethod, choice, fit
from unsir_bench.unlearning.relabelling import LABEL_SOURCES, mislabelled_batches


@dataclass
class RandomLabel(UnlearningMethod):
    """Train on retain samples and on forget samples with new random labels in each epoch."""

    name: str = "random_label"
    train: Recipe = field(default_factory=lambda: Recipe(name="random_label", optimizer="sgd", lr=0.01, epochs=3))
    labels_from: str = choice("retained", LABEL_SOURCES)
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        with context.clock.phase("train"):
            batches = mislabelled_batches(data.retain, data.forget, self.labels_from, self.train, context)
            fit(model, batches, self.train, context, "train")
        return model
