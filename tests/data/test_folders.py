"""Folders of images: both layouts, each way in which a folder can be wrong, its identity, VGGFace and Omniglot."""

import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.data.image_folders import QUIET, colours, fill, forget_listings, load, save
from unsir_bench.config_fields import problems
from unsir_bench.data.folders import ImageFolder, VggFace100
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.errors import DataError

# Layouts


def test_a_split_layout_keeps_each_image_in_its_split_under_its_label(split_root: Path):
    train, test = load(split_root)
    assert sorted(zip(colours(train), train.labels.tolist(), strict=True)) == [
        ((label, number, 7), label) for label in range(2) for number in range(3)
    ]
    assert sorted(zip(colours(test), test.labels.tolist(), strict=True)) == [
        ((100 + label, number, 7), label) for label in range(2) for number in range(2)
    ]
    assert train.images.shape == (6, 3, 4, 4)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64


def test_one_tree_is_split_by_the_share_with_each_image_once(tmp_path: Path):
    fill(tmp_path, {"a": 10, "b": 20, "c": 30})
    train, test = load(tmp_path, test_share=0.2)
    assert Counter(test.labels.tolist()) == {0: 2, 1: 4, 2: 6}
    assert Counter(train.labels.tolist()) == {0: 8, 1: 16, 2: 24}
    assert len(set(colours(train) + colours(test))) == 60
    for split in (train, test):
        assert [colour[0] for colour in colours(split)] == split.labels.tolist()


def test_the_split_of_one_tree_follows_its_seed(tmp_path: Path):
    fill(tmp_path, {"a": 20, "b": 20})
    first = set(colours(load(tmp_path, split_seed=1)[1]))
    shutil.rmtree(tmp_path / CACHE_FOLDER)
    forget_listings()
    assert set(colours(load(tmp_path, split_seed=1)[1])) == first
    assert set(colours(load(tmp_path, split_seed=2)[1])) != first


@pytest.mark.parametrize("layout", ["split", "tree"])
def test_classes_are_numbered_in_alphabetical_order_whatever_order_the_disk_gives(tmp_path: Path, layout: str):
    # Made backwards, since many file systems list in order of creation.
    names = ["zebra", "mouse 2", "mouse 10", "ant"]
    for part in ("train", "test") if layout == "split" else (".",):
        for name in names:
            for number in range(5):
                save(tmp_path / part / name / f"{number}.png", (sorted(names).index(name), number, 0))
    dataset = ImageFolder(root=str(tmp_path))
    data = dataset.load(QUIET)
    assert data.class_names == dataset.class_names() == ("ant", "mouse 10", "mouse 2", "zebra")
    assert [colour[0] for colour in colours(data.train)] == data.train.labels.tolist()


def test_class_names_need_no_image_to_be_decoded(split_root: Path, opened: list[str]):
    assert ImageFolder(root=str(split_root)).class_names() == ("cat", "dog")
    assert opened == []


def test_files_that_are_no_images_and_hidden_folders_are_passed_over(split_root: Path):
    (split_root / "train" / "cat" / "notes.txt").write_text("no image")
    (split_root / "train" / "cat" / "Thumbs.db").write_bytes(b"\0")
    (split_root / "train" / ".git").mkdir()
    (split_root / "train" / "cat" / "folder.png").mkdir()
    train, _ = load(split_root)
    assert len(train) == 6


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        ({"mode": "L"}, 1),
        ({"mode": "RGB"}, 3),
        ({"mode": "L", "color": "rgb"}, 3),
        ({"mode": "RGB", "color": "rgb"}, 3),
    ],
)
def test_as_many_means_are_taken_as_the_images_will_have_channels(options: dict[str, str], channels: int):
    def complaints(count: int) -> list[str]:
        return list(problems(ImageFolder(mean=[0.5] * count, std=[0.5] * count, **options), "dataset"))  # type: ignore[arg-type]

    assert complaints(1) == complaints(channels) == []
    for wrong in {2, 3} - {channels}:
        [line] = complaints(wrong)
        assert f"dataset.mean={[0.5] * wrong}" in line and f"{channels} channel(s)" in line


# Wrong folders


def test_a_root_that_is_not_set_is_asked_for():
    with pytest.raises(DataError, match=r"dataset.root is not set.*folder that holds the images"):
        ImageFolder().class_names()


def test_a_missing_root_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=f"dataset.root={tmp_path / 'nowhere'}: there is no such folder"):
        ImageFolder(root=str(tmp_path / "nowhere")).class_names()


@pytest.mark.parametrize("classes", [0, 1])
def test_a_root_with_fewer_than_two_classes_says_how_many_it_found(tmp_path: Path, classes: int):
    fill(tmp_path, dict.fromkeys("a"[:classes], 3))
    with pytest.raises(DataError, match=f"found {classes} class folders, need at least 2 .or train/ and test/"):
        ImageFolder(root=str(tmp_path)).class_names()


@pytest.mark.parametrize(("present", "absent"), [("train", "test"), ("test", "train")])
def test_one_half_of_the_split_layout_names_the_other(tmp_path: Path, present: str, absent: str):
    fill(tmp_path / present, {"a": 3, "b": 3})
    with pytest.raises(DataError, match=f"has a folder {present}/ but none named {absent}/"):
        ImageFolder(root=str(tmp_path)).class_names()


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("how", ["folder is missing", "folder is empty", "folder holds no image"])
def test_a_class_without_images_in_one_split_is_named(split_root: Path, part: str, how: str):
    shutil.rmtree(split_root / part / "dog")
    if how != "folder is missing":
        (split_root / part / "dog").mkdir()
    if how == "folder holds no image":
        (split_root / part / "dog" / "readme.txt").write_text("")
    with pytest.raises(DataError, match=f"no image in {part}/dog; every class needs images in train/ and in test/"):
        ImageFolder(root=str(split_root)).class_names()


def test_a_split_layout_of_one_class_is_refused(tmp_path: Path):
    for part in ("train", "test"):
        fill(tmp_path / part, {"only": 3})
    with pytest.raises(DataError, match="found 1 classes, need 2 or more"):
        ImageFolder(root=str(tmp_path)).class_names()


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_one_tree_too_small_to_split_is_named(tmp_path: Path, count: int):
    fill(tmp_path, {"a": 5, "b": count})
    (tmp_path / "b").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=rf"a class needs 2 images or more to be split: b \({count}\)"):
        ImageFolder(root=str(tmp_path)).class_names()


def test_a_share_that_leaves_a_class_without_test_images_names_the_share(tmp_path: Path):
    fill(tmp_path, {"a": 30, "b": 30, "c": 2})
    with pytest.raises(DataError, match=r"dataset.test_share=0.05: class 2 has too few samples \(2\)"):
        ImageFolder(root=str(tmp_path), test_share=0.05).class_names()


# Identity


def test_identity_is_of_the_content_and_free_of_the_path(split_root: Path, tmp_path: Path):
    copy = shutil.copytree(split_root, tmp_path / "elsewhere")
    assert identity_of(copy) == identity_of(split_root)
    (copy / "train" / "cat" / "000.png").rename(copy / "train" / "cat" / "zzz.png")
    forget_listings()
    assert identity_of(copy) != identity_of(split_root)


def test_identity_of_a_missing_folder_does_not_raise(tmp_path: Path):
    assert identity_of(tmp_path / "nowhere") == "missing"


def identity_of(root: Path) -> str:
    return ImageFolder(root=str(root)).content_identity()


# VGGFace


def test_vggface_takes_the_first_identities_with_enough_images(tmp_path: Path):
    fill(tmp_path, {"Zoe": 9, "Bob": 5, "Ann": 3, "Cy": 4, "Dee": 4})
    dataset = VggFace100(root=str(tmp_path), identities=3, min_images=4, test_share=0.25)
    assert dataset.class_names() == ("Bob", "Cy", "Dee")
    data = dataset.load(QUIET)
    assert data.class_names == ("Bob", "Cy", "Dee")
    assert len(data.train) + len(data.test) == 5 + 4 + 4


@pytest.mark.parametrize("root", ["few identities", "no such folder", None])
def test_vggface_explains_the_licence_and_the_layout(tmp_path: Path, root: str | None):
    fill(tmp_path / "few identities", {"Ann": 3, "Bob": 1})
    given = str(tmp_path / root) if root else None
    found = 1 if root == "few identities" else 0
    with pytest.raises(DataError) as caught:
        VggFace100(root=given, min_images=2).class_names()
    message = str(caught.value)
    assert f"dataset.root={given}: found {found} identities with at least 2 images, need 100" in message
    assert "ROOT/<identity name>/<anything>.jpg" in message
    assert "licence" in message
    assert "dataset.min_images" in message


def test_vggface_is_100_identities_of_100_images_unless_told_otherwise():
    assert (VggFace100().identities, VggFace100().min_images) == (100, 100)


# Real images


def test_omniglot_is_100_classes_of_15_and_5(omniglot_archive: Path, tmp_path: Path, opened: list[str]):
    with tarfile.open(omniglot_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = ImageFolder(name="omniglot", root=str(tmp_path), image_size=28, mode="L")
    data = dataset.load(QUIET)
    assert len(data.class_names) == 100
    assert data.class_names == tuple(sorted(path.name for path in (tmp_path / "train").iterdir()))
    assert data.image_shape == (1, 28, 28)
    assert Counter(data.train.labels.tolist()) == dict.fromkeys(range(100), 15)
    assert Counter(data.test.labels.tolist()) == dict.fromkeys(range(100), 5)
    # Black strokes on white paper: the mean is high, and every image has a stroke.
    assert data.train.images.mean() > 200
    assert data.train.images.min(axis=(1, 2, 3)).max() < 200
    opened.clear()
    assert dataset.load(QUIET).fingerprint == data.fingerprint
    assert opened == []
