"""JiT (J. Foster et al., "An Information Theoretic Approach to Machine Unlearning", arXiv:2402.01401).

Objective: the mean over D_f and over ``copies`` draws of ‖f(x) - f(x + e)‖ / ‖e‖, with e Gaussian of standard
deviation ``sigma`` in the space of normalised images, x + e clipped to the batch's own range, and f(x + e) held fixed:
a network that is constant around a sample has not memorised it. One pass over D_f, plain SGD, 25 copies; no
labels are read. Published for forgetting a class with VGG11: σ = 0.5 and a rate of 3e-4; for a vision transformer 0.8
and 1.5. The authors sum over a batch of 128; here the sum is divided by ``train.batch_size``, so that their rate is 128
times as large in these units and a short last batch takes a step as short as theirs. ``mean_over=batch`` divides by
the number of samples in the batch, as runs from before the option did. Their network is in train mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench import Access, EpochBatches, Recipe, RunContext, UnlearningData, UnlearningMethod, Variation, fit
from unsir_bench.config_fields import choice, number
from unsir_bench.training.fit import with_batchnorm
from unsir_bench.training.recipe import no_label_smoothing


@dataclass
class JustInTime(UnlearningMethod):
    """Lower the local Lipschitz constant of the network at the forget samples."""

    name: str = "jit"
    train: Recipe = field(default_factory=lambda: Recipe(name="jit", optimizer="sgd", lr=0.04, momentum=0.0, epochs=1))
    copies: int = number(25, at_least=1)
    sigma: float = number(0.5, above=0, search=(0.05, 1.0))
    freeze_bn_stats: bool = False
    mean_over: str = choice("full_batch", ("full_batch", "batch"))
    requires = frozenset({Access.FORGET_DATA})
    needs_whole_batches = True

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        return no_label_smoothing(self.train, f"{key}.train", "the objective reads no labels")

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        draws = context.generator("jit", "noise")

        def objective(network: Any, images: Tensor, labels: Tensor) -> Tensor:
            noisy = [noised(images, self.sigma, draws) for _ in range(self.copies)]
            with torch.no_grad():
                targets = [network(copy) for copy in noisy]
            logits = network(images)
            ratios = [
                (logits - target).norm(dim=1) / (images - copy).flatten(1).norm(dim=1)
                for target, copy in zip(targets, noisy, strict=True)
            ]
            share = len(images) / self.train.batch_size if self.mean_over == "full_batch" else 1.0
            return share * torch.stack(ratios).mean()

        with context.clock.phase("train"):
            batches = EpochBatches.from_view(data.forget, self.train, context, "jit")
            variation = Variation(objective=objective, before_epoch=with_batchnorm(frozen=self.freeze_bn_stats))
            fit(model, batches, self.train, context, "train", variation=variation)
        return model


def noised(images: Tensor, sigma: float, draws: torch.Generator) -> Tensor:
    """``images`` plus Gaussian noise of standard deviation ``sigma``, clipped to the range that the images span.

    Args:
        images: (samples, channels, height, width), normalised.
        sigma: in their units.
        draws: a CPU generator.
    """
    noise = torch.randn(images.shape, generator=draws).to(images)
    return (images + sigma * noise).clamp(min=images.min(), max=images.max())
