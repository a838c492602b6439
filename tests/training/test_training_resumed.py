"""A training that was interrupted goes on where it was, to the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.small_network import small_network
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import Batch
from unsir_bench.data.device_data import DeviceData
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.timing import timed_on, timing_words
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import fit
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]


def failing_in_epoch(batches: EpochBatches, epoch: int) -> EpochBatches:
    """The same batches, but the process is interrupted after two of the given epoch."""

    def of_epoch(current: int) -> Iterable[Batch]:
        for index, batch in enumerate(batches.batches(current)):
            if current == epoch and index == 2:
                raise KeyboardInterrupt
            yield batch

    return EpochBatches(of_epoch, batches.samples, batches.batch_size)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", ["constant", "plateau", "onecycle", "triangular", "cosine", "steps"])
def test_an_interrupted_training_ends_with_the_weights_of_an_undisturbed_one(
    optimizer: str, schedule: str, digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    recipe = Recipe(
        epochs=4, batch_size=48, lr=0.02, optimizer=optimizer, schedule=schedule, plateau_patience=0,
        decay_epochs=[1, 3] if schedule == "steps" else [],
        augment=Augmentation(flip=True, crop_padding=1),
    )  # fmt: skip

    def batches(context: RunContext) -> EpochBatches:
        return EpochBatches.from_view(digits.view("train"), recipe, context, "train")

    whole, undisturbed = small_network(), make_context()
    reference = fit(whole, batches(undisturbed), recipe, undisturbed, "original")

    context = make_context()
    with pytest.raises(KeyboardInterrupt):
        fit(
            small_network(), failing_in_epoch(batches(context), 2), recipe, context, "original",
            TrainingCheckpoint(tmp_path / "state.pt"),
        )  # fmt: skip
    torch.manual_seed(1234)  # a new process has another global state
    resumed, later = small_network(), make_context()
    state = fit(resumed, batches(later), recipe, later, "original", TrainingCheckpoint(tmp_path / "state.pt"))

    assert (state.epoch, state.steps, state.samples) == (4, reference.steps, reference.samples)
    assert [step for _, step, _ in later.log.points] == list(range(2 * reference.steps // 4 + 1, reference.steps + 1))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_an_interrupted_training_goes_on_at_any_precision(
    precision: str, digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    recipe = Recipe(epochs=3, batch_size=48, lr=0.02, optimizer="adam")

    def trained(spoiled: Callable[[EpochBatches], EpochBatches] = lambda batches: batches) -> nn.Module:
        context, model = make_context(fabric=HardwareConfig(precision=precision).start()), small_network()
        batches = spoiled(EpochBatches.from_view(digits.view("train"), recipe, context, "train"))
        fit(model, batches, recipe, context, "original", TrainingCheckpoint(tmp_path / "state.pt"))
        return model

    whole = trained().state_dict()
    (tmp_path / "state.pt").unlink()
    with pytest.raises(KeyboardInterrupt):
        trained(lambda batches: failing_in_epoch(batches, 1))
    resumed = trained().state_dict()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_seconds_of_a_training_resumed_elsewhere_are_of_no_one_machine(
    digits: DeviceData, make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, keeper = Recipe(epochs=3, batch_size=48), TrainingCheckpoint(tmp_path / "state.pt")
    context = make_context()
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    with pytest.raises(KeyboardInterrupt):
        fit(small_network(), failing_in_epoch(batches, 1), recipe, context, "original", keeper)
    here = context.timing_conditions()
    monkeypatch.setattr(RunContext, "timing_conditions", lambda _context: {"device": "another GPU"})
    state = fit(small_network(), batches, recipe, make_context(), "original", keeper)
    assert state.timed_on == [here, {"device": "another GPU"}]
    assert timed_on([here]) == here
    assert timed_on(state.timed_on) not in state.timed_on
    assert timing_words(timed_on(state.timed_on)).endswith("; device another GPU")


def test_a_training_that_was_finished_is_not_trained_further(
    digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    recipe, context = Recipe(epochs=2, batch_size=64), make_context()
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    first, again = small_network(), small_network()
    for model in (first, again):
        fit(model, batches, recipe, context, "original", TrainingCheckpoint(tmp_path / "state.pt"))
    assert len(context.log.points) == 2 * batches.steps
    assert torch.equal(first[1].weight, again[1].weight)
