"""NegGrad: gradient ascent on the forget samples (the paper's baseline, say third parties; Golatkar et al., CVPR 2020).

Objective: maximise CE on D_f. The literature uses a learning rate of 1e-4 for 5 epochs. In train mode batch
normalisation sees batches of forget samples alone, so that its statistics drift towards them, as in public code;
``freeze_bn_stats`` prevents that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.training.fit import with_batchnorm
from unsir_bench.training.recipe import no_label_smoothing


def ascent(model: Any, images: Tensor, labels: Tensor) -> Tensor:
    """The negative cross-entropy."""
    return -F.cross_entropy(model(images), labels)


@dataclass
class NegGrad(UnlearningMethod):
    """Ascend the loss of the forget samples; nothing protects the retain samples."""

    name: str = "neggrad"
    train: Recipe = field(default_factory=lambda: Recipe(name="neggrad", optimizer="sgd", lr=1e-4, epochs=5))
    freeze_bn_stats: bool = False
    requires = frozenset({Access.FORGET_DATA})

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "the ascent is on the labels as they are")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        variation = Variation(objective=ascent, before_epoch=with_batchnorm(frozen=self.freeze_bn_stats))
        with context.clock.phase("ascent"):
            batches = EpochBatches.from_view(data.forget, self.train, context, "neggrad")
            fit(model, batches, self.train, context, "ascent", variation=variation)
        return model
