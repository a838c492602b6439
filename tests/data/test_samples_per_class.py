"""The choice of the first samples of each class, or of random ones."""

from collections import Counter

import pytest
import torch

from tests.data.numbered_images import seeded
from unsir_bench.data.batches import first_or_random_per_class

UNEVEN = torch.tensor([2, 0, 0, 2, 5, 0, 2, 0, 2])


def test_first_takes_the_earliest_of_each_class_in_ascending_order():
    assert first_or_random_per_class(UNEVEN, 2, "first", seeded(0)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("selection", ["first", "random"])
@pytest.mark.parametrize("per_class", [1, 3, 100])
def test_a_class_with_fewer_samples_gives_all_it_has(selection: str, per_class: int):
    chosen = first_or_random_per_class(UNEVEN, per_class, selection, seeded(0))
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    counts = {label: min(per_class, size) for label, size in Counter(UNEVEN.tolist()).items()}
    assert Counter(UNEVEN[chosen].tolist()) == counts


def test_random_follows_its_generator_and_first_ignores_it():
    labels = torch.arange(300) % 3
    drawn = {seed: first_or_random_per_class(labels, 10, "random", seeded(seed)).tolist() for seed in (0, 1)}
    assert drawn[0] == first_or_random_per_class(labels, 10, "random", seeded(0)).tolist()
    assert drawn[0] != drawn[1]
    firsts = [first_or_random_per_class(labels, 10, "first", seeded(seed)).tolist() for seed in (0, 1)]
    assert firsts[0] == firsts[1] == list(range(30))


def test_random_reaches_every_sample_of_a_class():
    labels = torch.zeros(20, dtype=torch.int64)
    draws = seeded(0)
    seen = {index for _ in range(60) for index in first_or_random_per_class(labels, 3, "random", draws).tolist()}
    assert seen == set(range(20))
