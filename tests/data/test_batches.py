"""Batches: normalisation, augmentation, the two stores, usage counts and the choice of samples per class."""

import math
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import (
    Batch,
    DataView,
    Normalisation,
    ResidentImages,
    StreamedImages,
    Usage,
    batch_sizes,
    first_or_random_per_class,
)
from unsir_bench.data.dataset import ImageData, LabelledImages
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.runtime.hardware import HardwareConfig

CPU = torch.device("cpu")
PLAIN = Normalisation((0.0,), (1.0 / 255,))  # (value / 255 - 0) / (1 / 255): the byte itself


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, channels: int = 3, size: int = 6) -> Tensor:
    return torch.randint(1, 256, (count, channels, size, size), generator=seeded(0), dtype=torch.uint8)


def numbered(count: int) -> np.ndarray:
    """1x1 images whose only pixel is their number."""
    return np.arange(count, dtype=np.uint8)[:, None, None, None]


def view_of(count: int, indices: Tensor | None = None, store: type = ResidentImages) -> DataView:
    labels = torch.arange(count) % 3
    return DataView(store(numbered(count), CPU), labels, torch.arange(count) if indices is None else indices, PLAIN)


def numbers(batches: Iterator[Batch]) -> list[int]:
    return [round(value) for images, _ in batches for value in images.flatten().tolist()]


# Normalisation


@pytest.mark.parametrize(
    ("channels", "mean", "std"),
    [(3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)), (3, (0.5,), (0.5,)), (1, (0.1307,), (0.3081,))],
)
def test_normalisation_agrees_with_float64(channels: int, mean: tuple[float, ...], std: tuple[float, ...]):
    every_byte = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, channels, 1, 1)
    found = Normalisation(mean, std)(every_byte)
    pixels = every_byte.numpy().astype(np.float64) / 255
    expected = (pixels - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_normalisation_leaves_the_bytes_alone():
    images = random_images(3)
    before = images.clone()
    Normalisation((0.5,), (0.5,))(images)
    assert torch.equal(images, before)


def test_channels_last_changes_the_layout_and_no_value():
    images = random_images(4)
    plain, last = (Normalisation((0.5,), (0.25,), channels_last=flag)(images) for flag in (False, True))
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    assert plain.is_contiguous()


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_layout_survives_augmentation(channels_last: bool):
    normalise = Normalisation((0.5,), (0.25,), channels_last)
    view = DataView(
        ResidentImages(random_images(8).numpy(), CPU), torch.zeros(8, dtype=torch.int64), torch.arange(8), normalise
    )
    images, _ = next(view.batches(8, order=seeded(0), augment=Augmentation(flip=True, crop_padding=2)))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert images.is_contiguous(memory_format=layout)


# Augmentation


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """The slow twin: pixel by pixel, black where nothing was."""
    result = torch.zeros_like(image)
    height, width = image.shape[1:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[:, row, column] = image[:, row - down, column - right]
    return result


def shifts_found(images: Tensor, cropped: Tensor, padding: int) -> list[tuple[int, int]]:
    """For each image, the one shift within the padding that explains what came out."""
    reach = range(-padding, padding + 1)
    found = []
    for image, result in zip(images, cropped, strict=True):
        fitting = [(d, r) for d in reach for r in reach if torch.equal(shifted(image, d, r), result)]
        assert len(fitting) == 1
        found += fitting
    return found


def test_a_crop_is_a_shift_within_the_padding_and_black_comes_in():
    images = random_images(12)
    cropped = Augmentation(crop_padding=2)(images, seeded(1))
    assert cropped.dtype == torch.uint8
    assert cropped.shape == images.shape
    assert len(set(shifts_found(images, cropped, 2))) > 3


def test_every_shift_is_equally_likely():
    one = random_images(1, channels=1, size=3)
    images = one.repeat(4500, 1, 1, 1)
    cropped = Augmentation(crop_padding=1)(images, seeded(2))
    kinds = {(d, r): shifted(one[0], d, r) for d in (-1, 0, 1) for r in (-1, 0, 1)}
    counts = [int((cropped == kind).flatten(1).all(1).sum()) for kind in kinds.values()]
    assert sum(counts) == 4500
    # χ² with 8 degrees of freedom is above 26.1 once in a thousand; the draw is seeded, so this cannot flicker.
    assert sum((count - 500) ** 2 / 500 for count in counts) < 26.1


def test_a_flip_mirrors_left_and_right_in_about_half_of_the_images():
    images = random_images(4000)
    flipped = Augmentation(flip=True)(images, seeded(3))
    mirrored = images.numpy()[:, :, :, ::-1]
    same = (flipped.numpy() == images.numpy()).all(axis=(1, 2, 3))
    turned = (flipped.numpy() == mirrored).all(axis=(1, 2, 3))
    assert np.all(same ^ turned)
    assert abs(int(turned.sum()) - 2000) < 4 * math.sqrt(4000 / 4)


def test_alternating_flips_show_both_sides_of_every_image_in_each_pair_of_epochs():
    images, samples = random_images(1000), torch.arange(1000)
    augment = Augmentation(flip=True, alternate=True)
    first, second, third = (augment.in_epoch(epoch)(images, seeded(epoch), samples) for epoch in (0, 1, 2))
    turned = (first != images).flatten(1).any(1)
    assert torch.equal(first, torch.where(turned[:, None, None, None], images.flip(-1), images))
    assert torch.equal(second, torch.where(turned[:, None, None, None], images, images.flip(-1)))
    assert torch.equal(third, first)
    assert 450 < int(turned.sum()) < 550


def test_alternating_flips_go_with_the_sample_wherever_it_stands_in_the_order():
    view, augment = view_of(40), Augmentation(flip=True, alternate=True)
    inorder = view.fetch(torch.arange(40), augment=augment.in_epoch(1), order=seeded(0))[0]
    order = torch.randperm(40, generator=seeded(0))
    shuffled = torch.cat([images for images, _ in view.batches(7, order=seeded(0), augment=augment.in_epoch(1))])
    assert torch.equal(shuffled, inorder[order])


def test_alternating_flips_without_the_samples_are_refused():
    with pytest.raises(ValueError, match="give `samples`"):
        Augmentation(flip=True, alternate=True)(random_images(2), seeded(0))


def test_augmentation_does_not_touch_its_input():
    images = random_images(20)
    before = images.clone()
    Augmentation(flip=True, crop_padding=2)(images, seeded(0))
    assert torch.equal(images, before)


def test_no_augmentation_draws_nothing():
    draws = seeded(0)
    state = draws.get_state()
    images = random_images(5)
    assert torch.equal(Augmentation()(images, draws), images)
    assert torch.equal(draws.get_state(), state)


def test_augmentation_repeats_with_its_generator():
    images, augment = random_images(30), Augmentation(flip=True, crop_padding=2)
    first, same, other = (augment(images, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", ["batches", "fetch"])
def test_augmentation_without_a_generator_is_refused(method: str):
    view = view_of(4)
    with pytest.raises(ValueError, match="give the generator `order`"):
        if method == "fetch":
            view.fetch(torch.arange(2), augment=Augmentation(flip=True))
        else:
            next(view.batches(2, augment=Augmentation(flip=True)))


# Stores


@pytest.mark.parametrize("augment", [None, Augmentation(flip=True, crop_padding=1)])
def test_resident_and_streamed_images_give_identical_batches(tmp_path: Path, augment: Augmentation | None):
    images = random_images(50).numpy()
    np.save(tmp_path / "images.npy", images)
    mapped = LabelledImages(np.load(tmp_path / "images.npy", mmap_mode="r"), np.arange(50) % 7)
    data = ImageData(mapped, mapped, tuple("abcdefg"), "made")
    found = []
    for place in ("device", "stream"):
        placed = DeviceData(data, Digits(), HardwareConfig(accelerator="cpu", data_on=place), CPU, channels_last=False)
        view = placed.view("train", torch.tensor([3, 40, 7, 8, 21, 33, 0]))
        order = seeded(9)
        found.append([*view.batches(3, order=order, augment=augment), view.fetch(torch.tensor([6, 1]))])
    assert [len(labels) for _, labels in found[0]] == [3, 4, 2]
    for (images_a, labels_a), (images_b, labels_b) in zip(*found, strict=True):
        assert torch.equal(images_a, images_b)
        assert torch.equal(labels_a, labels_b)


def test_where_images_live_follows_the_hardware_setting(digits: DeviceData):
    images = LabelledImages(numbered(4), np.zeros(4, dtype=np.int64))
    data = ImageData(images, images, ("a",), "made")
    for place, store in (("device", ResidentImages), ("stream", StreamedImages), ("auto", ResidentImages)):
        placed = DeviceData(data, Digits(), HardwareConfig(accelerator="cpu", data_on=place), CPU, channels_last=False)
        assert isinstance(placed._stores["train"], store)


def test_resident_images_do_not_follow_later_changes_of_the_source():
    source = numbered(3)
    store = ResidentImages(source, CPU)
    source[0] = 200
    assert store.fetch(torch.tensor([0])).item() == 0


def test_leaving_a_streamed_epoch_early_leaves_no_thread_behind():
    before = threading.active_count()
    batches = view_of(40, store=StreamedImages).batches(4)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


# Views


@pytest.mark.parametrize("store", [ResidentImages, StreamedImages])
@pytest.mark.parametrize(
    ("batch_size", "expected"), [(1, [1] * 11), (4, [4, 4, 3]), (10, [11]), (11, [11]), (64, [11])]
)
def test_each_sample_comes_exactly_once_an_epoch(store: type, batch_size: int, expected: list[int]):
    indices = torch.tensor([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31])
    view = view_of(40, indices, store)
    sizes = [len(labels) for _, labels in view.batches(batch_size)]
    assert sizes == expected
    for seed in (0, 1):
        assert sorted(numbers(view.batches(batch_size, order=seeded(seed)))) == indices.tolist()


@pytest.mark.parametrize("store", [ResidentImages, StreamedImages])
def test_an_empty_view_has_no_batch(store: type):
    view = view_of(5, torch.tensor([], dtype=torch.int64), store)
    assert list(view.batches(4)) == []
    assert list(view.batches(4, order=seeded(0))) == []


def test_without_a_generator_the_order_is_the_views_own():
    indices = torch.tensor([9, 2, 30, 4])
    assert numbers(view_of(40, indices).batches(3)) == indices.tolist()


def test_the_same_generator_gives_the_same_batches_and_the_next_epoch_others():
    view = view_of(40)
    order = seeded(1)
    epochs = [numbers(view.batches(8, order=order)) for _ in range(2)]
    again = numbers(view.batches(8, order=seeded(1)))
    assert epochs[0] == again
    assert epochs[1] != again
    assert numbers(view.batches(8, order=seeded(2))) != again


def test_shuffling_uses_its_generator_alone():
    torch.manual_seed(0)
    first = numbers(view_of(40).batches(8, order=seeded(1)))
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert numbers(view_of(40).batches(8, order=seeded(1))) == first
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_stay_with_their_images():
    view = view_of(40, torch.arange(5, 35))
    for images, labels in view.batches(7, order=seeded(0)):
        assert labels.dtype == torch.int64
        assert labels.tolist() == [round(value) % 3 for value in images.flatten().tolist()]
    assert view.labels.tolist() == [index % 3 for index in range(5, 35)]


def test_fetch_counts_positions_within_the_view():
    images, labels = view_of(40, torch.tensor([9, 2, 30, 4])).fetch(torch.tensor([3, 0, 3]))
    assert images.flatten().round().tolist() == [4, 9, 4]
    assert labels.tolist() == [4 % 3, 9 % 3, 4 % 3]


def test_a_narrowed_view_holds_positions_of_the_wider_one():
    narrow = view_of(40, torch.tensor([9, 2, 30, 4])).narrowed(torch.tensor([1, 2]))
    assert len(narrow) == 2
    assert narrow.indices.tolist() == [2, 30]
    assert numbers(narrow.batches(5)) == [2, 30]


def test_views_of_a_placed_set_normalise_by_the_data_set(digits: DeviceData, digits_config: Digits):
    images, _ = digits.view("train").fetch(torch.arange(len(digits.labels("train"))))
    raw = images.double() * digits_config.std[0] + digits_config.mean[0]
    assert raw.min().item() == pytest.approx(0, abs=1e-6)
    assert raw.max().item() == pytest.approx(1, abs=1e-6)


# Usage


def test_usage_counts_distinct_samples_and_all_reads():
    usage = Usage(10)
    usage.note(torch.tensor([1, 1, 4]))
    usage.note(torch.tensor([4, 9]), times=3)
    assert usage.counts() == {"samples": 3, "reads": 3 + 2 * 3}


def test_only_batches_that_were_handed_out_count():
    view = view_of(40)
    batches = view.batches(8, order=seeded(0))
    next(batches)
    next(batches)
    assert view.usage.counts() == {"samples": 16, "reads": 16}


def test_epochs_fetches_and_narrowed_views_count_in_one_place():
    view = view_of(40, torch.arange(10))
    for _ in range(2):
        list(view.batches(4, order=seeded(0)))
    view.fetch(torch.tensor([0, 0]))
    list(view.narrowed(torch.tensor([1, 2, 3])).batches(2))
    assert view.usage.counts() == {"samples": 10, "reads": 2 * 10 + 2 + 3}


def test_reading_labels_and_narrowing_count_as_no_read_of_images():
    view = view_of(40)
    assert len(view.labels) == 40
    view.narrowed(torch.arange(3))
    assert view.usage.counts() == {"samples": 0, "reads": 0}


# Samples per class

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


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (5, 4, [5]), (3, 1, [1, 1, 1]), (0, 4, [])],
)
def test_a_remainder_of_one_sample_joins_the_batch_before_it(samples: int, size: int, expected: list[int]) -> None:
    assert batch_sizes(samples, size) == expected
