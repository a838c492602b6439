"""A control that forgets nothing in its features: the head alone learns to answer without the forget classes.

Objective: KL(softmax(original's logits with the forget classes masked out) ‖ student) over D_f and a part of D_r, by
the parameters of the head alone (head distillation of D. Jeon et al., "An Information Theoretic Metric for Evaluating
Unlearning Models", arXiv 2405.17878). A_Df falls to about 0 and A_Dr stays, as after retraining, although every layer
below the head is the original's to the bit. Unlike ``logit_mask`` it leaves no trace in the size of a bias.
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
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.training.recipe import no_label_smoothing
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy
from unsir_bench.unlearning.last_layers import trained_alone


@dataclass
class HeadDistillation(UnlearningMethod):
    """Distil the original's masked outputs into a copy of its head."""

    name: str = "head_distillation"
    train: Recipe = field(default_factory=lambda: Recipe(name="head_distillation", lr=0.01, epochs=10))
    retain_share: float = number(0.3, above=0, at_most=1)
    requires = frozenset({Access.RETAIN_SUBSET, Access.FORGET_DATA})
    needs_classes = True

    def unsuitable(self, architecture: ModelConfig) -> str | None:
        if isinstance(architecture, FrozenHeadConfig) and architecture.classifier == "linearised":
            return f"method '{self.name}' trains the head, which model.classifier=linearised leaves as it was"
        return super().unsuitable(architecture)

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "a teacher's distribution stands for labels")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        teacher, head = frozen_copy(model), context.architecture.head(model)
        gone = torch.tensor([*context.forget_classes, *context.forgotten_before], device=context.device)

        def objective(student: Any, images: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                wanted = context.forward(teacher, images).index_fill(1, gone, -float("inf"))
            return divergence_from(wanted, student(images)).mean()

        def features_frozen(network: nn.Module, epoch: int) -> None:
            network.eval()  # dropout and batch statistics below the head would blur what the head learns from

        with context.clock.phase("train"), trained_alone(model, list(head.modules())):
            view = joined(data.retain_share(self.retain_share), data.forget)
            batches = EpochBatches.from_view(view, self.train, context, "head_distillation")
            variation = Variation(objective=objective, before_epoch=features_frozen)
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
