"""A linear softmax classifier, for torch and for oracles in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.recipe import Recipe

Array = np.ndarray


def softmax_gradient(weights: Array, images: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """Gradient of the mean cross-entropy of ``images @ weights.T``: (p − y)ᵀ x / n, in float64."""
    logits = images @ weights.T
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    chance = exponent / exponent.sum(axis=1, keepdims=True)
    classes = len(weights)
    target = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    return (chance - target).T @ images / len(images)


class LinearProblem:
    """A linear softmax classifier and fixed batches, for torch in float32 and for the oracle in float64."""

    def __init__(self, batches: int = 1) -> None:
        draw = np.random.default_rng(0)
        self.batches = [(draw.normal(size=(6, 5)) * 2, draw.integers(0, 3, 6)) for _ in range(batches)]
        self.start = draw.normal(size=(3, 5))

    def fitted(self, recipe: Recipe, context: RunContext) -> Array:
        model = nn.Linear(5, 3, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(self.start))
        tensors = [(torch.from_numpy(x).float(), torch.from_numpy(y)) for x, y in self.batches]
        fit(model, EpochBatches(lambda _epoch: tensors, 6 * len(tensors), 6), recipe, context, "original")
        return model.weight.detach().double().numpy()
