"""The training loop: compiled or not, divergence, no epochs at all, logged losses, and settings out of range."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn

from tests.fake_time import FakeTime
from tests.training.linear_problem import LinearProblem
from tests.training.small_network import small_network
from unsir_bench.config_fields import problems
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import Batch
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import Diverged
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.training import warm_up
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Variation, fit, with_batchnorm
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]


WITH_CPP = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler, which compiling for a CPU needs"),
]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=WITH_CPP)])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_compiled_training_is_the_same_and_compiles_before_the_clock(
    frozen: bool,
    backend: str,
    digits: DeviceData,
    make_context: MakeContext,
    fake_time: FakeTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe(epochs=2, batch_size=48, lr=0.05, optimizer="sgd")  # Adam makes steps of rounding errors
    graphs = torch._dynamo.utils.counters["stats"]
    compiled_when: list[int] = []
    timed: list[tuple[float, float, float]] = []
    try_out = warm_up.try_out

    def slowly(*arguments: Any, **options: Any) -> None:
        try_out(*arguments, **options)
        compiled_when.append(graphs["unique_graphs"])
        fake_time.pass_by(100)

    def step(_model: nn.Module, _labels: Tensor) -> None:
        compiled_when.append(graphs["unique_graphs"])
        fake_time.pass_by(1)

    monkeypatch.setattr(warm_up, "try_out", slowly)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))

    def trained(**changes: bool) -> nn.Module:
        torch._dynamo.reset()
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
        context = make_context(**changes)
        batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
        started = fake_time.now
        with context.clock.running():
            variation = Variation(before_epoch=with_batchnorm(frozen=frozen), after_step=step)
            seconds = fit(model, batches, recipe, context, "impair", variation=variation).seconds
        timed.append((seconds, context.clock.total, fake_time.now - started))
        return model

    plain = trained().state_dict()
    steps = len(compiled_when)
    compiled_when.clear()
    compiled = trained(compiled=True)
    assert len(set(compiled_when)) == 1, "a step compiled something"
    # The clock counts the steps, and what compiling takes is left out.
    assert timed == [(steps, steps, steps), (steps, steps, steps + 100)]
    for name, value in plain.items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_training_does_not_depend_on_the_scale_that_an_earlier_one_came_to(
    digits: DeviceData, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, recipe = make_context(), Recipe(batch_size=48)
    scaler = torch.amp.GradScaler("cpu")
    monkeypatch.setattr(context.fabric.strategy, "_precision", MixedPrecision("16-mixed", "cpu", scaler=scaler))
    context = make_context()
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    scales = []
    for _ in range(2):
        fit(small_network(), batches, recipe, context, "original", variation=Variation(
            before_epoch=lambda model, epoch: scales.append(scaler.get_scale())
        ))  # fmt: skip
        scaler.update(2.0)
    scaler.update(4.0)
    context.of_another_seed(1).reset_gradient_scaler()
    assert [*scales, scaler.get_scale()] == [65536.0] * 3


@pytest.mark.parametrize("bad", [1, 3, 27])
def test_a_loss_that_is_no_number_names_its_phase_and_step(bad: int, make_context: MakeContext) -> None:
    def of_epoch(_epoch: int) -> Iterable[Batch]:
        for step in range(1, 31):
            yield torch.full((4, 5), math.nan if step == bad else 1.0), torch.tensor([0, 1, 2, 0])

    context = make_context()
    with pytest.raises(Diverged, match=rf"phase 'impair' at step {bad}; a lower learning rate") as caught:
        fit(nn.Linear(5, 3), EpochBatches(of_epoch, 120, 4), Recipe(), context, "impair")
    assert (caught.value.phase, caught.value.step) == ("impair", bad)
    assert [step for _, step, _ in context.log.points] == list(range(1, bad))


def test_a_diverging_epoch_is_not_saved(make_context: MakeContext, tmp_path: Path) -> None:
    def of_epoch(epoch: int) -> Iterable[Batch]:
        yield torch.full((4, 5), math.inf if epoch == 1 else 1.0), torch.tensor([0, 1, 2, 0])

    checkpoint = TrainingCheckpoint(tmp_path / "state.pt")
    with pytest.raises(Diverged):
        fit(nn.Linear(5, 3), EpochBatches(of_epoch, 4, 4), Recipe(epochs=3), make_context(), "original", checkpoint)
    state = checkpoint.load()
    assert state is not None
    assert state["progress"]["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


@pytest.mark.parametrize("schedule", ["constant", "plateau", "onecycle", "triangular", "cosine"])
def test_no_epochs_change_nothing(schedule: str, digits: DeviceData, make_context: MakeContext) -> None:
    context, model, view = make_context(), small_network(), digits.view("train")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = Recipe(epochs=0, schedule=schedule)
    state = fit(model, EpochBatches.from_view(view, recipe, context, "train"), recipe, context, "original")
    assert (state.epoch, state.steps, state.samples, state.seconds) == (0, 0, 0, 0)
    assert context.log.points == []
    assert view.usage.counts()["reads"] == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_losses_are_logged_once_a_step_in_order(digits: DeviceData, make_context: MakeContext) -> None:
    context, recipe = make_context(), Recipe(epochs=3, batch_size=16)
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    state = fit(small_network(), batches, recipe, context, "finetune")
    assert state.steps == 3 * batches.steps > 20  # more than are read from the device in one go
    assert [(phase, step) for phase, step, _ in context.log.points] == [
        ("finetune", step) for step in range(1, state.steps + 1)
    ]
    assert context.steps == {"finetune": state.steps}


def test_a_logged_loss_is_the_cross_entropy_before_its_step(make_context: MakeContext) -> None:
    problem, context = LinearProblem(), make_context()
    problem.fitted(Recipe(lr=0.5), context)
    images, labels = problem.batches[0]
    logits = images @ problem.start.T
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), labels])
    assert context.log.points[0][2]["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        (Recipe(nesterov=True, optimizer="adam"), "train.nesterov=true"),
        (Recipe(nesterov=True, optimizer="sgd", momentum=0), "train.nesterov=true"),
        (Recipe(clip_value=0.1, clip_norm=1.0), "train.clip_norm=1.0"),
        (Recipe(optimizer="rmsprop"), "train.optimizer=rmsprop"),
        (Recipe(schedule="linear"), "train.schedule=linear"),
        (Recipe(lr=0), "train.lr=0"),
        (Recipe(lr=math.nan), "train.lr=nan"),
        (Recipe(momentum=1), "train.momentum=1"),
        (Recipe(epochs=-1), "train.epochs=-1"),
        (Recipe(clip_value=0), "train.clip_value=0"),
        (Recipe(augment=Augmentation(crop_padding=-1)), "train.augment.crop_padding=-1"),
    ],
)
def test_a_setting_out_of_range_is_named(recipe: Recipe, key: str) -> None:
    [problem] = problems(recipe, "train")
    assert problem.startswith(key)
