"""What every data set shares: subset, validation, size and colour options, and the fingerprint of what comes out."""

import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from unsir_bench.config_fields import problems
from unsir_bench.data.dataset import (
    DatasetConfig,
    ImageData,
    LabelledImages,
    RawData,
    content_hash,
    stratified_split,
)
from unsir_bench.data.digits import Digits
from unsir_bench.data.folders import ImageFolder
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)


def marked(counts: list[int], first: int, size: int = 4) -> LabelledImages:
    """Images that carry their own number in two pixels, so that each can be told from every other."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.zeros((len(labels), 1, size, size), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(first, first + len(labels)), 256)
    return LabelledImages(images, labels)


def numbers(split: LabelledImages) -> list[int]:
    return [int(image[0, 0, 0]) * 256 + int(image[0, 0, 1]) for image in split.images]


@dataclass
class Made(DatasetConfig):
    """A set in memory: training images numbered from 0, test images from 10,000."""

    train_counts: list[int] = field(default_factory=lambda: [30, 30, 12])
    test_counts: list[int] = field(default_factory=lambda: [10, 10, 4])

    def class_names(self) -> tuple[str, ...]:
        return tuple("abc"[: len(self.train_counts)])

    def read(self, progress: Progress) -> RawData:
        return RawData(marked(self.train_counts, 0), marked(self.test_counts, 10_000), self.class_names())


@pytest.fixture(scope="module")
def whole_digits() -> ImageData:
    return Digits().load(QUIET)


def test_digits_are_split_1400_to_397_with_every_class_on_both_sides(whole_digits: ImageData):
    assert (len(whole_digits.train), len(whole_digits.test)) == (1400, 397)
    assert whole_digits.image_shape == (1, 8, 8)
    assert whole_digits.class_names == tuple("0123456789")
    train, test = (Counter(split.labels.tolist()) for split in (whole_digits.train, whole_digits.test))
    for label in range(10):
        assert test[label] / (train[label] + test[label]) == pytest.approx(397 / 1797, abs=0.005)


def test_digits_keep_every_image_of_the_library_once(whole_digits: ImageData):
    from sklearn.datasets import load_digits

    source = load_digits()
    expected = Counter(
        (int(label), bytes(round(value * 255 / 16) for value in image.ravel()))
        for image, label in zip(source.images, source.target, strict=True)
    )
    splits = (whole_digits.train, whole_digits.test)
    found = Counter(
        (int(label), image.tobytes()) for s in splits for image, label in zip(s.images, s.labels, strict=True)
    )
    assert found == expected


def test_two_loads_of_the_digits_are_equal(whole_digits: ImageData):
    again = Digits().load(QUIET)
    assert again.fingerprint == whole_digits.fingerprint
    np.testing.assert_array_equal(again.train.images, whole_digits.train.images)


def test_subset_caps_each_class_of_each_split():
    data = Made(subset=8).load(QUIET)
    assert Counter(data.train.labels.tolist()) == {0: 8, 1: 8, 2: 8}
    assert Counter(data.test.labels.tolist()) == {0: 8, 1: 8, 2: 4}


def test_subset_keeps_labels_with_their_images():
    source = Made().read(QUIET).train
    label_of = dict(zip(numbers(source), source.labels.tolist(), strict=True))
    chosen = Made(subset=5).load(QUIET).train
    assert [label_of[number] for number in numbers(chosen)] == chosen.labels.tolist()
    assert len(set(numbers(chosen))) == len(chosen)


def test_subset_follows_its_own_seed():
    first, same, other = (numbers(Made(subset=8, subset_seed=seed).load(QUIET).train) for seed in (3, 3, 4))
    assert first == same
    assert first != other


def test_validation_images_come_from_training_and_leave_it():
    source = Made().read(QUIET)
    data = Made(validation_share=0.25).load(QUIET)
    kept, held = set(numbers(data.train)), set(numbers(data.test))
    assert kept.isdisjoint(held)
    assert kept | held == set(numbers(source.train))
    assert held.isdisjoint(numbers(source.test))


def test_validation_split_keeps_the_classes_in_proportion():
    data = Made(train_counts=[40, 20, 80]).load(QUIET)
    held = Made(train_counts=[40, 20, 80], validation_share=0.25).load(QUIET)
    assert Counter(held.test.labels.tolist()) == {0: 10, 1: 5, 2: 20}
    assert len(held.train) + len(held.test) == len(data.train)


def test_validation_is_held_out_of_the_subset_alone():
    capped = Made(subset=8).load(QUIET)
    held = Made(subset=8, validation_share=0.25).load(QUIET)
    assert sorted(numbers(held.train) + numbers(held.test)) == numbers(capped.train)


@pytest.mark.parametrize(
    ("counts", "share"),
    [
        pytest.param([30, 30, 1], 0.25, id="a class of one image"),
        pytest.param([2, 2, 2], 0.1, id="fewer validation images than classes"),
        pytest.param([1000, 1000, 2], 0.05, id="a rare class that rounding leaves on one side"),
    ],
)
def test_validation_that_cannot_hold_every_class_names_the_key_and_value(counts: list[int], share: float):
    with pytest.raises(DataError, match=f"dataset.validation_share={share} cannot be held out of {sum(counts)} images"):
        Made(train_counts=counts, validation_share=share).load(QUIET)


def test_stratified_split_covers_without_overlap():
    labels = np.repeat(np.arange(4), 25)
    first, second = stratified_split(labels, 0.2, seed=1)
    assert sorted([*first, *second]) == list(range(100))
    assert Counter(labels[second].tolist()) == dict.fromkeys(range(4), 5)


def test_a_resized_constant_image_stays_constant():
    class Grey(Made):
        def read(self, progress: Progress) -> RawData:
            flat = LabelledImages(np.full((6, 1, 5, 7), 90, dtype=np.uint8), np.array([0, 0, 1, 1, 2, 2]))
            return RawData(flat, flat, self.class_names())

    images = Grey(image_size=9).load(QUIET).train.images
    assert images.shape == (6, 1, 9, 9)
    assert images.dtype == np.uint8
    assert set(images.ravel().tolist()) == {90}


def test_halving_averages_under_a_triangle():
    """Antialiased bilinear halving weighs a row (1, 3, 3, 1)/8 inside, and renormalises (3, 3, 1)/7 at the border."""
    row = np.array([0, 0, 70, 210, 210, 210, 210, 210], dtype=np.uint8)
    image = np.broadcast_to(row, (1, 1, 8, 8))

    class Striped(Made):
        def read(self, progress: Progress) -> RawData:
            split = LabelledImages(np.ascontiguousarray(np.repeat(image, 3, axis=0)), np.arange(3))
            return RawData(split, split, self.class_names())

    halved = Striped(image_size=4).load(QUIET).train.images[0, 0]
    expected = [70 / 7, (0 + 3 * 70 + 3 * 210 + 210) / 8, 210, 210]
    np.testing.assert_array_equal(halved, np.broadcast_to(np.round(expected), (4, 4)))


def test_images_of_the_asked_size_are_left_as_they_are():
    assert Made(image_size=4).load(QUIET).fingerprint == Made().load(QUIET).fingerprint


def test_grey_becomes_three_equal_channels():
    grey, rgb = Made().load(QUIET), Made(color="rgb").load(QUIET)
    assert rgb.image_shape == (3, 4, 4)
    for channel in range(3):
        np.testing.assert_array_equal(rgb.train.images[:, channel], grey.train.images[:, 0])


def test_rgb_leaves_colour_images_alone():
    class Coloured(Made):
        def read(self, progress: Progress) -> RawData:
            rng = np.random.default_rng(0)
            split = LabelledImages(rng.integers(0, 256, (3, 3, 4, 4), dtype=np.uint8), np.arange(3))
            return RawData(split, split, self.class_names())

    assert Coloured(color="rgb").load(QUIET).fingerprint == Coloured().load(QUIET).fingerprint


def copied(split: LabelledImages) -> LabelledImages:
    return LabelledImages(split.images.copy(), split.labels.copy())


def test_fingerprint_is_of_the_content_not_of_the_object():
    split = marked([3, 3], 0)
    assert content_hash(copied(split), copied(split)) == content_hash(split, split)
    strided = LabelledImages(np.asfortranarray(split.images), split.labels)
    assert content_hash(strided) == content_hash(split)


@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.parametrize("which", [0, 1])
def test_fingerprint_changes_with_one_pixel_or_label(part: str, which: int):
    splits = [marked([3, 3], 0), marked([2, 2], 50)]
    before = content_hash(*splits)
    last = getattr(splits[which], part).reshape(-1)
    last[-1] += 1
    assert content_hash(*splits) != before


def test_fingerprint_sees_the_shape_and_the_order():
    split = marked([3, 3], 0)
    wide = LabelledImages(split.images.reshape(6, 1, 2, 8), split.labels)
    swapped = split.take(np.array([1, 0, 2, 3, 4, 5]))
    assert len({content_hash(split), content_hash(wide), content_hash(swapped)}) == 3


def test_fingerprint_counts_classes_that_have_no_sample():
    """The network has an output for each, so what was trained without them does not fit."""
    split = marked([3, 3], 0)
    assert content_hash(split, classes=2) == content_hash(split) != content_hash(split, classes=3)

    class Named(Made):
        def class_names(self) -> tuple[str, ...]:
            return ("a", "b", "c", "d")

    assert Named().load(QUIET).fingerprint != Made().load(QUIET).fingerprint


def test_labels_of_any_whole_numbers_are_those_that_losses_take():
    class Short(Made):
        def read(self, progress: Progress) -> RawData:
            raw = super().read(progress)
            train, test = (replace(split, labels=split.labels.astype(np.int32)) for split in (raw.train, raw.test))
            return RawData(train, test, raw.class_names)

    found, right = Short().load(QUIET), Made().load(QUIET)
    assert found.train.labels.dtype == found.test.labels.dtype == np.int64
    assert found.fingerprint == right.fingerprint


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_named_before_any_work(seed: int):
    [of_subset] = problems(Made(subset_seed=seed), "dataset")
    [of_split] = problems(ImageFolder(root="x", split_seed=seed), "dataset")
    assert of_subset.startswith(f"dataset.subset_seed={seed}: must be at ")
    assert of_split.startswith(f"dataset.split_seed={seed}: must be at ")


def test_fingerprint_reaches_images_beyond_the_first_block():
    split = marked([5000], 0)
    before = content_hash(split)
    split.images[4999, 0, 3, 3] = 1
    assert content_hash(split) != before


def test_a_fingerprint_the_source_knows_is_kept_only_while_nothing_is_changed():
    class Known(Made):
        def read(self, progress: Progress) -> RawData:
            raw = super().read(progress)
            return RawData(raw.train, raw.test, raw.class_names, fingerprint="known")

    assert Known().load(QUIET).fingerprint == "known"
    changed = [Known(**change) for change in ({"subset": 8}, {"color": "rgb"}, {"image_size": 8})]
    changed.append(Known(validation_share=0.25))
    for dataset in changed:
        data = dataset.load(QUIET)
        assert data.fingerprint == content_hash(data.train, data.test)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mean": [0.5, 0.5]}, ["dataset.mean=[0.5, 0.5]", "dataset.std=[0.5]", "one number per channel"]),
        ({"mean": [0.5], "std": [0.0]}, ["dataset.std=[0.0]", "above 0"]),
        ({"mean": [0.5], "std": [-1.0]}, ["dataset.std=[-1.0]", "above 0"]),
        ({"std": [math.nan]}, ["dataset.std=[nan]", "finite"]),
        ({"std": [51.0]}, ["dataset.std=[51.0]", "at most 1", "by 255"]),
        ({"mean": [0.5, 125.3], "std": [1.0, 1.0]}, ["dataset.mean=[0.5, 125.3]", "at most 1", "by 255"]),
        ({"mean": [-0.1]}, ["dataset.mean=[-0.1]", "at least 0"]),
        ({"mean": [math.inf]}, ["dataset.mean=[inf]", "finite"]),
        ({"validation_share": 1.0}, ["dataset.validation_share=1.0", "below 1"]),
        ({"subset": 0}, ["dataset.subset=0", "at least 1"]),
        ({"image_size": 0}, ["dataset.image_size=0", "at least 1"]),
        ({"color": "cmyk"}, ["dataset.color=cmyk", "native, rgb"]),
    ],
)
def test_a_wrong_option_is_one_line_naming_key_value_and_range(fields: dict[str, object], words: list[str]):
    (line,) = problems(Made(**fields), "dataset")
    for word in words:
        assert word in line


def test_the_default_options_are_right():
    assert list(problems(Made(), "dataset")) == []
    assert list(problems(Made(mean=[0.0, 1.0], std=[0.001, 1.0]), "dataset")) == []
