"""NegGrad+: descend on the retain samples while ascending on the forget samples (Kurmanji et al., NeurIPS 2023).

Objective: α CE(D_r) - (1 - α) CE(D_f), each step on as many forget samples as retain samples. The literature uses α of
0.95 to 0.9999 and 5 to 10 epochs of D_r. The official ``train_negrad`` passes retain and forget samples through the
network one after the other, so that batch normalisation sees each kind alone (``forwards=separate``); ``mixed`` passes
both together. SCRUB's notebook keeps the network in eval mode, which is not offered here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice, number
from unsir_bench.data.batches import Batch, DataView
from unsir_bench.unlearning.marked_samples import marked, told_apart


@dataclass
class NegGradPlus(UnlearningMethod):
    """NegGrad with descent on the retain samples; an epoch is one pass over these."""

    name: str = "neggrad_plus"
    train: Recipe = field(default_factory=lambda: Recipe(name="neggrad_plus", optimizer="sgd", lr=0.01, epochs=5))
    alpha: float = number(0.95, above=0, at_most=1, search=(0.5, 1.0))
    forwards: str = choice("separate", ("separate", "mixed"))
    requires = frozenset({Access.RETAIN_DATA, Access.FORGET_DATA})
    tells_samples_apart = True

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        def objective(network: Any, images: Tensor, labels: Tensor) -> Tensor:
            labels, forgotten = told_apart(labels, context.num_classes)
            kinds = [~forgotten, forgotten] if self.forwards == "separate" else [torch.ones_like(forgotten)]
            logits = torch.cat([network(images[kind]) for kind in kinds])
            labels, forgotten = (torch.cat([values[kind] for kind in kinds]) for values in (labels, forgotten))
            smoothing = self.train.label_smoothing
            losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
            # Half of a batch is of each kind: a mean over the whole weighs each half by a half.
            return 2 * torch.where(forgotten, self.alpha - 1, self.alpha).mul(losses).mean()

        with context.clock.phase("train"):
            batches = paired_batches(data.retain, marked(data.forget, context.num_classes), self.train, context)
            variation = Variation(objective=objective, kinds=2 if self.forwards == "separate" else 1)
            fit(model, batches, self.train, context, "train", variation=variation)
        return model


def paired_batches(retain: DataView, forget: DataView, recipe: Recipe, context: RunContext) -> EpochBatches:
    """Shuffled batches of the retain samples, each followed by as many forget samples, which come round again."""

    def of_epoch(epoch: int) -> Iterator[Batch]:
        context.seed_everything("neggrad_plus", "dropout", epoch)
        order = context.generator("neggrad_plus", "order", epoch)
        forget_order = context.generator("neggrad_plus", "forget order", epoch)
        augment = recipe.augment.in_epoch(epoch)
        waiting = torch.empty(0, dtype=torch.long)
        for images, labels in retain.batches(recipe.batch_size, order=order, augment=augment):
            while len(waiting) < len(labels):
                waiting = torch.cat([waiting, torch.randperm(len(forget), generator=forget_order)])
            chosen, waiting = waiting[: len(labels)], waiting[len(labels) :]
            other_images, other_labels = forget.fetch(chosen, augment=augment, order=forget_order)
            yield torch.cat([images, other_images]), torch.cat([labels, other_labels])

    return EpochBatches(of_epoch, len(retain), recipe.batch_size)
