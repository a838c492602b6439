"""The made classes: deterministic, of the asked shape, and learnable without knowing how they are made."""

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from unsir_bench.config_fields import identity, problems
from unsir_bench.data.dataset import ImageData
from unsir_bench.data.made_classes import MadeClasses
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)


def made(**changes: object) -> ImageData:
    fields = {"classes": 100, "train_per_class": 8, "test_per_class": 4, "image_size": 8, **changes}
    return MadeClasses(**fields).load(QUIET)  # type: ignore[arg-type]


def test_every_class_has_its_images_in_both_splits() -> None:
    data = made(classes=12, train_per_class=7, test_per_class=3, image_size=16, channels=2)
    assert data.image_shape == (2, 16, 16)
    assert data.train.images.dtype == np.uint8
    assert np.bincount(data.train.labels).tolist() == [7] * 12
    assert np.bincount(data.test.labels).tolist() == [3] * 12


def test_names_are_in_the_order_of_the_classes() -> None:
    names = MadeClasses(classes=100).class_names()
    assert list(names) == sorted(set(names))
    assert (len(names), names[0], names[-1]) == (100, "pattern_00", "pattern_99")


def test_the_seed_alone_decides_the_pixels() -> None:
    np.random.seed(1)
    first = made(seed=3)
    np.random.seed(2)
    assert made(seed=3).fingerprint == first.fingerprint
    assert made(seed=4).fingerprint != first.fingerprint


def test_no_image_is_in_both_splits_or_twice() -> None:
    data = made()
    rows = [image.tobytes() for split in (data.train, data.test) for image in split.images]
    assert len(set(rows)) == len(rows) == 1200


def test_more_training_images_leave_the_patterns_and_the_test_images_alone() -> None:
    few, many = made(train_per_class=2), made(train_per_class=9)
    assert np.array_equal(few.test.images, many.test.images)


def test_classes_can_be_learned_and_are_not_trivial() -> None:
    data = made(train_per_class=20)
    flat = [split.images.reshape(len(split), -1).astype(float) for split in (data.train, data.test)]
    right = NearestCentroid().fit(flat[0], data.train.labels).score(flat[1], data.test.labels)
    assert 0.5 < right < 1.0  # chance is 0.01


def test_images_of_a_class_differ_less_than_images_of_two() -> None:
    train = made().train
    pixels = train.images.reshape(100, 8, -1).astype(float)
    within = np.abs(pixels[:, 0] - pixels[:, 1]).mean()
    between = np.abs(pixels[:, 0] - np.roll(pixels[:, 1], 1, axis=0)).mean()
    assert 0 < within < 0.8 * between


def test_the_options_of_every_data_set_apply() -> None:
    data = made(subset=2, validation_share=0.5)
    assert np.bincount(data.train.labels).tolist() == [1] * 100
    assert len(data.test) == 100


def test_without_a_size_images_are_of_32_pixels() -> None:
    assert made(classes=2, train_per_class=1, image_size=None).image_shape == (3, 32, 32)


@pytest.mark.parametrize("change", [{"classes": 5}, {"train_per_class": 5}, {"seed": 5}, {"channels": 1}])
def test_what_changes_the_images_changes_the_run_id(change: dict[str, int]) -> None:
    assert identity(MadeClasses(**change)) != identity(MadeClasses())  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["classes", "train_per_class", "test_per_class", "image_size", "channels"])
def test_a_number_out_of_range_is_named(key: str) -> None:
    [problem] = problems(MadeClasses(**{key: 0}), "dataset")  # type: ignore[arg-type]
    assert problem.startswith(f"dataset.{key}=0")


def test_too_few_images_to_hold_any_out_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="validation_share"):
        made(train_per_class=1, validation_share=0.5)
