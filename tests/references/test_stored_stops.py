"""A stop during work that the store keeps: every run that is charged its seconds says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.baselines.solved_scene import solved_scene
from tests.continued import go_on
from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.evaluation.costs import stopped_meanwhile
from unsir_bench.references import frozen_heads
from unsir_bench.references.precomputation import StoredPrecomputation
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.references.training_log import LastRead
from unsir_bench.training.context import RunContext
from unsir_bench.training.fit import LossLog
from unsir_bench.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("noted")
MakeContext = Callable[..., RunContext]
RECIPE = Recipe(epochs=1, batch_size=1000)


def stopped_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Stop the process in each call of a function."""
    work = getattr(owner, name)

    def interrupted(*arguments: Any) -> Any:
        go_on()
        return work(*arguments)

    monkeypatch.setattr(owner, name, interrupted)


def test_of_a_precomputation(tmp_path: Path, digits: DeviceData, make_context: MakeContext) -> None:
    def compute(view: DataView) -> dict[str, Tensor]:
        go_on()
        return {"labels": view.labels}

    stored, counts = StoredPrecomputation(Store(tmp_path), digits.fingerprint, {}), []
    for _ in ("computed", "found"):
        context = make_context(precomputation=stored)
        with context.clock.running():
            context.precomputed("importance", {}, context.initial_network(), digits.view("train"), compute)
        assert "the method" in stopped_meanwhile(context, [None])["seconds_caution"]
        counts.append(context.clock.stops)
    assert counts == [1, 1]


def test_of_a_training_for_a_method(
    tmp_path: Path, digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in(monkeypatch, LossLog, "add")
    references, counts = ReferenceModels(Store(tmp_path), RECIPE, digits, {}), []
    for _ in ("trained", "found"):
        context = make_context()
        with context.clock.running():
            references(digits.view("train"), context)
        counts.append(context.clock.stops)
    assert counts == [1, 1]


def test_of_a_head_that_is_solved(
    tmp_path: Path, digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in(monkeypatch, frozen_heads, "solve")
    scene = solved_scene(digits, tmp_path, make_context)
    for _ in ("solved", "found"):
        retrained = scene.references.retrained(scene.split, scene.context)
        assert retrained.manifest["stops"] == 1
        assert "retraining" in stopped_meanwhile(scene.context, [retrained.manifest])["seconds_caution"]


def test_of_the_log_of_a_training(
    tmp_path: Path, digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in(monkeypatch, LastRead, "note")  # of the training, whose seconds are not the log's
    stopped_in(monkeypatch, torch, "isin")  # twice for each batch recorded
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (3,), 10)
    references, context = ReferenceModels(Store(tmp_path), RECIPE, digits, {}), make_context()
    original = references.original(context)
    for _ in ("recorded", "found"):
        manifest = references.training_log(original, split, context).manifest
        assert manifest["stops"] == 2 * manifest["batches"] == 2
        later = make_context()
        later.add_stored_cost("log", manifest)
        assert "the method" in stopped_meanwhile(later, [None])["seconds_caution"]
