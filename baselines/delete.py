"""DELETE (Decoupled distillation to erase, CVPR 2025): distil the original without the true class.

Objective: KL(softmax(original's logits with the sample's own class masked out) ‖ student) over D_f, about 20 epochs of
D_f. The mask removes the class; what the original knows of the others is kept by the distillation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Variation, fit, with_batchnorm
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy
from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod


@dataclass
class Delete(UnlearningMethod):
    """Distil from the original what it would say of a forget sample if its class did not exist."""

    name: str = "delete"
    train: Recipe = field(default_factory=lambda: Recipe(name="delete", optimizer="sgd", lr=1e-3, epochs=20))
    freeze_bn_stats: bool = False

    @property
    def requires(self) -> frozenset[Access]:
        return frozenset({Access.FORGET_DATA})

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.train.label_smoothing:
            given = self.train.label_smoothing
            yield f"{key}.train.label_smoothing={given}: a teacher's distribution stands for labels; leave it at 0"

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        teacher = frozen_copy(model)

        def objective(student: Any, images: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                wanted = context.forward(teacher, images).scatter(1, labels[:, None], -torch.inf)
            return divergence_from(wanted, student(images)).mean()

        with context.clock.phase("train"):
            batches = EpochBatches.from_view(data.forget, self.train, context, "delete")
            before_epoch = with_batchnorm(frozen=self.freeze_bn_stats)
            variation = Variation(objective=objective, before_epoch=before_epoch)
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
