"""Lists the image files of a folder data set, by split and class, without opening one."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from unsir_bench.data.dataset import stratified_split
from unsir_bench.errors import DataError

SHOWN_NAMES = 10


@dataclass(frozen=True)
class ImageFile:
    """One image file: path below the root, class index, size in bytes, time of change in nanoseconds."""

    path: str
    label: int
    size: int
    changed_ns: int


@dataclass(frozen=True)
class Listing:
    """All files of a folder set, by split."""

    class_names: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]

    def digest(self, *, with_times: bool) -> str:
        """Hash of paths, labels and sizes, 16 hexadecimal digits; with times, also of each file's last change."""
        hasher = hashlib.blake2b(digest_size=8)
        for split in (self.train, self.test):
            for file in split:
                time = file.changed_ns if with_times else 0
                hasher.update(f"{file.path}\0{file.label}\0{file.size}\0{time}\n".encode())
            hasher.update(b"--\n")
        return hasher.hexdigest()


@lru_cache(maxsize=8)
def identities(root: Path, least: int) -> list[str]:
    """The class folders of ``root`` that hold at least ``least`` images, in alphabetical order."""
    return [name for name in _class_folders(root) if len(_files(root, root / name, 0)) >= least]


def _class_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _files(root: Path, folder: Path, label: int) -> list[ImageFile]:
    suffixes = Image.registered_extensions()
    found = [
        ImageFile(Path(entry.path).relative_to(root).as_posix(), label, info.st_size, info.st_mtime_ns)
        for entry in os.scandir(folder)
        if os.path.splitext(entry.name)[1].lower() in suffixes and (info := _status(entry)) and not entry.is_dir()  # noqa: PTH122
    ]
    return sorted(found, key=lambda file: file.path)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    """Status of a link's target; of the link itself if the target is missing, so that decoding reports it."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


@lru_cache(maxsize=8)
def listed(absolute: str, shown: str, test_share: float, seed: int) -> Listing:
    """The files of a folder set; kept for the life of the process, since a sweep asks once per job.

    Args:
        absolute: path of the root.
        shown: the root as the user wrote it, for messages.
        test_share: of each class's images, where ``root`` has no train/ and test/.
        seed: of that split.

    Raises:
        DataError: there is no such folder, or its layout or number of images is wrong.
    """
    root = Path(absolute)
    if not root.is_dir():
        raise DataError(f"dataset.root={shown}: there is no such folder")
    has = {name: (root / name).is_dir() for name in ("train", "test")}
    if has["train"] != has["test"]:
        present, absent = ("train", "test") if has["train"] else ("test", "train")
        raise DataError(f"dataset.root={shown}: it has a folder {present}/ but none named {absent}/")
    if has["train"]:
        return _listed_splits(root, shown)
    classes = tuple(_class_folders(root))
    if len(classes) < 2:
        raise DataError(
            f"dataset.root={shown}: found {len(classes)} class folders, need at least 2 (or train/ and test/)"
        )
    return listed_tree(absolute, classes, test_share, seed)


def _listed_splits(root: Path, shown: str) -> Listing:
    folders = {split: set(_class_folders(root / split)) for split in ("train", "test")}
    classes = sorted(folders["train"] | folders["test"])
    found = {
        split: {
            c: _files(root, root / split / c, label) if c in folders[split] else [] for label, c in enumerate(classes)
        }
        for split in folders
    }
    empty = [f"{split}/{c}" for split in found for c in classes if not found[split][c]]
    if empty or len(classes) < 2:
        what = (
            f"no image in {', '.join(empty[:SHOWN_NAMES])}"
            if empty
            else f"found {len(classes)} classes, need 2 or more"
        )
        raise DataError(f"dataset.root={shown}: {what}; every class needs images in train/ and in test/")
    train, test = (tuple(file for c in classes for file in found[split][c]) for split in ("train", "test"))
    return Listing(tuple(classes), train, test)


@lru_cache(maxsize=8)
def listed_tree(absolute: str, classes: tuple[str, ...], test_share: float, seed: int) -> Listing:
    """The files of some class folders of one tree, split by a seeded ratio within each class; see ``listed``."""
    root = Path(absolute)
    by_class = [_files(root, root / name, label) for label, name in enumerate(classes)]
    poor = [f"{name} ({len(files)})" for name, files in zip(classes, by_class, strict=True) if len(files) < 2]
    if poor:
        raise DataError(
            f"dataset.root={absolute}: a class needs 2 images or more to be split: {', '.join(poor[:SHOWN_NAMES])}"
        )
    files = [file for group in by_class for file in group]
    labels = np.array([file.label for file in files])
    try:
        train, test = stratified_split(labels, test_share, seed)
    except ValueError as error:
        raise DataError(f"dataset.test_share={test_share}: {error}") from error
    return Listing(classes, tuple(files[i] for i in train), tuple(files[i] for i in test))
