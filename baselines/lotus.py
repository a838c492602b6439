"""LoTUS (C. Spartalis et al., "LoTUS: Large-Scale Machine Unlearning with a Taste of Uncertainty", CVPR 2025,
arXiv:2503.18314): cross-entropy to a teacher whose answers on D_f are smoothed.

The teacher is the original. Objective: the mean over D_f and a random ``retain_share`` of D_r of CE(t, student), with t
a Gumbel-softmax draw of the teacher's logits: of temperature τ on D_f, hard (one class, drawn by its probability) on
D_r. Before each epoch τ = exp(α · (student's accuracy on D_f - the accuracy to reach)); to forget a class that is 0.
The authors' code rounds that accuracy to two decimals, which changes τ by up to a sixth; here it is exact. Published
for a class: AdamW at 1e-4, weight decay 5e-4, 10 epochs, batch 128, 30 % of D_r, α = 32 (at accuracy 1 the targets of
D_f are then uniform); on CIFAR, except with transformers, images are shifted by up to 4 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import number
from unsir_bench.data.batches import joined
from unsir_bench.training.inference import predict
from unsir_bench.training.recipe import no_label_smoothing
from unsir_bench.unlearning.distillation import frozen_copy
from unsir_bench.unlearning.marked_samples import marked, told_apart


@dataclass
class LoTUS(UnlearningMethod):
    """Learn from the original's answers, made the more uncertain on forget samples the better these are still known."""

    name: str = "lotus"
    train: Recipe = field(default_factory=lambda: Recipe(name="lotus", optimizer="adamw", lr=1e-4, epochs=10))
    retain_share: float = number(0.3, above=0, at_most=1)
    alpha: float = number(32.0, at_least=0, search=(0.5, 50.0))
    requires = frozenset({Access.RETAIN_SUBSET, Access.FORGET_DATA})
    needs_classes = True

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "a teacher's answers stand for labels")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        teacher, temperature = frozen_copy(model), 1.0

        def follow_accuracy(student: nn.Module, epoch: int) -> None:
            nonlocal temperature
            right = predict(student, data.forget, context, "forget accuracy").argmax(dim=1) == data.forget.labels
            temperature = math.exp(self.alpha * right.double().mean().item())

        def objective(student: Any, images: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                answers = context.forward(teacher, images)
                drawn = F.gumbel_softmax(answers, hard=True)
                smooth = F.gumbel_softmax(answers, tau=temperature)
                _, forgotten = told_apart(labels, context.num_classes)
                wanted = torch.where(forgotten[:, None], smooth, drawn)
            return F.cross_entropy(student(images), wanted)

        with context.clock.phase("train"):
            view = joined(data.retain_share(self.retain_share), marked(data.forget, context.num_classes))
            batches = EpochBatches.from_view(view, self.train, context, "lotus")
            variation = Variation(objective=objective, before_epoch=follow_accuracy)
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
