"""The batches of UNSIR's impair step: labelled noise images and retain images, shuffled together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.unlearning.conftest import SHAPE
from unsir_bench.data.batches import Batch, DataView
from unsir_bench.data.device_data import DeviceData
from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.unsir import NoiseConfig, mixed_batches, noise_samples

MakeContext = Callable[..., RunContext]


@pytest.mark.parametrize(
    ("labels", "distinct", "expected"),
    [
        ("own_class", None, [4] * 3 + [7] * 3),
        ("own_class", 2, [4] * 2 + [7] * 2),
        ("class_zero", None, [0] * 6),
        ("class_zero", 1, [0] * 2),
    ],
)
def test_noise_becomes_labelled_samples_each_image_once(
    labels: str, distinct: int | None, expected: list[int], make_context: MakeContext
) -> None:
    noise = torch.arange(6.0).reshape(2, 3, 1, 1, 1).expand(2, 3, *SHAPE)
    config = NoiseConfig(batch_size=3, labels=labels, distinct_images=distinct)
    images, given = noise_samples(noise, config, make_context(forget_classes=(4, 7)))
    kept = distinct or 3
    assert given.tolist() == expected
    assert images[:, 0, 0, 0].tolist() == [*range(kept), *range(3, 3 + kept)]


def contents(images: Tensor, labels: Tensor) -> Counter[tuple[bytes, int]]:
    return Counter((image.numpy().tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True))


@pytest.fixture
def retain(digits: DeviceData) -> DataView:
    return digits.view("train", torch.where(digits.labels("train") > 6)[0][::2])


@pytest.fixture
def noise() -> Batch:
    return torch.randn((5, *SHAPE), generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 2, 2, 6])


@pytest.mark.parametrize("batch_size", [1, 16, 1000])
@pytest.mark.parametrize("copies", [0, 1, 7])
def test_an_epoch_holds_each_noise_image_its_copies_times_and_each_retain_image_once(
    batch_size: int, copies: int, retain: DataView, noise: Batch, make_context: MakeContext
) -> None:
    recipe = Recipe(batch_size=batch_size)
    batches = mixed_batches(retain, noise, copies, recipe, make_context(), "impair 0")
    parts = list(batches.batches(0))
    expected = contents(*retain.fetch(torch.arange(len(retain))))
    for key, count in contents(*noise).items():
        expected[key] += count * copies
    assert contents(*(torch.cat(part) for part in zip(*parts, strict=True))) == expected
    assert len(parts) == batches.steps
    assert all(len(labels) == batch_size for _, labels in parts[:-1])


def test_noise_and_retain_samples_are_shuffled_together(
    retain: DataView, noise: Batch, make_context: MakeContext
) -> None:
    def order(epoch: int, role: str = "impair 0", seed: int = 0) -> list[int]:
        batches = mixed_batches(retain, noise, 6, Recipe(batch_size=16), make_context(seed=seed), role)
        return torch.cat([labels for _, labels in batches.batches(epoch)]).tolist()

    first = order(0)
    assert {label > 6 for label in first[:16]} == {True, False}
    assert first == order(0)
    for other in (order(1), order(0, "impair 1"), order(0, seed=1)):
        assert other != first
        assert sorted(other) == sorted(first)


def test_only_the_reads_of_retain_images_are_counted(retain: DataView, noise: Batch, make_context: MakeContext) -> None:
    before = retain.usage.counts()["reads"]
    list(mixed_batches(retain, noise, 20, Recipe(batch_size=8), make_context(), "impair 0").batches(0))
    assert retain.usage.counts()["reads"] - before == len(retain)
