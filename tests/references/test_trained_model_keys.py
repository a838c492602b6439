"""Keys of the reference models: what changes the weights changes the key, and nothing else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.references.conftest import CPU, HELD_OUT, RECIPE
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.runtime.progress import Progress
from unsir_bench.training.context import RunContext

MakeContext = Callable[..., RunContext]


def other_data() -> DeviceData:
    """The same images, normalised otherwise."""
    config = Digits(subset=20, mean=[0.4], std=[0.376])
    return DeviceData(config.load(Progress(interactive=False)), config, CPU, torch.device("cpu"), channels_last=False)


CHANGES: dict[str, Callable[[ReferenceModels, RunContext], Any]] = {
    "seed": lambda references, context: setattr(context, "seed", 1),
    "rate": lambda references, context: setattr(references, "recipe", dataclasses.replace(RECIPE, lr=0.03)),
    "watched": lambda references, context: setattr(references, "recipe", HELD_OUT),
    "epochs": lambda references, context: setattr(references, "recipe", dataclasses.replace(RECIPE, epochs=5)),
    "width": lambda references, context: setattr(context, "architecture", AllCNNConfig(width=5)),
    "normalisation": lambda references, context: setattr(references, "data", other_data()),
    "precision": lambda references, context: setattr(
        references, "numerics", dataclasses.replace(CPU, precision="bf16-mixed").numerics(channels_last=False)
    ),
    "layout": lambda references, context: setattr(references, "numerics", CPU.numerics(channels_last=True)),
}
NEUTRAL: dict[str, Callable[[ReferenceModels, RunContext], Any]] = {
    "threads": lambda references, context: setattr(
        references, "numerics", dataclasses.replace(CPU, threads=3).numerics(channels_last=False)
    ),
    "forgotten": lambda references, context: setattr(context, "forget_classes", (5, 6)),
    "recipe-name": lambda references, context: setattr(references, "recipe", dataclasses.replace(RECIPE, name="own")),
    "store": lambda references, context: setattr(references, "store", Store(Path("elsewhere"))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_weights_changes_the_key(
    change: str, references: ReferenceModels, make_context: MakeContext
) -> None:
    context = make_context()
    before = references.key(references.data.view("train"), context.architecture, context.seed)
    CHANGES[change](references, context)
    assert references.key(references.data.view("train"), context.architecture, context.seed) != before


@pytest.mark.parametrize("change", NEUTRAL)
def test_what_leaves_the_weights_alone_leaves_the_key(
    change: str, references: ReferenceModels, make_context: MakeContext
) -> None:
    context = make_context()
    before = references.key(references.data.view("train"), context.architecture, context.seed)
    NEUTRAL[change](references, context)
    assert references.key(references.data.view("train"), context.architecture, context.seed) == before


def test_other_samples_have_another_key(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    context, data = make_context(), references.data
    views = [data.view("train"), data.view("train", split.retain_train), data.view("train", split.forget_train)]
    assert len({references.key(view, context.architecture, context.seed) for view in views}) == 3
