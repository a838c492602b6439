"""What real folders of images hold beside images: pipes, loops, leftovers of other systems, odd names and layouts."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unsir_bench.data.folders import ImageFolder, TwoLevelFolder, VggFace100
from unsir_bench.data.look_again import look_again
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)


def save(path: Path, size: tuple[int, int] = (4, 4), colour: tuple[int, int, int] = (1, 2, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def fill(folder: Path, classes: str | list[str], count: int = 4) -> Path:
    for name in classes:
        for number in range(count):
            save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        fill(tmp_path / "set" / part, "ab")
    return tmp_path / "set"


def labels(root: Path, **options: object) -> tuple[list[int], list[int]]:
    data = ImageFolder(root=str(root), **options).load(QUIET)  # type: ignore[arg-type]
    return data.train.labels.tolist(), data.test.labels.tolist()


WHOLE = ([0] * 4 + [1] * 4, [0] * 4 + [1] * 4)


# Things that are no files


@pytest.mark.parametrize("kind", ["pipe", "device", "link to itself"])
def test_what_is_no_file_is_named_and_never_waited_for(root: Path, kind: str):
    odd = root / "train" / "a" / "zz.png"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    else:
        odd.symlink_to(odd.name)
    with pytest.raises(DataError, match=r"train/a/zz\.png \((it is a pipe|Too many levels)(?s:.*)on_bad_image=skip"):
        labels(root)
    assert labels(root, on_bad_image="skip") == WHOLE


def test_a_class_folder_that_links_to_itself_is_no_class_and_said(root: Path, caplog: pytest.LogCaptureFixture):
    (root / "train" / "loop").symlink_to("loop")
    with caplog.at_level(logging.WARNING, logger="unsir_bench"):
        assert labels(root) == WHOLE
    assert "loop is a link that leads nowhere" in caplog.text


@pytest.mark.parametrize("kind", [ImageFolder, TwoLevelFolder, VggFace100])
def test_a_folder_that_cannot_be_reached_is_named_with_the_reason(tmp_path: Path, kind: type[ImageFolder]):
    dataset = kind(root=f"{tmp_path}/{'x' * 300}")
    with pytest.raises(DataError, match=r"dataset\.root=.*xxx: .*the folder cannot be reached \(File name too long\)"):
        dataset.class_names()
    assert dataset.content_identity() == "missing"


def test_a_folder_that_may_not_be_listed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch):
    really_scan = os.scandir

    def scan(path: Path) -> object:
        if Path(path).match("train/b"):
            raise PermissionError(13, "Permission denied")
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(DataError, match=r"train/b cannot be listed \(Permission denied\)"):
        ImageFolder(root=str(root)).class_names()


# Leftovers


def test_what_other_systems_leave_behind_is_no_class_and_no_image(root: Path):
    (root / "train" / "a" / "._0.png").write_bytes(b"\0\5\x16\7" + bytes(100))
    (root / "train" / "__MACOSX" / "a").mkdir(parents=True)
    (root / "train" / "__MACOSX" / "a" / "._0.png").write_bytes(b"\0\5\x16\7")
    (root / "test" / "@eaDir").mkdir()
    assert ImageFolder(root=str(root)).class_names() == ("a", "b")
    assert labels(root) == WHOLE


def test_what_lies_in_class_folders_and_is_not_read_is_counted_once(root: Path, caplog: pytest.LogCaptureFixture):
    save(root / "train" / "a" / "thumbnails" / "0.png")
    for name in ("1.heic", "2.HEIC", "notes.txt", "README", ".DS_Store", "Thumbs.db"):
        (root / "train" / "b" / name).write_bytes(b"x")
    with caplog.at_level(logging.WARNING, logger="unsir_bench"):
        assert labels(root) == labels(root) == WHOLE
    [line] = [record.getMessage() for record in caplog.records]
    assert f"dataset.root={root}: 5 entries of class folders are not images" in line
    for words in (".heic: 2", ".txt: 1", "without suffix: 1", "folders: 1", "dataset=two_level_folder"):
        assert words in line


# Names that are not UTF-8, and locales that are not


def test_a_file_name_that_is_not_utf8_is_read_as_any_other(root: Path):
    shutil.copy(root / "train/a/0.png", os.fsencode(str(root / "train/a")) + b"/caf\xe9.png")
    assert labels(root) == ([0] * 5 + [1] * 4, WHOLE[1])


def test_a_damaged_file_whose_name_is_not_utf8_is_named_in_printable_letters(root: Path):
    Path(os.fsdecode(os.fsencode(str(root / "train/a")) + b"/caf\xe9.png")).write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        labels(root)
    assert r"train/a/caf\xe9.png" in str(caught.value)
    str(caught.value).encode()


def test_a_class_name_that_is_not_utf8_is_refused_by_name(root: Path):
    for part in ("train", "test"):
        (root / part / "b").rename(os.fsdecode(os.fsencode(str(root / part)) + b"/b\xe9"))
    with pytest.raises(DataError, match=r"class folder b\\xe9 is not UTF-8; rename it"):
        ImageFolder(root=str(root)).class_names()


def test_names_that_python_read_as_ascii_are_the_same_classes(root: Path, monkeypatch: pytest.MonkeyPatch):
    for part in ("train", "test"):
        fill(root / part, ["café", "z"])
    dataset = ImageFolder(root=str(root))
    names, content = dataset.class_names(), dataset.content_identity()
    assert names == ("a", "b", "café", "z")
    # What os.scandir gives where LC_ALL=C: each byte above 127 as a lone surrogate.
    really_scan, surrogate = os.scandir, "caf\udcc3\udca9"

    class Entry:
        def __init__(self, entry: os.DirEntry[str]):
            self.name, self.path = (text.replace("café", surrogate) for text in (entry.name, entry.path))
            self.is_dir, self.stat, self.is_symlink = entry.is_dir, entry.stat, entry.is_symlink

    class Scan:
        def __init__(self, path: Path):
            self.inner = really_scan(str(path).replace(surrogate, "café"))

        def __enter__(self) -> Iterator[Entry]:
            return (Entry(entry) for entry in self.inner)

        def __exit__(self, *_: object) -> None:
            self.inner.close()

    monkeypatch.setattr(os, "scandir", Scan)
    look_again()
    assert dataset.class_names() == names
    assert dataset.content_identity() == content


def test_names_that_only_look_alike_in_both_splits_are_one_line_that_says_so(root: Path):
    fill(root / "train", ["caf\u00e9"])
    fill(root / "test", ["cafe\u0301"])
    with pytest.raises(DataError, match=r"two class names look alike.*rename one"):
        ImageFolder(root=str(root)).class_names()


# Layouts


def test_capitals_in_train_and_test_do_not_matter(root: Path):
    (root / "train").rename(root / "Train")
    (root / "test").rename(root / "TEST")
    assert labels(root) == WHOLE


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_folder_is_the_test_split_where_there_is_no_other(root: Path, name: str):
    for path in (root / "test").glob("*/*"):
        save(path, colour=(9, 9, 9))
    (root / "test").rename(root / name)
    data = ImageFolder(root=str(root)).load(QUIET)
    assert set(np.unique(data.test.images)) == {9}
    assert len(data.test) == 8


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Test"), ("TRAIN", "test"), ("train", "val")], ids=str)
def test_stray_images_beside_the_class_folders_make_no_class_of_a_split(root: Path, names: tuple[str, str]):
    for split, name in zip(("train", "test"), names, strict=True):
        (root / split).rename(root / name)
        for number in range(3):
            save(root / name / f"preview{number}.png")
    assert ImageFolder(root=str(root)).class_names() == ("a", "b")
    assert labels(root) == WHOLE


def test_a_validation_folder_beside_a_test_folder_is_passed_over(root: Path):
    fill(root / "val", "ab", 9)
    assert labels(root) == WHOLE


def test_two_train_folders_are_one_line(root: Path):
    fill(root / "Train", "ab")
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system does not tell capitals apart")
    with pytest.raises(DataError, match="which is the train split, Train or train"):
        ImageFolder(root=str(root)).class_names()


def test_a_test_folder_without_classes_is_one_line(root: Path):
    shutil.rmtree(root / "test")
    save(root / "test" / "1.png")
    with pytest.raises(DataError, match="test/ holds images, not a folder for each class"):
        ImageFolder(root=str(root)).class_names()


@pytest.mark.parametrize("classes", [["car", "plane", "train"], ["exam", "quiz", "test"], ["quiz", "test", "train"]])
def test_a_class_may_be_called_train_or_test(tmp_path: Path, classes: list[str]):
    dataset = ImageFolder(root=str(fill(tmp_path, classes, 5)))
    assert dataset.class_names() == tuple(classes)
    data = dataset.load(QUIET)
    assert sorted(data.train.labels.tolist() + data.test.labels.tolist()) == [0] * 5 + [1] * 5 + [2] * 5


def test_classes_that_hold_folders_alone_are_told_of_two_levels(tmp_path: Path):
    for place in ("split/train", "split/test", "tree"):
        fill(tmp_path / place / "deep", "ab")
        fill(tmp_path / place, "c")
    hint = "deep holds folders alone: dataset=two_level_folder reads class/sub-class/image"
    with pytest.raises(DataError, match=f"no image in train/deep, test/deep; every .*{hint}"):
        ImageFolder(root=str(tmp_path / "split")).class_names()
    with pytest.raises(DataError, match=rf"to be split: deep \(0\); {hint}"):
        ImageFolder(root=str(tmp_path / "tree")).class_names()


# Sizes


def test_the_commonest_size_decides_not_the_first_files(root: Path, caplog: pytest.LogCaptureFixture):
    save(root / "train" / "a" / "!first.png", (9, 7))
    with pytest.raises(DataError, match=r"1 of 9 images(?s:.*)!first\.png \(is 9x7; set dataset.image_size"):
        labels(root)
    with caplog.at_level(logging.WARNING, logger="unsir_bench"):
        assert labels(root, on_bad_image="skip") == WHOLE
    assert "!first.png" in caplog.text


# Pictures


def test_crop_keeps_proportions_and_squash_all_of_the_picture(root: Path):
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, :4, 0], pixels[:, 4:8, 1], pixels[:, 8:, 2] = 200, 200, 200  # red, green, blue
    for path in root.glob("*/*/*.png"):
        Image.fromarray(pixels).save(path)
    data = {fit: ImageFolder(root=str(root), image_size=4, image_fit=fit).load(QUIET) for fit in ("squash", "crop")}
    assert data["crop"].train.images[0].tolist() == pixels[:, 4:8].transpose(2, 0, 1).tolist()
    squashed = data["squash"].train.images[0]
    assert squashed[0, 0, 0] > 150 < squashed[2, 0, 3]


def test_exif_orientation_is_followed_when_asked_for(root: Path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0] = 255  # a white upper edge; orientation 6 turns it to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in root.glob("*/*/*.png"):
        Image.fromarray(pixels).save(path, exif=exif)
    stored = ImageFolder(root=str(root)).load(QUIET).train.images[0, 0]
    turned = ImageFolder(root=str(root), orientation="exif").load(QUIET).train.images[0, 0]
    np.testing.assert_array_equal(stored, pixels[:, :, 0])
    np.testing.assert_array_equal(turned, np.rot90(pixels[:, :, 0], -1))


@pytest.mark.parametrize(("transparency", "expected"), [("drop", 200), ("black", 100), ("white", 228)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_transparent_pixels_are_laid_over_what_is_asked_for(root: Path, transparency: str, expected: int, mode: str):
    for path in root.glob("*/*/*.png"):
        Image.new("RGBA", (4, 4), (200, 200, 200, 128)).save(path)
    data = ImageFolder(root=str(root), transparency=transparency, mode=mode).load(QUIET)
    assert np.abs(data.train.images.astype(int) - expected).max() <= 1
