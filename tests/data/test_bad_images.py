"""Images of a folder that cannot be used: of another size or damaged; named, or left out where that is asked for."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.image_folders import QUIET, caches, colours, load, save
from unsir_bench.data.dataset import content_hash
from unsir_bench.data.folders import ImageFolder
from unsir_bench.errors import DataError


def test_mixed_sizes_are_named_with_the_option_that_fixes_them(split_root: Path):
    save(split_root / "train" / "dog" / "wide.png", size=(6, 4))
    with pytest.raises(DataError) as caught:
        load(split_root)
    assert "1 of 7 images" in str(caught.value)
    assert "train/dog/wide.png (is 6x4; set dataset.image_size to resize all)" in str(caught.value)
    assert f"dataset.root={split_root}" in str(caught.value)


def test_test_images_of_another_size_than_the_training_images_are_refused(split_root: Path):
    for path in (split_root / "test").glob("*/*.png"):
        save(path, size=(5, 5))
    with pytest.raises(DataError, match=r"test/cat/000\.png \(is 5x5; set dataset.image_size"):
        load(split_root)


def test_many_bad_images_are_counted_and_ten_are_named(split_root: Path):
    for number in range(14):
        save(split_root / "train" / "dog" / f"w{number:02}.png", size=(6, 4))
        save(split_root / "train" / "cat" / f"g{number:02}.png")
    with pytest.raises(DataError) as caught:
        load(split_root)
    assert str(caught.value).count("is 6x4") == 10
    assert "14 of 34 images" in str(caught.value)
    assert "and 4 more" in str(caught.value)


def spoil(root: Path, kind: str) -> str:
    """Put one bad file among the training dogs, first of all; returns its name."""
    path = root / "train" / "cat" / "!bad.jpg"
    if kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("<html>404</html>")
    else:
        path.symlink_to(root / "nowhere.jpg")
    return "train/cat/!bad.jpg"


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "dangling link"])
def test_a_file_that_cannot_be_decoded_is_named_with_the_way_out(split_root: Path, kind: str):
    name = spoil(split_root, kind)
    with pytest.raises(DataError) as caught:
        load(split_root)
    assert "1 of 7 images" in str(caught.value)
    assert name in str(caught.value)
    assert "dataset.on_bad_image=skip" in str(caught.value)
    assert caches(split_root) == []


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "dangling link"])
def test_skip_leaves_bad_files_out_and_warns(split_root: Path, caplog: pytest.LogCaptureFixture, kind: str):
    name = spoil(split_root, kind)
    with caplog.at_level(logging.WARNING, logger="unsir_bench"):
        train, _ = load(split_root, on_bad_image="skip")
    assert name in caplog.text
    assert "1 of 7" in caplog.text
    assert sorted(zip(colours(train), train.labels.tolist(), strict=True)) == [
        ((label, number, 7), label) for label in range(2) for number in range(3)
    ]


def test_what_skip_left_out_stays_out_of_the_cached_labels_and_fingerprint(split_root: Path):
    spoil(split_root, "text")
    dataset = ImageFolder(root=str(split_root), on_bad_image="skip")
    first, second = dataset.load(QUIET), dataset.load(QUIET)
    assert len(second.train.images) == len(second.train.labels) == 6
    assert first.fingerprint == second.fingerprint == content_hash(second.train, second.test)


def test_skip_does_not_lose_a_whole_class_in_silence(split_root: Path):
    for path in (split_root / "train" / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image of dog in train can be used"):
        load(split_root, on_bad_image="skip")


@pytest.mark.parametrize("on_bad_image", ["error", "skip"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_split_without_a_readable_image_is_an_error(split_root: Path, part: str, on_bad_image: str):
    for path in (split_root / part).glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=f"dataset.root={split_root}"):
        load(split_root, on_bad_image=on_bad_image)


def test_bad_files_of_both_splits_are_named_at_once(split_root: Path):
    for part in ("train", "test"):
        (split_root / part / "dog" / "000.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(split_root)
    assert "1 of 6 images" in str(caught.value) and "train/dog/000.png" in str(caught.value)
    assert "1 of 4 images" in str(caught.value) and "test/dog/000.png" in str(caught.value)
    assert caches(split_root) == []


def test_a_class_that_skip_would_lose_in_both_splits_is_named_for_each(split_root: Path):
    for path in split_root.glob("*/dog/*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no image of dog in train(?s:.)*no image of dog in test"):
        load(split_root, on_bad_image="skip")
