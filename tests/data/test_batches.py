"""Batches: normalisation, the two stores, views, usage counts and the sizes of batches."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.numbered_images import CPU, numbered, numbers, random_images, seeded, view_of
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.data.batches import DataView, Normalisation, ResidentImages, StreamedImages, Usage, batch_sizes
from unsir_bench.data.dataset import ImageData, LabelledImages
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.runtime.hardware import HardwareConfig

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


def test_where_images_live_follows_the_hardware_setting():
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


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (5, 4, [5]), (3, 1, [1, 1, 1]), (0, 4, [])],
)
def test_a_remainder_of_one_sample_joins_the_batch_before_it(samples: int, size: int, expected: list[int]) -> None:
    assert batch_sizes(samples, size) == expected
