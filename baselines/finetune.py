"""Fine-tuning on the retain data: catastrophic forgetting as unlearning (the paper's baseline, say third parties)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, fit


@dataclass
class Finetune(UnlearningMethod):
    """Go on training the original by cross-entropy on the retain samples alone.

    The literature uses learning rates of 0.01 to 0.02 for 5 to 10 epochs.
    """

    name: str = "finetune"
    train: Recipe = field(default_factory=lambda: Recipe(name="finetune", optimizer="sgd", lr=0.01, epochs=5))
    requires = frozenset({Access.RETAIN_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        with context.clock.phase("finetune"):
            fit(
                model,
                EpochBatches.from_view(data.retain, self.train, context, "finetune"),
                self.train,
                context,
                "finetune",
            )
        return model
