"""Original and retrained models: trained once and found again, with their costs, after a kill too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.references.conftest import RECIPE
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import Diverged
from unsir_bench.references import trained_models
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.runtime.seeding import seed_everything
from unsir_bench.training.context import RunContext
from unsir_bench.training.fit import FitState, fit
from unsir_bench.training.inference import predict
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]


def assert_same(first: Any, second: Any) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_the_original_is_trained_once_and_then_found(references: ReferenceModels, make_context: MakeContext) -> None:
    context = make_context()
    trained = references.original(context)
    steps = len(context.log.points)
    assert steps == trained.manifest["steps"] == 4 * 4
    later = make_context(forget_classes=(7,))  # neither the classes to forget nor the method matter to it
    found = references.original(later)
    assert later.log.points == []
    assert found.key == trained.key
    assert_same(found.weights, trained.weights)


def test_a_stored_model_is_the_network_that_was_trained(
    references: ReferenceModels, digits: DeviceData, make_context: MakeContext
) -> None:
    context = make_context()
    trained = references.original(context)
    network = references.network(trained, context)
    for name in ("train", "test"):
        assert torch.equal(predict(network, digits.view(name), context, "again"), trained.logits[name])
    accuracy = (trained.logits["train"].argmax(1) == digits.labels("train")).float().mean()
    assert accuracy > 0.3  # chance is 0.1: it has learned


def test_the_costs_of_a_reference_are_not_the_methods(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    context = make_context()
    references.original(context)
    references.retrained(split, context)
    assert context.steps == {}
    assert context.clock.total == 0


def test_retraining_sees_retain_samples_alone(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    trained = references.retrained(split, make_context())
    assert trained.manifest["samples"] == RECIPE.epochs * len(split.retain_train)
    # A class that training never met is never predicted.
    assert not set(trained.logits["test"].argmax(1).tolist()) & {0, 4}


def test_original_and_retrained_begin_with_the_same_weights(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    references.recipe = Recipe(epochs=0)
    context = make_context()
    original, retrained = references.original(context), references.retrained(split, context)
    assert original.key != retrained.key
    assert_same(original.weights, retrained.weights)


def test_weights_do_not_depend_on_what_was_drawn_before(
    tmp_path: Path, references: ReferenceModels, make_context: MakeContext
) -> None:
    first = references.original(make_context())
    seed_everything(99, "something else")
    references.store = Store(tmp_path / "another")
    assert_same(first.weights, references.original(make_context()).weights)


class FakePeak:
    """The peak memory of this process: each training reaches ``training``, and a reset begins at 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, training: int):
        self.value, self.training = 0, training
        monkeypatch.setattr(PeakMemory, "read", lambda _: self.value)
        monkeypatch.setattr(PeakMemory, "reset", lambda _: setattr(self, "value", 0))
        monkeypatch.setattr(trained_models, "fit", self._fit)

    def _fit(self, *given: Any) -> FitState:
        self.value = max(self.value, self.training)
        return fit(*given)


@pytest.mark.usefixtures("ticking_time")
@pytest.mark.parametrize("stored_before", [True, False])
def test_a_method_that_retrains_is_booked_its_cost_wherever_the_model_came_from(
    stored_before: bool,
    references: ReferenceModels,
    split: ForgetSplit,
    make_context: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peak = FakePeak(monkeypatch, training=900)
    if stored_before:
        references.retrained(split, make_context())
    context = make_context(scratch_trainer=references)
    view = references.data.view("train", split.retain_train)
    peak.value = 500  # the method's own before it
    with context.clock.running():
        model = context.train_from_scratch(view)
    assert (peak.value, context.stored_peak_bytes) == (0, 900)  # the greater of its own and the training's
    stored = references.retrained(split, make_context())
    assert_same(model.state_dict(), stored.weights)
    assert context.clock.phases == {"train": stored.seconds}
    # Beside the credit are the opening and closing of the clock, a second each.
    assert context.clock.total == stored.seconds + 2
    assert context.steps == {"train": stored.manifest["steps"]}
    assert stored.manifest["peak_memory_bytes"] == 900
    assert view.usage.counts() == {
        "samples": len(split.retain_train),
        "reads": RECIPE.epochs * len(split.retain_train),
    }


def test_a_diverged_training_leaves_no_checkpoint_and_no_entry(
    references: ReferenceModels, make_context: MakeContext
) -> None:
    # One step an epoch: the first epoch ends well and is saved, the second meets the blown-up weights.
    references.recipe = Recipe(epochs=5, batch_size=1000, optimizer="sgd", lr=1e30)
    context = make_context()
    with pytest.raises(Diverged) as caught:
        references.original(context)
    assert (caught.value.phase, caught.value.step) == ("original", 2)
    assert not list(references.store.root.rglob("*.pt"))
    assert (
        references.store.find(references.key(references.data.view("train"), context.architecture, context.seed)) is None
    )
    assert context.steps == {}


TRAINING_TO_BE_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from lightning_fabric import Fabric
from unsir_bench.training.context import RunContext
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.runtime.progress import Progress
from unsir_bench.references.trained_models import ReferenceModels
from unsir_bench.references.store import Store
from unsir_bench.training.fit import EpochBatches, Recipe, fit

torch.set_num_threads(1)
hardware, quiet = HardwareConfig(accelerator="cpu"), Progress(interactive=False)
dataset = Digits(subset=20, mean=[0.305], std=[0.376], batch_size=32)
data = DeviceData(dataset.load(quiet), dataset, hardware, torch.device("cpu"), channels_last=False)

def log(phase, step, values):
    if step == 12:  # the last of the third epoch, which is not saved yet
        os.kill(os.getpid(), signal.SIGKILL)

context = RunContext(
    Fabric(accelerator="cpu", devices=1), 0, AllCNNConfig(width=4), data.image_shape, data.num_classes, (0,), quiet, log
)
recipe = Recipe(epochs=4, batch_size=64, lr=0.02, schedule="onecycle")
ReferenceModels(Store(Path(sys.argv[1])), recipe, data, hardware.numerics(channels_last=False)).original(context)
"""


def test_a_killed_training_goes_on_from_its_last_epoch_to_the_same_weights(
    tmp_path: Path, references: ReferenceModels, make_context: MakeContext
) -> None:
    undisturbed = references.original(make_context())
    references.store = Store(tmp_path / "interrupted")
    child = subprocess.run(
        [sys.executable, "-c", TRAINING_TO_BE_KILLED, str(references.store.root)], check=False, capture_output=True
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert references.store.find(undisturbed.key) is None
    assert list((references.store.root / "in_progress").glob("*.pt"))

    context = make_context()
    resumed = references.original(context)
    assert resumed.key == undisturbed.key
    assert [step for _, step, _ in context.log.points] == list(range(9, 17))
    assert_same(resumed.weights, undisturbed.weights)
    assert_same(resumed.logits, undisturbed.logits)
    assert resumed.manifest["steps"] == 16
    assert not list((references.store.root / "in_progress").glob("*.pt"))


def test_the_manifest_describes_the_training_in_plain_values(
    references: ReferenceModels, make_context: MakeContext
) -> None:
    manifest = references.original(make_context()).manifest
    assert manifest["role"] == "original"
    assert manifest["seconds"] > 0
    assert manifest["description"]["recipe"]["lr"] == RECIPE.lr
    assert manifest["description"]["model"]["width"] == 4
    assert json.loads(json.dumps(manifest)) == manifest


def test_a_network_gets_the_layout_of_the_run(references: ReferenceModels, make_context: MakeContext) -> None:
    references.recipe = Recipe(epochs=0)
    context = make_context(channels_last=True)
    network = references.network(references.original(context), context)
    weight: Tensor = network.get_submodule("features.3.0").weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_blown_up_by_the_very_last_step_are_never_kept(
    references: ReferenceModels, make_context: MakeContext
) -> None:
    # One step in all: its loss is finite, what it leaves behind is not.
    references.recipe = Recipe(epochs=1, batch_size=1000, optimizer="sgd", lr=1e38, weight_decay=1e10)
    context = make_context()
    with pytest.raises(Diverged):
        references.original(context)
    assert (
        references.store.find(references.key(references.data.view("train"), context.architecture, context.seed)) is None
    )
    assert not list(references.store.root.rglob("*.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_whose_logits_are_not_finite_is_never_kept(
    references: ReferenceModels, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Finite weights may give such: the largest of NaN is the first class, whose accuracy would be 100 %."""
    spoilt = {"train": torch.zeros(3, 10), "test": torch.full((3, 10), value)}
    monkeypatch.setattr("unsir_bench.references.trained_models.predict_splits", lambda *_: spoilt)
    context = make_context()
    with pytest.raises(Diverged, match="a logit became"):
        references.original(context)
    assert not list(references.store.root.rglob("*.pt"))
    assert not list(references.store.entries())


def test_features_are_of_the_weights_and_not_of_whatever_else_has_their_key(
    references: ReferenceModels, make_context: MakeContext
) -> None:
    """A key may come to name others: trained again with another number of threads, or pulled from elsewhere."""
    context = make_context()
    trained = references.original(context)
    first = references.features(trained, context)
    halved = {name: value / 2 if value.is_floating_point() else value for name, value in trained.weights.items()}
    other = references.features(replace(trained, weights=halved), context)
    assert first is not None and other is not None
    assert not torch.equal(first["test"], other["test"])
    assert_same(references.features(trained, context), first)
