"""Views with other targets, views that count nothing, and views joined from several that are counted apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unsir_bench.data.batches import DataView, DividedUsage, Normalisation, ResidentImages, Usage, joined

PLAIN = Normalisation((0.0,), (1.0 / 255,))  # (value / 255 - 0) / (1 / 255): the byte itself
SIZE = 20


@pytest.fixture
def store() -> ResidentImages:
    """1x1 images whose only pixel is their number."""
    return ResidentImages(torch.arange(SIZE, dtype=torch.uint8)[:, None, None, None].numpy(), torch.device("cpu"))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(SIZE) % 4


def view_of(store: ResidentImages, labels: Tensor, indices: list[int], usage: Usage | None = None) -> DataView:
    return DataView(store, labels, torch.tensor(indices, dtype=torch.int64), PLAIN, usage)


def read(view: DataView, seed: int | None = None, batch_size: int = 3) -> list[tuple[int, object]]:
    """(number of the image, target) of every sample, in the order read."""
    order = None if seed is None else torch.Generator().manual_seed(seed)
    return [
        (round(image.item()), target.tolist())
        for images, targets in view.batches(batch_size, order=order)
        for image, target in zip(images, targets, strict=True)
    ]


# Other targets


def test_other_targets_go_with_their_samples(store: ResidentImages, labels: Tensor) -> None:
    view = view_of(store, labels, [7, 2, 11, 5])
    other = view.relabelled(torch.tensor([70, 20, 110, 50]))
    assert read(other) == [(7, 70), (2, 20), (11, 110), (5, 50)]
    assert dict(read(other, seed=3)) == {7: 70, 2: 20, 11: 110, 5: 50}
    assert other.labels.tolist() == [70, 20, 110, 50]
    assert other.narrowed(torch.tensor([2, 0])).labels.tolist() == [110, 70]
    assert other.fetch(torch.tensor([1]))[1].tolist() == [20]


def test_the_first_view_keeps_its_labels(store: ResidentImages, labels: Tensor) -> None:
    view, before = view_of(store, labels, [7, 2, 11, 5]), labels.clone()
    targets = torch.tensor([9, 9, 9, 9])
    other = view.relabelled(targets)
    assert torch.equal(labels, before)
    assert view.labels.tolist() == [3, 2, 3, 1]
    targets.zero_()
    assert other.labels.tolist() == [9, 9, 9, 9]


def test_targets_may_be_rows_of_numbers(store: ResidentImages, labels: Tensor) -> None:
    rows = torch.tensor([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    other = view_of(store, labels, [4, 0, 9]).relabelled(rows)
    assert dict(read(other, seed=1)) == {4: [0.25, 0.75], 0: [0.5, 0.5], 9: [1.0, 0.0]}
    assert other.labels.dtype == torch.float32


def test_too_few_targets_are_refused(store: ResidentImages, labels: Tensor) -> None:
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        view_of(store, labels, [4, 0, 9]).relabelled(torch.tensor([1, 2]))


def test_reads_of_a_relabelled_view_are_counted_where_they_were(store: ResidentImages, labels: Tensor) -> None:
    usage = Usage(SIZE)
    view = view_of(store, labels, [4, 0, 9], usage)
    read(view.relabelled(torch.tensor([1, 1, 1])))
    assert usage.counts() == {"samples": 3, "reads": 3}


# Reads that are not counted


def test_an_uncounted_view_gives_the_same_samples_and_counts_nothing(store: ResidentImages, labels: Tensor) -> None:
    usage = Usage(SIZE)
    view = view_of(store, labels, [4, 0, 9], usage).relabelled(torch.tensor([40, 0, 90]))
    quiet = view.uncounted()
    assert read(quiet) == [(4, 40), (0, 0), (9, 90)]
    assert read(quiet.narrowed(torch.tensor([2]))) == [(9, 90)]
    assert usage.counts() == {"samples": 0, "reads": 0}
    read(view)
    assert usage.counts() == {"samples": 3, "reads": 3}


# Joined views


def test_a_joined_view_holds_every_sample_in_the_splits_order(store: ResidentImages, labels: Tensor) -> None:
    first = view_of(store, labels, [9, 1, 4])
    second = view_of(store, labels, [12, 0]).relabelled(torch.tensor([120, 100]))
    third = view_of(store, labels, [3]).relabelled(torch.tensor([30]))
    for views in ([first, second, third], [third, first, second], [second, third, first]):
        both = joined(*views)
        assert len(both) == 6
        assert read(both) == [(0, 100), (1, 1), (3, 30), (4, 0), (9, 1), (12, 120)]
        assert sorted(read(both, seed=5)) == read(both)


def test_joining_leaves_the_joined_views_and_the_labels_alone(store: ResidentImages, labels: Tensor) -> None:
    before = labels.clone()
    first, second = view_of(store, labels, [9, 1]), view_of(store, labels, [2])
    joined(first, second.relabelled(torch.tensor([77])))
    assert torch.equal(labels, before)
    assert (first.labels.tolist(), second.labels.tolist()) == ([1, 1], [2])


def test_a_view_of_all_samples_in_parts_is_the_whole_in_the_same_random_order(
    store: ResidentImages, labels: Tensor
) -> None:
    """So that a method that trains on retain and forget samples draws its batches as the original did."""
    whole = view_of(store, labels, list(range(SIZE)))
    parts = [torch.where(labels == kind)[0].tolist() for kind in (2, 0, 3, 1)]
    both = joined(*(view_of(store, labels, part) for part in parts))
    assert torch.equal(both.indices, whole.indices)
    assert read(both, seed=4) == read(whole, seed=4)


def test_each_views_reads_are_still_counted_with_it(store: ResidentImages, labels: Tensor) -> None:
    usages = [Usage(SIZE), Usage(SIZE)]
    first, second = view_of(store, labels, [9, 1, 4], usages[0]), view_of(store, labels, [12, 0], usages[1])
    both = joined(first, second)
    for seed in (0, 1):
        read(both, seed=seed)
    assert [usage.counts() for usage in usages] == [{"samples": 3, "reads": 6}, {"samples": 2, "reads": 4}]
    both.fetch(torch.tensor([0, 1, 1]))  # samples 0, 1 and 1 again
    assert [usage.counts()["reads"] for usage in usages] == [8, 5]
    # A part of the joined view: sample 4 of the first, sample 12 of the second.
    both.narrowed(torch.tensor([2, 4])).usage.note(torch.tensor([4, 12]), times=10)
    assert [usage.counts()["reads"] for usage in usages] == [18, 15]
    read(first)
    assert [usage.counts()["reads"] for usage in usages] == [21, 15]


def test_a_joined_view_can_be_joined_again(store: ResidentImages, labels: Tensor) -> None:
    usages = [Usage(SIZE) for _ in range(3)]
    views = [view_of(store, labels, part, usage) for part, usage in zip([[9, 1], [12], [3, 5]], usages, strict=True)]
    nested = joined(joined(views[0], views[1]).relabelled(torch.tensor([10, 90, 120])), views[2])
    assert read(nested) == [(1, 10), (3, 3), (5, 1), (9, 90), (12, 120)]
    assert [usage.counts()["reads"] for usage in usages] == [2, 1, 2]


def test_views_that_share_a_usage_are_counted_once(store: ResidentImages, labels: Tensor) -> None:
    usage = Usage(SIZE)
    both = joined(view_of(store, labels, [9, 1], usage), view_of(store, labels, [12], usage))
    read(both)
    assert usage.counts() == {"samples": 3, "reads": 3}


def test_divided_usage_books_repeated_samples_each_time() -> None:
    retain, forget = Usage(10), Usage(10)
    divided = DividedUsage(10, [(torch.tensor([0, 2, 4]), retain), (torch.tensor([1, 3]), forget)])
    divided.note(torch.tensor([3, 0, 3, 1, 4, 0, 0]), times=2)
    assert retain.counts() == {"samples": 2, "reads": 8}
    assert forget.counts() == {"samples": 2, "reads": 6}
    divided.note(torch.tensor([], dtype=torch.int64))
    assert (retain.counts()["reads"], forget.counts()["reads"]) == (8, 6)


def test_divided_usage_counts_as_a_search_of_each_index_and_searches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    kinds = [kind.sort().values for kind in torch.randperm(40, generator=draws).split([25, 10, 5])]
    usages = [Usage(40) for _ in kinds]
    divided = DividedUsage(40, list(zip(kinds, usages, strict=True)))
    batches = [torch.randint(40, (size,), generator=draws) for size in (7, 1, 0, 12)]
    monkeypatch.setattr(torch, "isin", None)
    for indices in batches:
        divided.note(indices, times=3)
    seen = [index for batch in batches for index in batch.tolist()]
    for kind, usage in zip(kinds, usages, strict=True):
        own = [index for index in seen if index in kind.tolist()]
        assert usage.counts() == {"samples": len(set(own)), "reads": 3 * len(own)}


def test_a_target_for_each_sample_is_demanded(store: ResidentImages, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="1 targets for 3 samples"):
        view_of(store, labels, [1, 4, 7]).relabelled(torch.tensor([5]))


def test_views_that_overlap_differ_in_split_or_in_kind_of_target_are_not_joined(
    store: ResidentImages, labels: Tensor
) -> None:
    first = view_of(store, labels, [1, 4, 7])
    other_split = ResidentImages(torch.zeros(SIZE, 1, 1, 1, dtype=torch.uint8).numpy(), torch.device("cpu"))
    for other, complaint in (
        (view_of(store, labels, [7, 8]), "overlap"),
        (view_of(other_split, labels, [2, 3]), "different splits"),
        (view_of(store, labels, [2, 3]).relabelled(torch.rand(2, 4)), "different kinds"),
    ):
        with pytest.raises(ValueError, match=complaint):
            joined(first, other)
