"""SCRUB (M. Kurmanji, P. Triantafillou, J. Hayes, E. Triantafillou, NeurIPS 2023): disobey the teacher on D_f alone.

With the original as teacher, each epoch first maximises KL(teacher ‖ student) over D_f (in the first ``max_epochs``
epochs), then minimises γ CE + α KL(teacher ‖ student) over D_r, the divergences at temperature T and scaled by T².
Published at small scale, subsets of five classes, with Adam at 5e-4 and weight decay 0.1, T = 2, 10 epochs, the rate
lowered to a tenth after 5, 8 and 9 of them, batches of 64 forget and 32 retain samples (``method=scrub_published``); on
the whole of CIFAR-10 with SGD at 5e-4, T = 4, 3 epochs, batches of 512 and 256 (``method=scrub_large_published``).
SCRUB+R, which rewinds until the error on forgotten samples is that of unseen samples of the same class, is left out:
for a whole class that reference is retraining's 100 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import hashed_if_not_default, number
from unsir_bench.data.batches import Batch
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy
from unsir_bench.unlearning.marked_samples import marked, told_apart


@dataclass
class Scrub(UnlearningMethod):
    """Alternate passes away from the teacher on the forget samples and towards it on the retain samples.

    Batches of forget samples have ``forget_batch_size``; None: as those of retain samples, ``train.batch_size``.
    """

    name: str = "scrub"
    train: Recipe = field(default_factory=lambda: Recipe(name="scrub", lr=5e-4, epochs=10))
    max_epochs: int = number(3, at_least=0, search=(1, 5))
    temperature: float = number(2.0, above=0)
    ce_weight: float = number(1.0, at_least=0)
    kl_weight: float = number(0.5, at_least=0, search=(0.05, 2.0))
    forget_batch_size: int | None = hashed_if_not_default(number(None, at_least=1))
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})
    tells_samples_apart = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        teacher, smoothing = frozen_copy(model), self.train.label_smoothing

        def objective(student: Any, images: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                wanted = context.forward(teacher, images)
            logits = student(images)
            kl = divergence_from(wanted, logits, self.temperature).mean()
            labels, forgotten = told_apart(labels, context.num_classes)
            if bool(forgotten[0]):
                return -kl
            return self.ce_weight * F.cross_entropy(logits, labels, label_smoothing=smoothing) + self.kl_weight * kl

        with context.clock.phase("train"):
            batches = self._alternating_passes(data, context)
            fit(model, batches, self.train, context, "train", variation=Variation(objective=objective))
        return model

    def _alternating_passes(self, data: UnlearningData, context: RunContext) -> EpochBatches:
        """Each epoch a pass over the forget samples, then one over the retain samples; no batch holds both."""
        of_forget = replace(self.train, batch_size=self.forget_batch_size or self.train.batch_size)
        forget = EpochBatches.from_view(marked(data.forget, context.num_classes), of_forget, context, "scrub forget")
        retain = EpochBatches.from_view(data.retain, self.train, context, "scrub retain")

        def of_epoch(epoch: int) -> Iterator[Batch]:
            if epoch < self.max_epochs:
                yield from forget.batches(epoch)
            yield from retain.batches(epoch)

        def steps_in(epochs: int) -> int:
            return epochs * retain.steps + min(epochs, self.max_epochs) * forget.steps

        return EpochBatches(of_epoch, retain.samples + forget.samples, self.train.batch_size, steps_in)
