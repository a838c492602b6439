"""What tests of the reference models share: a short recipe, an empty store and two classes to forget."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.training.recipe import Recipe

RECIPE = Recipe(epochs=4, batch_size=64, lr=0.02, schedule="onecycle")
HELD_OUT = dataclasses.replace(
    RECIPE, schedule="plateau", plateau_patience=0, plateau_watch="held_out", held_out_share=0.1
)
CPU = HardwareConfig(accelerator="cpu")


@pytest.fixture
def references(tmp_path: Path, digits: DeviceData) -> ReferenceModels:
    return ReferenceModels(Store(tmp_path / "store"), RECIPE, digits, CPU.numerics(channels_last=False))


@pytest.fixture
def split(digits: DeviceData) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), (0, 4), 10)
