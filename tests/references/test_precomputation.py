"""What methods compute before they forget: once for all runs, at the same price for each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unsir_bench.baselines.ssd import SelectiveSynapticDampening

from tests.fake_time import FakeTime
from unsir_bench.data.batches import DataView, Normalisation
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.references import precomputation
from unsir_bench.references.precomputation import StoredPrecomputation
from unsir_bench.references.store import Store
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData

MakeContext = Callable[..., RunContext]
SECONDS = 5  # of a computation, where time is not the machine's


@pytest.fixture
def stored(tmp_path: Path, digits: DeviceData) -> StoredPrecomputation:
    return StoredPrecomputation(Store(tmp_path / "store"), digits.fingerprint, {"precision": "32-true"})


@pytest.fixture
def view(digits: DeviceData) -> DataView:
    return digits.view("train", torch.arange(30))


class Computation:
    """Something costly that depends on the weights, the samples and a factor; it says how often it was done."""

    def __init__(self, model: nn.Module, factor: float = 1.0, time: FakeTime | None = None):
        self.model, self.factor, self.times, self.time = model, factor, 0, time or FakeTime()

    def __call__(self, view: DataView) -> dict[str, Tensor]:
        self.times += 1
        self.time.pass_by(SECONDS)
        total = torch.zeros(8, 8, dtype=torch.float64)
        for _ in range(3):  # its own reads are not what is booked
            for images, _labels in view.batches(7):
                total += images.double().sum(dim=(0, 1))
        weight = sum(float(value.double().sum()) for value in self.model.state_dict().values())
        result = self.factor * (total + weight) / 3
        return {"turned": result.T, "count": torch.tensor(len(view)), "large": result > result.mean()}


def network(context: RunContext) -> nn.Module:
    return context.initial_network()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def test_it_is_computed_once_and_then_found_bit_for_bit(
    stored: StoredPrecomputation, view: DataView, make_context: MakeContext
) -> None:
    first, later = make_context(precomputation=stored), make_context(precomputation=stored)
    compute, again = Computation(network(first)), Computation(network(later))
    made = first.precomputed("importance", {"a": 1, "b": 2}, compute.model, view, compute)
    found = later.precomputed("importance", {"b": 2, "a": 1}, again.model, view, again)
    assert (compute.times, again.times) == (1, 0)
    assert_same(made, compute(view.uncounted()))
    assert_same(found, made)


def test_the_seconds_are_booked_wherever_it_came_from(
    stored: StoredPrecomputation, view: DataView, make_context: MakeContext, fake_time: FakeTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def slow(work: Callable[..., Any]) -> Callable[..., Any]:
        def slowly(*arguments: Any) -> Any:
            fake_time.pass_by(100)
            return work(*arguments)

        return slowly

    monkeypatch.setattr(precomputation, "weights_hash", slow(precomputation.weights_hash))
    monkeypatch.setattr(Store, "get_or_create", slow(Store.get_or_create))
    for times in (1, 0):
        context = make_context(precomputation=stored)
        compute = Computation(network(context), time=fake_time)
        with context.clock.running():
            context.precomputed("importance", {}, compute.model, view, compute)
        assert compute.times == times
        # The credit alone: not hashing, waiting or reading.
        assert dict(context.clock.phases) == {"importance": SECONDS}
        assert context.clock.total == SECONDS
        assert context.steps == {}


def test_each_sample_counts_as_read_once_wherever_it_came_from(
    stored: StoredPrecomputation, digits: DeviceData, make_context: MakeContext
) -> None:
    for keeper in (stored, stored, None):
        context, view = make_context(precomputation=keeper), digits.view("train", torch.arange(30))
        compute = Computation(network(context))
        context.precomputed("importance", {}, compute.model, view, compute)
        assert view.usage.counts() == {"samples": 30, "reads": 30}


def test_without_a_store_it_is_computed_each_time_under_its_phase(
    view: DataView, make_context: MakeContext, fake_time: FakeTime
) -> None:
    context = make_context()
    compute = Computation(network(context), time=fake_time)
    for times in (1, 2):
        result = context.precomputed("importance", {}, compute.model, view, compute)
        assert compute.times == times
        assert context.clock.phases["importance"] == times * SECONDS
    assert_same(result, compute(view.uncounted()))


def nudged(model: nn.Module, name: str) -> None:
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] += 0.5


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "parameter": lambda call: nudged(call["model"], "head.weight"),
    "statistic": lambda call: nudged(call["model"], "features.0.1.running_mean"),
    "samples": lambda call: call.update(view=call["view"].narrowed(torch.arange(1, 30))),
    "setting": lambda call: call.update(settings={"labels": "mc"}),
    "further-setting": lambda call: call.update(settings={"labels": "exact", "batch_size": 32}),
    "kind": lambda call: call.update(kind="fisher"),
    "data": lambda call: call.update(stored=dataclasses.replace(call["stored"], data_fingerprint="other")),
    "numerics": lambda call: call.update(stored=dataclasses.replace(call["stored"], numerics={"precision": "bf16"})),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_result_is_computed_anew_and_collides_with_nothing(
    change: str, stored: StoredPrecomputation, view: DataView, make_context: MakeContext
) -> None:
    def call(factor: float, *, changed: bool) -> tuple[dict[str, Tensor], int]:
        model = network(make_context())
        arguments: dict[str, Any] = {
            "stored": stored, "kind": "importance", "settings": {"labels": "exact"}, "model": model, "view": view,
        }  # fmt: skip
        if changed:
            CHANGES[change](arguments)
        context = make_context(precomputation=arguments.pop("stored"))
        compute = Computation(model, factor)
        return context.precomputed(**arguments, compute=compute), compute.times

    (usual, times), (other, other_times) = call(1.0, changed=False), call(2.0, changed=True)
    assert (times, other_times) == (1, 1)
    assert not torch.equal(usual["turned"], other["turned"])
    for changed, expected in ((False, usual), (True, other)):
        found, times = call(3.0, changed=changed)
        assert times == 0
        assert_same(found, expected)


@pytest.mark.parametrize(("dtype", "noted"), [(torch.bfloat16, "float32"), (torch.float32, None)])
def test_keys_of_16_bit_weights_alone_say_that_sums_are_wider(
    dtype: torch.dtype, noted: str | None, stored: StoredPrecomputation, view: DataView, make_context: MakeContext
) -> None:
    context = make_context(precomputation=stored)
    compute = Computation(network(context).to(dtype))
    context.precomputed("importance", {}, compute.model, view, compute)
    [manifest] = stored.store.root.rglob("manifest.json")
    assert json.loads(manifest.read_text())["manifest"]["description"].get("summed_in") == noted


def test_peak_memory_is_credited_wherever_it_came_from(
    stored: StoredPrecomputation, view: DataView, make_context: MakeContext
) -> None:
    def compute(_view: DataView) -> dict[str, Tensor]:
        return {"largest": torch.ones(64 << 20, dtype=torch.uint8).amax()}

    peaks = []
    for _ in range(2):
        context = make_context(precomputation=stored)
        PeakMemory(context.device).reset()  # as the runner does before a method
        context.precomputed("importance", {}, network(context), view, compute)
        peaks.append(context.stored_peak_bytes)
    assert peaks[0] == peaks[1] > 0
    larger = make_context(precomputation=stored, stored_peak_bytes=1 << 60)
    larger.precomputed("importance", {}, network(larger), view, compute)
    assert larger.stored_peak_bytes == 1 << 60


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system never lowers the peak")
def test_memory_that_only_the_computation_held_is_part_of_its_peak(
    stored: StoredPrecomputation, view: DataView, make_context: MakeContext
) -> None:
    def peak(kind: str, megabytes: int) -> int:
        def compute(_view: DataView) -> dict[str, Tensor]:
            return {"largest": torch.ones(megabytes << 20, dtype=torch.uint8).amax()}

        context = make_context(precomputation=stored)
        PeakMemory(context.device).reset()  # as the runner does before a method
        context.precomputed(kind, {}, network(context), view, compute)
        return context.stored_peak_bytes

    assert peak("large", 128) - peak("small", 1) > 100 << 20


def test_a_computation_that_fails_leaves_nothing_and_can_be_tried_again(
    stored: StoredPrecomputation, view: DataView, make_context: MakeContext
) -> None:
    def broken(_view: DataView) -> dict[str, Tensor]:
        raise ArithmeticError("half way")

    context = make_context(precomputation=stored)
    compute = Computation(network(context))
    with pytest.raises(ArithmeticError, match="half way"):
        context.precomputed("importance", {}, compute.model, view, broken)
    assert not list(stored.store.root.rglob("*.safetensors"))
    assert (dict(context.clock.phases), view.usage.counts()["reads"]) == ({}, 0)
    assert_same(context.precomputed("importance", {}, compute.model, view, compute), compute(view.uncounted()))


def test_a_method_forgets_the_same_with_what_was_found_as_with_what_it_computed(
    stored: StoredPrecomputation, digits: DeviceData, make_context: MakeContext
) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), (3,), 10)
    method = SelectiveSynapticDampening(selection=1.0, batch_size=32)
    results, counts = [], []
    for keeper in (None, stored, stored):
        context = make_context(precomputation=keeper, forget_classes=(3,))
        data = UnlearningData(digits, split, method, context.seed)
        results.append(method.unlearn(network(context), data, context).state_dict())
        counts.append(data.access_counts())
    start = network(make_context()).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in results[0].items())
    assert results[0].keys() == results[1].keys() == results[2].keys()
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name
        assert torch.equal(results[2][name], value), name
    # Importance reads every sample once, the dampening reads the forget samples once more.
    forget = len(split.forget_train)
    kept = {"samples": len(split.retain_train), "reads": len(split.retain_train)}
    assert counts == [{"retain": kept, "forget": {"samples": forget, "reads": 2 * forget}}] * 3


def test_another_normalisation_or_other_targets_are_computed_anew(
    make_context: Callable[..., RunContext], digits: DeviceData, tmp_path: Path
) -> None:
    kept = StoredPrecomputation(Store(tmp_path), digits.fingerprint, {})
    context = make_context(precomputation=kept)
    model = context.initial_network()
    view = digits.view("train")
    brighter = DataView(view._store, view._labels, view.indices, Normalisation((0.1,), (0.2,)))
    relabelled = view.relabelled((view.labels + 1) % 10)
    made = []

    def compute(given: DataView) -> dict[str, Tensor]:
        made.append(given)
        return {"sum": torch.ones(1)}

    for each in (view, brighter, relabelled, view):
        context.precomputed("probe", {}, model, each, compute)
    assert len(made) == 3


def test_two_names_of_one_tensor_are_kept(
    make_context: Callable[..., RunContext], digits: DeviceData, tmp_path: Path
) -> None:
    context = make_context(precomputation=StoredPrecomputation(Store(tmp_path), digits.fingerprint, {}))
    tied = torch.arange(3.0)
    found = context.precomputed(
        "tied", {}, context.initial_network(), digits.view("train"), lambda view: {"a": tied, "b": tied}
    )
    assert torch.equal(found["a"], tied) and torch.equal(found["b"], tied)
