"""DELETE (Decoupled distillation to erase, CVPR 2025): distil the original without the true class.

Objective: KL(softmax(original's logits with the forget classes masked out) ‖ student) over D_f. The mask removes the
class; what the original knows of the others is kept by the distillation. Published for CIFAR-10 and ResNet18: 20 epochs
of D_f in batches of 128, SGD at 1e-4, momentum 0.9, no weight decay; the rate is 5e-5 in the authors' other settings
(VGG16, Swin, ViT, CIFAR-100, Tiny ImageNet, faces). CIFAR's images are shifted by up to 4 pixels and mirrored.
Statistics of batch normalisation drift, unless a single class of Tiny ImageNet is forgotten. The published rule masks
the sample's own class alone (``mask=own_class``), which moves samples to other forget classes if there are several.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice
from unsir_bench.training.fit import with_batchnorm
from unsir_bench.training.recipe import no_label_smoothing
from unsir_bench.unlearning.distillation import divergence_from, frozen_copy
from unsir_bench.unlearning.masking import MASKS, without_forgotten


@dataclass
class Delete(UnlearningMethod):
    """Distil the original's distribution over the classes that ``mask`` leaves on forget samples."""

    name: str = "delete"
    train: Recipe = field(default_factory=lambda: Recipe(name="delete", optimizer="sgd", lr=1e-3, epochs=20))
    freeze_bn_stats: bool = False
    mask: str = choice("forget_classes", MASKS)
    requires = frozenset({Access.FORGET_DATA})

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "a teacher's distribution stands for labels")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        teacher = frozen_copy(model)

        def objective(student: Any, images: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                wanted = without_forgotten(context.forward(teacher, images), labels, self.mask, context)
            return divergence_from(wanted, student(images)).mean()

        with context.clock.phase("train"):
            batches = EpochBatches.from_view(data.forget, self.train, context, "delete")
            before_epoch = with_batchnorm(frozen=self.freeze_bn_stats)
            variation = Variation(objective=objective, before_epoch=before_epoch)
            fit(model, batches, self.train, context, "train", variation=variation)
        return model
