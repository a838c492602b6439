from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.baselines.batches_seen import samples_of
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import NotApplicable
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.masking import without_forgotten
from unsir_bench.unlearning.relabelling import LABEL_SOURCES, mislabelled_batches, random_labels

MakeContext = Callable[..., RunContext]
FORGET = (1, 4)
CLASSES = set(range(10))
# What each source may give a sample of class 1, and one of class 4.
ALLOWED = {
    "retained": {1: CLASSES - {1, 4}, 4: CLASSES - {1, 4}},
    "others": {1: CLASSES - {1}, 4: CLASSES - {4}},
    "all": {1: CLASSES, 4: CLASSES},
}


@pytest.mark.parametrize("source", LABEL_SOURCES)
def test_each_source_gives_all_of_its_classes_equally_often_and_no_other(
    source: str, make_context: MakeContext
) -> None:
    truth = torch.tensor([1, 4]).repeat(5000)
    drawn = random_labels(truth, source, make_context(forget_classes=FORGET), "role")
    assert drawn.dtype == torch.int64
    assert drawn.shape == truth.shape
    for label, allowed in ALLOWED[source].items():
        counts = drawn[truth == label].bincount(minlength=10)
        assert {index for index, count in enumerate(counts.tolist()) if count} == allowed
        expected = 5000 / len(allowed)
        # Five standard deviations of a binomial count.
        assert (counts[sorted(allowed)] - expected).abs().max() < 5 * (expected * (1 - 1 / len(allowed))) ** 0.5


def test_a_class_that_an_earlier_step_forgot_is_no_retained_one(make_context: MakeContext) -> None:
    truth = torch.tensor([1, 4]).repeat(5000)
    drawn = random_labels(truth, "retained", make_context(forget_classes=FORGET, forgotten_before=(7,)), "role")
    assert set(drawn.tolist()) == {0, 2, 3, 5, 6, 8, 9}


@pytest.mark.parametrize("before", [(), (7,)])
def test_where_samples_are_forgotten_each_gets_any_class_but_its_own(
    before: tuple[int, ...], make_context: MakeContext
) -> None:
    truth = torch.arange(10).repeat(1000)
    drawn = random_labels(truth, "retained", make_context(forget_classes=(), forgotten_before=before), "role")
    for label in CLASSES:
        assert set(drawn[truth == label].tolist()) == CLASSES - {label, *before}


@pytest.mark.parametrize("forget", [(), (9,)], ids=["samples", "the last class"])
def test_a_sample_of_the_last_class_that_is_left_has_nowhere_to_go(
    forget: tuple[int, ...], make_context: MakeContext
) -> None:
    context, labels = make_context(forget_classes=forget, forgotten_before=tuple(range(9))), torch.tensor([9, 9])
    with pytest.raises(NotApplicable, match="another class that is not forgotten, and there is none"):
        random_labels(labels, "retained", context, "role")
    with pytest.raises(NotApplicable, match="another class that is not forgotten, and there is none"):
        without_forgotten(torch.zeros(2, 10), labels, "forget_classes", context)


def test_a_sample_has_the_one_class_that_is_left_to_go_to(make_context: MakeContext) -> None:
    context, labels = make_context(forget_classes=(1,), forgotten_before=(0, *range(3, 10))), torch.tensor([1, 1])
    assert random_labels(labels, "retained", context, "role").tolist() == [2, 2]
    assert without_forgotten(torch.zeros(2, 10), labels, "forget_classes", context).argmax(dim=1).tolist() == [2, 2]


def test_every_source_is_tested() -> None:
    assert set(ALLOWED) == set(LABEL_SOURCES)


@pytest.mark.parametrize("source", LABEL_SOURCES)
def test_draws_depend_on_seed_and_role_alone(source: str, make_context: MakeContext) -> None:
    truth = torch.tensor([1, 4]).repeat(50)

    def drawn(seed: int, *role: str | int) -> Tensor:
        return random_labels(truth, source, make_context(forget_classes=FORGET, seed=seed), *role)

    first = drawn(0, "labels", 0)
    torch.rand(3)
    assert torch.equal(first, drawn(0, "labels", 0))
    for other in (drawn(1, "labels", 0), drawn(0, "labels", 1), drawn(0, "others", 0)):
        assert not torch.equal(first, other)


@pytest.mark.parametrize("source", LABEL_SOURCES)
def test_batches_mislabel_the_forget_samples_alone_and_anew_in_each_epoch(
    source: str, digits: DeviceData, make_context: MakeContext
) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)
    retain, forget = digits.view("train", split.retain_train), digits.view("train", split.forget_train)
    recipe, context = Recipe(batch_size=64), make_context(forget_classes=FORGET)
    batches = mislabelled_batches(retain, forget, source, recipe, context)
    truth = digits.labels("train")
    everything = next(digits.view("train").batches(200))[0]

    def targets(epoch: int) -> Tensor:
        """The targets that the epoch gives, in the split's order."""
        found = torch.full((200,), -1)
        for images, labels in batches.batches(epoch):
            found[samples_of(images, everything)] = labels
        return found

    first, second = targets(0), targets(1)
    for given in (first, second):
        assert torch.equal(given[split.retain_train], truth[split.retain_train])
        for index in split.forget_train.tolist():
            assert given[index].item() in ALLOWED[source][int(truth[index])]
    assert not torch.equal(first, second)
    assert torch.equal(first, targets(0))
    assert batches.steps == 4
    assert torch.equal(forget.labels, truth[split.forget_train])


def test_passes_of_their_own_hold_one_kind_each_and_all_of_its_samples(
    digits: DeviceData, make_context: MakeContext
) -> None:
    split = ForgetSplit.of(digits.labels("train"), digits.labels("test"), FORGET, digits.num_classes)
    retain, forget = digits.view("train", split.retain_train), digits.view("train", split.forget_train)
    context = make_context(forget_classes=FORGET)
    batches = mislabelled_batches(retain, forget, "all", Recipe(batch_size=32), context, "forget_then_retain")
    wrong = random_labels(forget.labels, "all", context, "random labels", 1)
    given = [labels for _, labels in batches.batches(1)]
    assert [len(labels) for labels in given] == [32, 8, *[32] * 5]
    assert torch.equal(torch.cat(given[:2]).sort().values, wrong.sort().values)
    assert torch.equal(torch.cat(given[2:]).sort().values, retain.labels.sort().values)
    assert batches.steps_in(3) == 3 * len(given)
