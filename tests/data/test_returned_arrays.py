"""What a data set, perhaps of a plug-in, must return: arrays that fit each other and its class names."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.test_dataset import QUIET, Made, marked
from unsir_bench.data.dataset import LabelledImages, RawData, attribute_hash
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

PIXELS = np.zeros((3, 1, 4, 4), dtype=np.uint8)
THREE = np.arange(3)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (PIXELS / 255, THREE, "train images of float64"),
        (np.zeros((3, 8, 6, 3), dtype=np.uint8), THREE, "train images of shape (3, 8, 6, 3)"),
        (PIXELS[:, 0], THREE, "train images of shape (3, 4, 4)"),
        (torch.from_numpy(PIXELS), THREE, "train images of torch.uint8"),
        (PIXELS, np.array([0, 1, 3]), "train labels from 0 to 3 for 3 classes"),
        (PIXELS, np.array([-1, 1, 2]), "train labels from -1 to 2 for 3 classes"),
        (PIXELS, np.arange(2), "train 2 labels for 3 images"),
        (PIXELS, THREE / 1, "train labels that are no whole numbers, one a sample (float64)"),
        (PIXELS, THREE[:, None], "train labels that are no whole numbers, one a sample (int64)"),
        (PIXELS, [0, 1, 2], "train labels that are no whole numbers, one a sample (list)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_data_set_must_not_return_is_named_with_its_class(images: Any, labels: Any, words: str):
    class Plugin(Made):
        def read(self, progress: Progress) -> RawData:
            return RawData(LabelledImages(images, labels), marked([1, 1, 1], 0), self.class_names())

    with pytest.raises(DataError) as caught:
        Plugin().load(QUIET)
    assert f"Plugin.read returned {words}. It must return NumPy arrays" in str(caught.value)


ORDER = "the class names 'b', 'a', 'c', where class_names() says 'a', 'b', 'c'"
ABC = ("a", "b", "c")
RIGHT = LabelledImages(PIXELS, THREE)


@pytest.mark.parametrize(
    ("names", "raw", "words"),
    [
        (ABC, RawData(RIGHT, RIGHT, tuple("bac")), ORDER),
        (ABC, RawData(RIGHT, RIGHT, tuple("abcd")), "the class names 'a', 'b', 'c', 'd', where class_names()"),
        (tuple("aba"), RawData(RIGHT, RIGHT, tuple("aba")),
         "class names that are not words, each another ('a', 'b', 'a')"),
        ((0, 1, 2), RawData(RIGHT, RIGHT, (0, 1, 2)), "class names that are not words, each another (0, 1, 2)"),
        (ABC, RawData(RIGHT, LabelledImages(PIXELS[:0], THREE[:0]), ABC), "test no image"),
        (ABC, RawData(LabelledImages(PIXELS, THREE, THREE[:2]), RIGHT, ABC), "train 2 rows for 3 images"),
        (ABC, RawData(RIGHT, LabelledImages(np.zeros((3, 1, 8, 8), np.uint8), THREE), ABC),
         "train and test images of the shapes (1, 4, 4) and (1, 8, 8); they must be of one"),
        (ABC, RawData(RIGHT, LabelledImages(np.repeat(PIXELS, 3, 1), THREE), ABC),
         "train and test images of the shapes (1, 4, 4) and (3, 4, 4); they must be of one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_contradicts_the_class_names_or_the_other_split_is_named(names: Any, raw: RawData, words: str):
    class Plugin(Made):
        def class_names(self) -> tuple[str, ...]:
            return names

        def read(self, progress: Progress) -> RawData:
            return raw

    with pytest.raises(DataError) as caught:
        Plugin().load(QUIET)
    assert f"Plugin.read returned {words}" in str(caught.value)


def test_a_hash_of_attributes_is_of_all_of_an_array_and_unchanged_for_words():
    long = ["old"] * 2000
    one, other = (np.array([*long, word, *long]) for word in ("new", "newer"))
    assert attribute_hash({"train": one}) != attribute_hash({"train": other})
    assert attribute_hash({"train": one}) == attribute_hash({"train": one.tolist()})
    for words in (["old", "new"], ("old", "new")):
        said = repr([("train", words)]).encode()
        assert attribute_hash({"train": words}) == hashlib.blake2b(said, digest_size=8).hexdigest()


def test_a_class_may_lack_samples_and_images_may_have_any_number_of_channels():
    class Odd(Made):
        def read(self, progress: Progress) -> RawData:
            split = LabelledImages(np.zeros((2, 5, 4, 4), dtype=np.uint8), np.array([0, 2]))
            return RawData(split, split, self.class_names())

    assert Odd().load(QUIET).image_shape == (5, 4, 4)
