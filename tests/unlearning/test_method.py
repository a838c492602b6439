from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from unsir_bench.data.batches import DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import AccessDenied
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import Access, UnlearningData, access_names, all_methods
from unsir_bench.unlearning.unsir import Unsir

MakeContext = Callable[..., RunContext]
FORGOTTEN = (3, 8)
NOTHING = {"samples": 0, "reads": 0}
TOUCHES: dict[Access, Callable[[UnlearningData], Any]] = {
    Access.RETAIN_DATA: lambda data: data.retain,
    Access.RETAIN_SUBSET: lambda data: data.retain_subset(2),
    Access.FORGET_DATA: lambda data: data.forget,
}


@pytest.fixture
def split(digits: DeviceData) -> ForgetSplit:
    return ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGOTTEN, 10)


@pytest.fixture
def allowed(digits: DeviceData, split: ForgetSplit) -> Callable[..., UnlearningData]:
    """The data of a made-up method that declares what is given.

    It is no subclass of UnlearningMethod: those register themselves for as long as they live.
    """

    def build(*requires: Access, seed: int = 0) -> UnlearningData:
        method: Any = SimpleNamespace(name="made-up", requires=frozenset(requires), needs_classes=False)
        return UnlearningData(digits, split, method, seed)

    return build


@pytest.mark.parametrize("declared", list(Access))
@pytest.mark.parametrize("touched", list(TOUCHES))
def test_a_view_is_given_to_those_alone_who_declared_it(
    declared: Access, touched: Access, allowed: Callable[..., UnlearningData]
) -> None:
    data = allowed(declared)
    if declared is touched:
        assert len(TOUCHES[touched](data)) > 0
        return
    with pytest.raises(AccessDenied) as caught:
        TOUCHES[touched](data)
    message = str(caught.value)
    assert "'made-up'" in message
    assert f"asked for {touched.value} but declares {declared.value}" in message
    assert "`requires`" in message


def test_who_declares_nothing_is_told_so(allowed: Callable[..., UnlearningData]) -> None:
    with pytest.raises(AccessDenied, match="asked for forget_data but declares nothing"):
        _ = allowed().forget


def test_every_declared_kind_is_listed(allowed: Callable[..., UnlearningData]) -> None:
    with pytest.raises(AccessDenied, match="declares initial_weights, retain_subset;"):
        _ = allowed(Access.RETAIN_SUBSET, Access.INITIAL_WEIGHTS).forget


def test_views_hold_retain_and_forget_samples_of_training_alone(
    digits: DeviceData, allowed: Callable[..., UnlearningData]
) -> None:
    data = allowed(Access.RETAIN_DATA, Access.FORGET_DATA)
    assert set(data.forget.labels.tolist()) == set(FORGOTTEN)
    assert set(data.retain.labels.tolist()) == set(range(10)) - set(FORGOTTEN)
    assert sorted([*data.retain.indices.tolist(), *data.forget.indices.tolist()]) == list(
        range(len(digits.labels("train")))
    )


def test_nothing_is_counted_before_it_is_read(allowed: Callable[..., UnlearningData]) -> None:
    data = allowed(Access.RETAIN_DATA, Access.FORGET_DATA, Access.RETAIN_SUBSET)
    _ = data.retain, data.forget, data.retain_subset(5)
    assert data.access_counts() == {"retain": NOTHING, "forget": NOTHING}


def test_reads_and_distinct_samples_are_counted_by_kind(allowed: Callable[..., UnlearningData]) -> None:
    data = allowed(Access.RETAIN_DATA, Access.FORGET_DATA)
    list(data.forget.batches(7))
    data.retain.fetch(torch.tensor([0, 1, 2]))
    data.retain.fetch(torch.tensor([2, 3]))
    assert data.access_counts() == {"retain": {"samples": 4, "reads": 5}, "forget": {"samples": 40, "reads": 40}}


def test_reads_of_a_subset_count_as_retain(allowed: Callable[..., UnlearningData]) -> None:
    data = allowed(Access.RETAIN_SUBSET)
    subset = data.retain_subset(3)
    for _ in range(2):
        list(subset.batches(10))
    assert data.access_counts() == {"retain": {"samples": 24, "reads": 48}, "forget": NOTHING}


def test_the_first_of_each_class_are_the_first_in_the_datas_order(
    digits: DeviceData, allowed: Callable[..., UnlearningData]
) -> None:
    labels = digits.labels("train").tolist()
    expected = [
        index
        for index, label in enumerate(labels)
        if label not in FORGOTTEN and labels[:index].count(label) < 4
    ]  # fmt: skip
    assert allowed(Access.RETAIN_SUBSET).retain_subset(4, "first").indices.tolist() == expected


def test_a_random_subset_is_the_seeds_whoever_asks(allowed: Callable[..., UnlearningData]) -> None:
    def drawn(seed: int, *more: Access) -> list[int]:
        torch.manual_seed(len(more))  # what was drawn before must not matter
        return allowed(Access.RETAIN_SUBSET, *more, seed=seed).retain_subset(5).indices.tolist()

    assert drawn(0) == drawn(0, Access.FORGET_DATA, Access.RETAIN_DATA)
    assert drawn(0) != drawn(1)


def test_a_random_subset_has_its_number_of_each_retain_class(allowed: Callable[..., UnlearningData]) -> None:
    subset = allowed(Access.RETAIN_SUBSET).retain_subset(5)
    expected = [0 if label in FORGOTTEN else 5 for label in range(10)]
    assert subset.labels.bincount(minlength=10).tolist() == expected
    assert len(set(subset.indices.tolist())) == 40


@pytest.mark.parametrize("selection", ["first", "random"])
def test_a_class_with_fewer_images_gives_all_it_has(selection: str, allowed: Callable[..., UnlearningData]) -> None:
    data = allowed(Access.RETAIN_SUBSET, Access.RETAIN_DATA)
    assert torch.equal(data.retain_subset(10_000, selection).indices, data.retain.indices)


def test_training_from_scratch_must_be_declared(
    allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    with pytest.raises(AccessDenied, match="asked for initial_weights but declares retain_data"):
        allowed(Access.RETAIN_DATA).train_from_scratch(make_context())
    with pytest.raises(AccessDenied, match="asked for retain_data but declares initial_weights"):
        allowed(Access.INITIAL_WEIGHTS).train_from_scratch(make_context())


def test_training_from_scratch_is_served_with_all_retain_samples(
    split: ForgetSplit, allowed: Callable[..., UnlearningData], make_context: MakeContext
) -> None:
    given: list[DataView] = []

    def trainer(view: DataView, _context: RunContext) -> nn.Module:
        given.append(view)
        return nn.Identity()

    model = allowed(Access.INITIAL_WEIGHTS, Access.RETAIN_DATA).train_from_scratch(
        make_context(scratch_trainer=trainer)
    )
    assert isinstance(model, nn.Identity)
    assert torch.equal(given[0].indices, split.retain_train)


def test_access_is_recorded_as_sorted_words() -> None:
    method: Any = SimpleNamespace(requires=frozenset({Access.RETAIN_SUBSET, Access.FORGET_DATA}), needs_classes=False)
    assert access_names(method) == ["forget_data", "retain_subset"]
    assert access_names(Unsir()) == ["retain_subset"]


def test_methods_are_found_at_any_depth_once_and_in_order_of_name() -> None:
    class Base(ABC):
        name = "???"

        @abstractmethod
        def unlearn(self) -> None: ...

    class Zebra(Base):
        name = "zebra"

        def unlearn(self) -> None: ...

    class Partly(Base):
        name = "partly"

    class Ant(Partly, Zebra):
        name = "ant"

    assert all_methods(Base) == [Ant, Zebra]


def test_unsir_is_a_method() -> None:
    assert Unsir in all_methods()


def test_an_incomplete_method_cannot_be_made() -> None:
    @dataclass
    class Incomplete(Unsir.__base__):  # type: ignore[misc, name-defined]
        name: str = "incomplete"

    with pytest.raises(TypeError, match="requires"):
        Incomplete()
    assert Incomplete not in all_methods()
