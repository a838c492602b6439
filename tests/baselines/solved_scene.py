"""Small digits under a solved head, with its original from a store; and made-up features for oracles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig, head_inputs
from unsir_bench.references.frozen_heads import FrozenHeadModels, StoredFeatures, reference_models
from unsir_bench.references.store import Store
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import UnlearningData, UnlearningMethod
from unsir_bench.unlearning.solved_heads import HeadSamples, head_samples


@dataclass
class SolvedScene:
    """An original with a solved head, and what may be asked of it."""

    data: DeviceData
    split: ForgetSplit
    context: RunContext
    references: FrozenHeadModels

    @property
    def original(self) -> nn.Module:
        return self.references.network(self.references.original(self.context), self.context)

    @property
    def retrained(self) -> nn.Module:
        return self.references.network(self.references.retrained(self.split, self.context), self.context)

    def unlearned(self, method: UnlearningMethod, model: nn.Module | None = None) -> nn.Module:
        allowed = UnlearningData(self.data, self.split, method, self.context.seed)
        return method.unlearn(model or self.original, allowed, self.context)

    def samples(self, model: nn.Module, indices: Tensor) -> HeadSamples:
        return head_samples(model, self.data.view("train", indices), self.context)


def solved_scene(
    data: DeviceData, root: Path, make_context: Any, gone: Tensor | None = None, seed: int = 0, **fields: Any
) -> SolvedScene:
    """A scene that forgets class 0, or the training samples ``gone``; ``fields`` are those of the model."""
    labels, test_labels = data.labels("train"), data.labels("test")
    if gone is None:
        split = ForgetSplit.of(labels, test_labels, (0,), data.num_classes)
    else:
        chosen = {"train": gone.sort().values, "test": torch.empty(0, dtype=torch.int64)}
        split = ForgetSplit.of_samples(chosen, {"train": len(labels), "test": len(test_labels)}, data.num_classes)
    architecture = FrozenHeadConfig(backbone=AllCNNConfig(width=8), **fields)
    store, recipe = Store(root / "store"), Recipe(epochs=4, batch_size=32, lr=0.01)
    references = reference_models(store, recipe, data, {}, architecture, split.retain_train)
    assert isinstance(references, FrozenHeadModels)
    context = make_context(
        architecture, seed=seed, scratch_trainer=references,
        backbone_features=StoredFeatures(store, data.fingerprint, {}),
    )  # fmt: skip
    return SolvedScene(data, split, context, references)


def made_samples(count: int, dimensions: int, classes: int, seed: int) -> HeadSamples:
    """Features around a centre for each class, of norm 1, with a label and a place for each."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=draws)
    centres = torch.randn(classes, dimensions, generator=draws)
    outputs = centres[labels] + torch.randn(count, dimensions, generator=draws)
    return HeadSamples(head_inputs(outputs), labels, torch.arange(count))


def without(samples: HeadSamples, gone: Tensor) -> tuple[HeadSamples, HeadSamples]:
    """Those samples, and all others."""
    mask = torch.zeros(len(samples), dtype=torch.bool)
    mask[gone] = True
    parts = (HeadSamples(samples.inputs[own], samples.labels[own], samples.indices[own]) for own in (mask, ~mask))
    forget, retain = parts
    return forget, retain
