"""Bad teaching (V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, AAAI 2023): two teachers.

Objective: KL(random network ‖ student) on D_f and KL(original ‖ student) on a random 30 % of D_r, mean over samples.
Published: Adam at 1e-4, 1 epoch, batch 256. The published code takes the mean over samples and classes (torch's
default), which is ours divided by the number of classes: with Adam only its epsilon then differs, with SGD the rate is
to be divided too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import number
from unsir_bench.data.batches import joined
from unsir_bench.training.recipe import no_label_smoothing
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy
from unsir_bench.unlearning.marked_samples import marked, told_apart


@dataclass
class BadTeacher(UnlearningMethod):
    """Distil forget samples from a random network and retain samples from the original."""

    name: str = "bad_teacher"
    train: Recipe = field(default_factory=lambda: Recipe(name="bad_teacher", lr=1e-4, epochs=1))
    retain_share: float = number(0.3, above=0, at_most=1)
    temperature: float = number(1.0, above=0, search=(0.5, 5.0))
    requires = frozenset({Access.RETAIN_SUBSET, Access.FORGET_DATA})
    tells_samples_apart = True

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "a teacher's distribution stands for labels")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        good = frozen_copy(model)
        bad = frozen_copy(context.random_network("bad teacher"))

        def objective(student: Any, images: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                _, forgotten = told_apart(labels, context.num_classes)
                wanted = torch.where(forgotten[:, None], context.forward(bad, images), context.forward(good, images))
            return divergence_from(wanted, student(images), self.temperature).mean()

        with context.clock.phase("train"):
            view = joined(data.retain_share(self.retain_share), marked(data.forget, context.num_classes))
            batches = EpochBatches.from_view(view, self.train, context, "bad_teacher")
            fit(model, batches, self.train, context, "train", variation=Variation(objective=objective))
        return model
