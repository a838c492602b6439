"""Folders of images: both layouts, every format and mode, the cache, and each way in which a folder can be wrong."""

import logging
import os
import shutil
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unsir_bench.data import decoded_cache, folder_listing, image_cache
from unsir_bench.data.dataset import LabelledImages, content_hash
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folders import ImageFolder, VggFace100
from unsir_bench.data.image_cache import CACHE_FOLDER
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

QUIET = Progress(interactive=False)
Colour = tuple[int, int, int]


def save(path: Path, colour: Colour = (10, 20, 30), size: tuple[int, int] = (4, 4), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def fill(folder: Path, counts: dict[str, int], red: int = 0) -> None:
    """``counts[name]`` images for each class; red is the class (in alphabetical order), green the image's number."""
    for label, name in enumerate(sorted(counts)):
        for number in range(counts[name]):
            save(folder / name / f"{number:03}.png", (red + label, number, 7))


def colours(split: LabelledImages) -> list[Colour]:
    return [tuple(int(v) for v in image[:, 0, 0]) for image in split.images]  # type: ignore[misc]


def forget_listings() -> None:
    """A listing is kept for the life of the process; a new process would look again."""
    folder_listing.listed.cache_clear()
    folder_listing.listed_tree.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_listings() -> Iterator[None]:
    forget_listings()
    yield
    forget_listings()


@pytest.fixture
def split_root(tmp_path: Path) -> Path:
    """train/ with 3 images for each of two classes (red 0 and 1), test/ with 2 (red 100 and 101)."""
    fill(tmp_path / "set" / "train", {"cat": 3, "dog": 3})
    fill(tmp_path / "set" / "test", {"cat": 2, "dog": 2}, red=100)
    return tmp_path / "set"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that Pillow opens from now on."""
    names: list[str] = []
    really_open = Image.open

    def spy(path: Path) -> Image.Image:
        names.append(Path(path).name)
        return really_open(path)

    monkeypatch.setattr(Image, "open", spy)
    return names


def load(root: Path, **options: object) -> tuple[LabelledImages, LabelledImages]:
    data = ImageFolder(root=str(root), **options).load(QUIET)  # type: ignore[arg-type]
    return data.train, data.test


def caches(root: Path) -> list[Path]:
    """What lies in the cache folder but lock files."""
    return [entry for entry in (root / CACHE_FOLDER).iterdir() if entry.suffix != ".lock"]


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


# Formats and modes


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("png", {}, 0),
        ("PNG", {}, 0),
        ("bmp", {}, 0),
        ("gif", {}, 0),
        ("tiff", {}, 0),
        ("tif", {"compression": "tiff_lzw"}, 0),
        ("webp", {"lossless": True}, 0),
        ("ppm", {}, 0),
        ("jpg", {"quality": 95}, 3),
        ("jpeg", {"quality": 95}, 3),
        ("webp", {"quality": 95}, 6),
    ],
)
def test_every_format_gives_the_colour_that_was_saved(
    tmp_path: Path, suffix: str, options: dict[str, object], tolerance: int
):
    saved = {"a": (200, 40, 90), "b": (10, 220, 60)}
    for part in ("train", "test"):
        for name, colour in saved.items():
            save(tmp_path / part / name / f"one.{suffix}", colour, (8, 8), **options)
    train, _ = load(tmp_path)
    for image, label in zip(train.images, train.labels, strict=True):
        expected = np.array(saved["ab"[label]])[:, None, None]
        assert np.abs(image.astype(int) - expected).max() <= tolerance


def test_rows_and_columns_are_not_swapped(split_root: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for path in split_root.glob("*/*/*.png"):
        Image.fromarray(pixels).save(path)
    train, _ = load(split_root)
    assert train.images.shape == (6, 3, 4, 6)
    np.testing.assert_array_equal(train.images[0, 1], pixels[:, :, 1])


# Grey is ITU-R 601's 0.299 R + 0.587 G + 0.114 B.
SOURCES = {
    "RGB": (Image.new("RGB", (4, 4), (200, 100, 50)), (200, 100, 50), 0.299 * 200 + 0.587 * 100 + 0.114 * 50),
    "L": (Image.new("L", (4, 4), 77), (77, 77, 77), 77),
    "1": (Image.new("1", (4, 4), 1), (255, 255, 255), 255),
    "P": (Image.new("RGB", (4, 4), (200, 100, 50)).quantize(2), (200, 100, 50), 124.2),
    "RGBA": (Image.new("RGBA", (4, 4), (200, 100, 50, 128)), (200, 100, 50), 124.2),
    "LA": (Image.new("LA", (4, 4), (77, 10)), (77, 77, 77), 77),
}


@pytest.mark.parametrize("source", SOURCES)
def test_colour_and_grey_files_are_read_in_the_mode_asked_for(split_root: Path, source: str):
    image, colour, grey = SOURCES[source]
    for path in split_root.glob("*/*/*.png"):
        image.save(path)
    rgb, _ = load(split_root, mode="RGB")
    assert rgb.images.shape == (6, 3, 4, 4)
    assert set(colours(rgb)) == {colour}
    single, _ = load(split_root, mode="L")
    assert single.images.shape == (6, 1, 4, 4)
    assert np.abs(single.images.astype(float) - grey).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "suffix"), [(np.full((4, 4), 40_000, np.uint16), "png"), (np.full((4, 4), 0.5, np.float32), "tiff")]
)
def test_deeper_pixels_than_8_bits_are_refused_not_clipped(split_root: Path, pixels: np.ndarray, suffix: str):
    Image.fromarray(pixels).save(split_root / "train" / "cat" / f"deep.{suffix}")
    with pytest.raises(DataError, match=rf"train/cat/deep\.{suffix} .*convert the file to 8 bits"):
        load(split_root)


def test_image_size_resizes_all(tmp_path: Path):
    for part in ("train", "test"):
        for number, (name, size) in enumerate([("a", (3, 9)), ("a", (12, 12)), ("b", (6, 6))]):
            save(tmp_path / part / name / f"{number}.png", (90, 91, 92), size)
    train, test = load(tmp_path, image_size=6)
    assert train.images.shape == test.images.shape == (3, 3, 6, 6)
    assert set(colours(train)) == {(90, 91, 92)}


# The cache


def test_the_second_load_reads_the_cache_and_opens_no_image(split_root: Path, opened: list[str]):
    first, _ = load(split_root)
    assert len(set(opened)) == 3
    opened.clear()
    forget_listings()
    second, _ = load(split_root)
    assert opened == []
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_the_fingerprint_from_the_cache_is_that_of_the_pixels(split_root: Path):
    dataset = ImageFolder(root=str(split_root))
    for data in (dataset.load(QUIET), dataset.load(QUIET)):
        assert data.fingerprint == content_hash(data.train, data.test)


def test_the_cache_is_no_class_of_one_tree(tmp_path: Path):
    fill(tmp_path, {"a": 4, "b": 4})
    load(tmp_path, test_share=0.5)
    forget_listings()
    assert ImageFolder(root=str(tmp_path), test_share=0.5).class_names() == ("a", "b")


def test_a_changed_file_is_decoded_again(split_root: Path):
    load(split_root)
    changed = split_root / "train" / "dog" / "001.png"
    before = changed.stat()
    save(changed, (1, 99, 7))
    # The same size on disk and a later time: what an editor leaves behind.
    assert changed.stat().st_size == before.st_size
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    forget_listings()
    assert (1, 99, 7) in colours(load(split_root)[0])


@pytest.mark.parametrize("change", ["added", "removed", "renamed into the other class"])
def test_an_added_or_removed_or_moved_file_is_seen(split_root: Path, change: str):
    load(split_root)
    file = split_root / "train" / "dog" / "001.png"
    if change == "added":
        save(file.with_name("new.png"), (1, 50, 7))
    elif change == "removed":
        file.unlink()
    else:
        file.rename(split_root / "train" / "cat" / "moved.png")
    forget_listings()
    counts = {"added": {0: 3, 1: 4}, "removed": {0: 3, 1: 2}}.get(change, {0: 4, 1: 2})
    assert Counter(load(split_root)[0].labels.tolist()) == counts


def test_each_size_and_mode_has_a_cache_of_its_own(split_root: Path):
    options = [{}, {"image_size": 2}, {"mode": "L"}]
    shapes = [load(split_root, **option)[0].images.shape[1:] for option in options + options]
    assert shapes == [(3, 4, 4), (3, 2, 2), (1, 4, 4)] * 2
    assert len(caches(split_root)) == 3


def test_two_readers_at_once_decode_once(split_root: Path, opened: list[str]):
    load(split_root)
    alone = Counter(opened)
    shutil.rmtree(split_root / CACHE_FOLDER)
    opened.clear()
    gate, found = threading.Barrier(2), []

    def read() -> None:
        gate.wait()
        found.append(load(split_root)[0])

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert Counter(opened) == alone
    np.testing.assert_array_equal(found[0].images, found[1].images)


@pytest.mark.parametrize("moment", ["while decoding", "while hashing", "while writing the manifest"])
def test_an_interruption_leaves_no_half_written_cache(split_root: Path, monkeypatch: pytest.MonkeyPatch, moment: str):
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "while decoding":
            patch.setattr(DecodedCache, "_pixels", interrupt_at(4))
        elif moment == "while hashing":
            patch.setattr(decoded_cache, "content_hash", interrupted)
        else:
            patch.setattr(Path, "write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(split_root)
    assert caches(split_root) == []
    assert len(load(split_root)[0]) == 6


def interrupt_at(call: int) -> Callable[[DecodedCache, Path], np.ndarray]:
    calls: list[Path] = []
    pixels = DecodedCache._pixels

    def decode(self: DecodedCache, path: Path) -> np.ndarray:
        calls.append(path)
        if len(calls) == call:
            raise KeyboardInterrupt
        return pixels(self, path)

    return decode


@pytest.mark.parametrize("obstacle", ["not writable", "cannot be made"])
def test_a_read_only_root_caches_in_the_users_folder(
    split_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str], obstacle: str
):
    monkeypatch.setattr(image_cache, "user_cache_path", lambda name: tmp_path / "user" / name)
    if obstacle == "not writable":
        really_access = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode: split_root not in Path(path).parents and really_access(path, mode)
        )
    else:
        (split_root / CACHE_FOLDER).write_text("a file where the folder should be")
    first, _ = load(split_root)
    opened.clear()
    second, _ = load(split_root)
    assert opened == []
    np.testing.assert_array_equal(first.images, second.images)
    assert list((tmp_path / "user" / "unsir-bench").glob("**/manifest.json"))
    assert not list(split_root.glob(f"{CACHE_FOLDER}/*"))


# Bad images


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


def test_omniglot_is_100_classes_of_15_and_5(shared_data: Path, tmp_path: Path, opened: list[str]):
    with tarfile.open(shared_data / "omniglot-100.tar.xz") as archive:
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
