"""What amnesiac unlearning subtracts: the updates recorded while the original trains a second time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.small_network import small_network
from unsir_bench.data.batches import Batch
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import NotApplicable
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.references.training_log import LastRead, RecordingCheckpoint, TrainingLog, UpdateRecorder
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Variation, fit
from unsir_bench.training.recipe import Recipe

MakeContext = Callable[..., RunContext]
# Batches so small that some hold no sample of the forget classes.
RECIPE = Recipe(epochs=2, batch_size=10, optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.01)
FORGET = (0, 4)


@pytest.fixture
def split(digits: DeviceData) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, 10)


@pytest.fixture
def references(tmp_path: Path, digits: DeviceData) -> ReferenceModels:
    return ReferenceModels(Store(tmp_path / "store"), RECIPE, digits, {})


def plainly_trained(
    model: nn.Module, batches: EpochBatches, forget: tuple[int, ...]
) -> tuple[dict[str, Tensor], int, int]:
    """The slow twin: a plain loop that copies every parameter before and after each step, summing in float64."""
    optimizer = torch.optim.SGD(model.parameters(), RECIPE.lr, RECIPE.momentum, weight_decay=RECIPE.weight_decay)
    sums = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in model.named_parameters()}
    total = recorded = 0
    model.train()
    for epoch in range(RECIPE.epochs):
        for images, labels in batches.batches(epoch):
            before = {name: value.detach().double().clone() for name, value in model.named_parameters()}
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            total += 1
            if any(label in forget for label in labels.tolist()):
                recorded += 1
                for name, value in model.named_parameters():
                    sums[name] += value.detach().double() - before[name]
    return sums, total, recorded


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-4, atol=1e-6, msg=name)


def assert_same(found: TrainingLog, expected: TrainingLog) -> None:
    assert found.updates.keys() == expected.updates.keys()
    for name, value in expected.updates.items():
        assert torch.equal(found.updates[name], value), name
    for count in ("batches", "batches_with_forget_samples"):
        assert found.manifest[count] == expected.manifest[count]


def drawn(digits: DeviceData, context: RunContext) -> EpochBatches:
    return EpochBatches.from_view(digits.view("train"), RECIPE, context, "train")


def recorded_fit(
    digits: DeviceData,
    context: RunContext,
    forget: tuple[int, ...],
    model: nn.Module | None = None,
    gone: tuple[int, ...] = (),
) -> tuple[UpdateRecorder, nn.Module]:
    model = model or small_network()
    recorder, batches = watched(digits, context, model, forget, gone)
    fit(model, batches, RECIPE, context, "log", variation=Variation(after_step=recorder.after_step))
    return recorder, model


def watched(
    digits: DeviceData, context: RunContext, model: nn.Module, forget: tuple[int, ...], gone: tuple[int, ...] = ()
) -> tuple[UpdateRecorder, EpochBatches]:
    """A recorder of the batches that hold samples of some classes, and the batches it listens to."""
    labels = digits.labels("train")
    indices = [
        torch.where(torch.isin(labels, torch.tensor(classes, dtype=torch.long)))[0] for classes in (forget, gone)
    ]
    batch = LastRead(len(labels))
    batches = EpochBatches.from_view(digits.view("train", usage=batch), RECIPE, context, "train")
    return UpdateRecorder(model, indices[0], batch, torch.device("cpu"), indices[1]), batches


@pytest.mark.parametrize("forget", [(0,), (0, 4), (1, 3, 8)], ids=str)
def test_the_sums_are_those_of_a_plain_loop(
    forget: tuple[int, ...], digits: DeviceData, make_context: MakeContext
) -> None:
    recorder, model = recorded_fit(digits, make_context(), forget)
    twin = small_network()
    sums, total, recorded = plainly_trained(twin, drawn(digits, make_context()), forget)
    assert_close(dict(model.named_parameters()), dict(twin.named_parameters()))
    assert 0 < recorded < total, "a case that cannot tell the batches apart"
    assert (recorder.batches, recorder.recorded) == (total, recorded)
    assert_close(recorder.updates_on_cpu(), sums)


def test_updates_that_an_earlier_step_of_a_sequence_subtracted_are_left_out(
    digits: DeviceData, make_context: MakeContext
) -> None:
    both = recorded_fit(digits, make_context(), (0, 4))[0]
    earlier = recorded_fit(digits, make_context(), (4,))[0]
    later = recorded_fit(digits, make_context(), (0,), gone=(4,))[0]
    assert 0 < later.recorded == both.recorded - earlier.recorded
    for name, value in both.updates_on_cpu().items():
        torch.testing.assert_close(earlier.updates_on_cpu()[name] + later.updates_on_cpu()[name], value, msg=name)


def test_where_every_batch_is_recorded_the_sum_leads_from_the_first_weights_to_the_last(
    digits: DeviceData, make_context: MakeContext
) -> None:
    start = {name: value.detach().clone() for name, value in small_network().named_parameters()}
    recorder, model = recorded_fit(digits, make_context(), tuple(range(10)))
    assert_close(
        recorder.updates_on_cpu(), {name: value.detach() - start[name] for name, value in model.named_parameters()}
    )


def test_where_no_batch_holds_a_forget_sample_nothing_is_summed(digits: DeviceData, make_context: MakeContext) -> None:
    recorder, _ = recorded_fit(digits, make_context(), (10,))
    assert (recorder.batches, recorder.recorded) == (40, 0)
    assert all(bool((value == 0).all()) for value in recorder.updates_on_cpu().values())


def test_recording_changes_no_weight(digits: DeviceData, make_context: MakeContext) -> None:
    _, watched = recorded_fit(digits, make_context(), FORGET)
    alone, context = small_network(), make_context()
    fit(alone, drawn(digits, context), RECIPE, context, "original")
    for name, value in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[name], value), name


def interrupted(batches: EpochBatches, epoch: int) -> EpochBatches:
    """The same batches, but the process is interrupted after five of the given epoch."""

    def of_epoch(current: int) -> Iterable[Batch]:
        for index, batch in enumerate(batches.batches(current)):
            if current == epoch and index == 5:
                raise KeyboardInterrupt
            yield batch

    return EpochBatches(of_epoch, batches.samples, batches.batch_size)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_recording_that_was_interrupted_goes_on_to_the_same_sums(
    epoch: int, digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    undisturbed, whole = recorded_fit(digits, make_context(), FORGET)
    inner = TrainingCheckpoint(tmp_path / "state.pt")

    def attempt(context: RunContext, of: Callable[[EpochBatches], EpochBatches]) -> tuple[UpdateRecorder, nn.Module]:
        model = small_network()
        recorder, whole_batches = watched(digits, context, model, FORGET)
        batches, keeper = of(whole_batches), RecordingCheckpoint(inner, recorder)
        fit(model, batches, RECIPE, context, "log", keeper, Variation(after_step=recorder.after_step))
        return recorder, model

    context = make_context()
    with pytest.raises(KeyboardInterrupt):
        attempt(context, lambda batches: interrupted(batches, epoch))
    later = make_context()
    saved = inner.load()
    assert (saved is None) is (epoch == 0)
    seconds_before = saved["recorder"]["seconds"] if saved else 0.0
    resumed, model = attempt(later, lambda batches: batches)

    assert len(later.log.points) == (RECIPE.epochs - epoch) * 20
    assert (resumed.batches, resumed.recorded) == (undisturbed.batches, undisturbed.recorded)
    assert resumed.seconds > seconds_before
    for name, value in undisturbed.updates_on_cpu().items():
        assert torch.equal(resumed.updates_on_cpu()[name], value), name
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_the_saved_state_holds_tensors_and_plain_values_alone(
    digits: DeviceData, make_context: MakeContext, tmp_path: Path
) -> None:
    model, context = small_network(), make_context()
    recorder, batches = watched(digits, context, model, FORGET)
    keeper = RecordingCheckpoint(TrainingCheckpoint(tmp_path / "state.pt"), recorder)
    variation = Variation(after_step=recorder.after_step)
    fit(model, batches, RECIPE, context, "log", keeper, variation)
    saved = TrainingCheckpoint(tmp_path / "state.pt").load()  # which reads tensors and plain values alone
    assert saved is not None
    state = saved["recorder"]
    assert (state["batches"], state["recorded"]) == (recorder.batches, recorder.recorded)
    for value, expected in zip(state["sums"], recorder.updates_on_cpu().values(), strict=True):
        assert torch.equal(value, expected)
    for value, parameter in zip(state["previous"], model.parameters(), strict=True):
        assert torch.equal(value, parameter)
    keeper.discard()
    assert keeper.load() is None


# The log of the original, kept in the store


def log_of(references: ReferenceModels, context: RunContext, split: ForgetSplit) -> tuple[TrainedModel, TrainingLog]:
    original = references.original(context)
    context.log.points.clear()  # type: ignore[attr-defined]
    return original, references.training_log(original, split, context)


def test_the_log_of_the_original_is_that_of_a_plain_loop(
    references: ReferenceModels, split: ForgetSplit, digits: DeviceData, make_context: MakeContext
) -> None:
    context = make_context()
    original, log = log_of(references, context, split)
    twin = context.initial_network()
    sums, total, recorded = plainly_trained(twin, drawn(digits, make_context()), FORGET)
    assert_close({name: original.weights[name] for name in sums}, dict(twin.named_parameters()))
    assert 0 < recorded < total
    assert log.manifest["batches"] == total == original.manifest["steps"]
    assert log.manifest["batches_with_forget_samples"] == recorded
    assert log.manifest["original"] == original.key
    assert_close(dict(log.updates), sums)


def test_the_training_is_recorded_once_and_its_log_then_found(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    context = make_context()
    original, log = log_of(references, context, split)
    assert {phase for phase, _, _ in context.log.points} == {"log"}
    later = make_context()
    found = ReferenceModels(Store(references.store.root), RECIPE, references.data, {}).training_log(
        original, split, later
    )
    assert later.log.points == []
    assert_same(found, log)
    assert found.manifest["seconds"] == log.manifest["seconds"] > 0
    assert not list(references.store.root.rglob("*.pt"))


def test_other_forget_classes_have_a_log_of_their_own(
    references: ReferenceModels, split: ForgetSplit, digits: DeviceData, make_context: MakeContext
) -> None:
    context = make_context()
    original, log = log_of(references, context, split)
    other_split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (7,), 10)
    other = references.training_log(original, other_split, context)
    assert other.manifest["batches_with_forget_samples"] < log.manifest["batches_with_forget_samples"]
    assert_same(references.training_log(original, split, context), log)


def test_recording_is_not_booked_on_the_method(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    context = make_context()
    context.steps["train"] = 7
    log_of(references, context, split)
    assert context.steps == {"train": 7}
    assert context.clock.total == 0
    assert not context.clock.phases


def test_a_second_training_that_ends_elsewhere_gives_no_log_and_leaves_nothing(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext
) -> None:
    context = make_context()
    original = references.original(context)
    name = "head.bias"
    nudged = {**original.weights, name: original.weights[name].nextafter(torch.tensor(math.inf))}
    with pytest.raises(NotApplicable, match=f"ended at other weights.*{original.key}"):
        references.training_log(dataclasses.replace(original, weights=nudged), split, context)
    assert [folder.name for folder in (references.store.root / "entries").iterdir()] == [original.key]
    assert not list(references.store.root.rglob("*.pt"))
    assert context.steps == {}
    # The true original still gets its log.
    assert references.training_log(original, split, context).manifest["batches"] == 40


def test_an_interrupted_recording_goes_on_from_its_last_epoch(
    references: ReferenceModels, split: ForgetSplit, make_context: MakeContext, tmp_path: Path
) -> None:
    original, undisturbed = log_of(references, make_context(), split)
    references.store = Store(tmp_path / "interrupted")

    def interrupt(phase: str, step: int, values: dict[str, float]) -> None:
        if (phase, step) == ("log", 25):
            raise KeyboardInterrupt

    stopped = make_context(log=interrupt)
    with pytest.raises(KeyboardInterrupt):
        references.training_log(original, split, stopped)
    assert stopped.steps == {}
    later = make_context()
    resumed = references.training_log(original, split, later)
    assert [step for _, step, _ in later.log.points] == list(range(21, 41))
    assert_same(resumed, undisturbed)
    assert not list(references.store.root.rglob("*.pt"))
