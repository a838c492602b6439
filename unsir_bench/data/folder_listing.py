"""Lists the image files of a folder data set, by split and class, without opening one."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from unsir_bench.data.dataset import stratified_split
from unsir_bench.data.picture import image_suffixes, printable
from unsir_bench.errors import DataError
from unsir_bench.runtime.files import path_problem

LOG = logging.getLogger("unsir_bench")
SHOWN_NAMES = 10
INSTEAD_OF_TEST = ("val", "valid", "validation")
APPLE_DOUBLE = "._"  # how macOS names the file of a file's attributes on other file systems
# Folders that systems leave in others.
NO_CLASS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
NO_IMAGE = ("Thumbs.db", "desktop.ini")  # files likewise
TWO_LEVELS = "dataset=two_level_folder reads class/sub-class/image"


@dataclass(frozen=True, slots=True)
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

    def under(self, coarse_names: tuple[str, ...], coarse: Sequence[int]) -> Listing:
        """The same files in the same order, each class of this listing counted to a coarser one.

        Args:
            coarse_names: the coarse classes.
            coarse: of each class, the index of its coarse one.
        """

        key, kept = (coarse_names, *coarse), self.__dict__.setdefault("_coarser", {})  # a run asks for it several times
        if key not in kept:
            files = (tuple(replace(each, label=coarse[each.label]) for each in own) for own in (self.train, self.test))
            kept[key] = Listing(coarse_names, *files)
        return kept[key]  # type: ignore[no-any-return]

    @property
    def last_change(self) -> float:
        """When a file was last changed, in seconds of the epoch."""
        return max(file.changed_ns for file in (*self.train, *self.test)) / 1e9

    def digest(self, *, with_times: bool) -> str:
        """Hash of paths, labels and sizes, 16 hexadecimal digits; with times, also of each file's last change."""
        return self._with_times if with_times else self._without_times

    @cached_property
    def _with_times(self) -> str:
        return self._hashed(with_times=True)

    @cached_property
    def _without_times(self) -> str:
        return self._hashed(with_times=False)

    def _hashed(self, *, with_times: bool) -> str:
        hasher = hashlib.blake2b(digest_size=8)
        for split in (self.train, self.test):
            for file in split:
                time = file.changed_ns if with_times else 0
                hasher.update(os.fsencode(file.path) + f"\0{file.label}\0{file.size}\0{time}\n".encode())
            hasher.update(b"--\n")
        return hasher.hexdigest()


@lru_cache(maxsize=8)
def identities(root: Path, least: int) -> list[str]:
    """The class folders of ``root`` that hold at least ``least`` images, in alphabetical order."""
    return [name for name in _class_folders(root) if len(_files(root, root / name, 0)) >= least]


def _class_folders(folder: Path) -> list[str]:
    """The names of the class folders, in the order of their UTF-8 bytes, which is that of the letters' codes."""
    names = []
    for entry in _entries(folder):
        if entry.name.startswith(".") or entry.name in NO_CLASS:
            continue
        if _leads_to_folder(entry):
            names.append(entry.name)
        elif entry.is_symlink() and not Path(entry.path).exists():
            LOG.warning("%s is a link that leads nowhere: it is no class", printable(entry.path))
    return sorted(names, key=os.fsencode)


def _class_folders_of(folder: Path, levels: int) -> list[str]:
    """The class folders at the last of one or two levels, as paths below ``folder``.

    Raises:
        DataError: an image lies above the last level, where it would belong to no sub-class.
    """
    found = _class_folders(folder)
    if levels == 1:
        return found
    for name in found:
        if _files(folder, folder / name, 0):
            raise DataError(
                f"dataset.root: the class folder {printable(str(folder / name))} holds images itself; "
                "two levels are needed, class/sub-class/image"
            )
    return [f"{name}/{below}" for name in found for below in _class_folders(folder / name)]


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _class_name(folder: str) -> str:
    """The name of a class as text, whatever encoding the system reads names in.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return os.fsencode(folder).decode()
    except UnicodeDecodeError:
        raise DataError(
            f"dataset.root: the name of the class folder {printable(folder)} is not UTF-8; rename it "
            "(the program convmv does so for many)"
        ) from None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"dataset.root: the folder {printable(str(folder))} cannot be listed ({error.strerror}); "
            "make it readable or remove it"
        ) from error


def _files(root: Path, folder: Path, label: int) -> list[ImageFile]:
    suffixes, below = image_suffixes(), folder.relative_to(root).as_posix()
    found = [
        ImageFile(f"{below}/{entry.name}", label, info.st_size, info.st_mtime_ns)
        for entry in _entries(folder)
        if os.path.splitext(entry.name)[1].lower() in suffixes  # noqa: PTH122
        and not entry.name.startswith(APPLE_DOUBLE)
        and not stat.S_ISDIR((info := _status(entry)).st_mode)
    ]
    return sorted(found, key=lambda file: os.fsencode(file.path))


def _warn_of_passed_over(root: Path, folders: Iterable[str], shown: str) -> None:
    """Say what lies in class folders and is not read, such as images of a kind that Pillow does not know."""
    kinds: Counter[str] = Counter(kind for folder in folders for kind in _passed_over(root / folder))
    if kinds:
        LOG.warning(
            "dataset.root=%s: %d entries of class folders are not images and are not read (%s)%s",
            shown,
            kinds.total(),
            ", ".join(f"{printable(kind)}: {count}" for kind, count in kinds.most_common(SHOWN_NAMES)),
            f"; {TWO_LEVELS}" if "folders" in kinds else "",
        )


def _passed_over(folder: Path) -> Iterator[str]:
    """The suffix of each file that is no image, and ``folders`` for each folder; leftovers of systems apart."""
    suffixes = image_suffixes()
    for entry in _entries(folder):
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if entry.name.startswith(".") or entry.name in (*NO_CLASS, *NO_IMAGE):
            continue
        if _leads_to_folder(entry):
            yield "folders"
        elif suffix not in suffixes:
            yield suffix or "without suffix"


def _hint(root: Path, empty: Iterable[str]) -> str:
    """Where the images of class folders without any may lie."""
    deep = [folder for folder in empty if (root / folder).is_dir() and _class_folders(root / folder)]
    return f"; {printable(deep[0])} holds folders alone: {TWO_LEVELS}" if deep else ""


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    """Status of a link's target; of the link itself if that cannot be reached, so that decoding reports it."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


@lru_cache(maxsize=8)
def listed(absolute: str, shown: str, test_share: float, seed: int, levels: int = 1) -> Listing:
    """The files of a folder set; kept until the process looks again, since a sweep asks once per job.

    Args:
        absolute: path of the root.
        shown: the root as the user wrote it, for messages.
        test_share: of each class's images, where ``root`` has no train/ and test/.
        seed: of that split.
        levels: 2: classes lie in class folders; the listing's classes are the inner ones, named ``outer/inner``.

    Raises:
        DataError: there is no such folder, or its layout or number of images is wrong.
    """
    root = Path(absolute)
    if complaint := path_problem(root, "folder"):
        raise DataError(f"dataset.root={shown}: {complaint}")
    splits = _split_folders(root, shown)
    if splits:
        return _listed_splits(root, splits, shown, levels)
    classes = tuple(_class_folders_of(root, levels))
    if len(classes) < 2:
        raise DataError(
            f"dataset.root={shown}: found {len(classes)} class folders, need at least 2 (or train/ and test/)"
        )
    return listed_tree(absolute, classes, test_share, seed)


def _split_folders(root: Path, shown: str) -> tuple[str, str] | None:
    """The names of the training and the test folder, as the disk has them; None if ``root`` is one tree.

    Capitals do not matter, and val/ or valid/ stands in for a missing test/.

    Raises:
        DataError: one of the two is missing, there twice or not sorted into classes.
    """
    present = {name: _named(root, (name,), shown) for name in ("train", "test")}
    train = present["train"] if present["train"] and not _is_class(root / present["train"]) else None
    if train and not present["test"]:
        present["test"] = _named(root, INSTEAD_OF_TEST, shown)
    test = present["test"]
    if train and test and _is_class(root / test):
        raise DataError(
            f"dataset.root={shown}: {test}/ holds images, not a folder for each class as {train}/ does; sort them into "
            f"class folders, or move {test}/ away: val/ or valid/ is then taken in its place, if there is one"
        )
    if train and test:
        return train, test
    if train or (test and not present["train"] and not _is_class(root / test)):
        has, lacks = (train, "test") if train else (test, "train")
        raise DataError(f"dataset.root={shown}: it has a folder {has}/ but none named {lacks}/")
    return None


def _named(root: Path, names: tuple[str, ...], shown: str) -> str | None:
    """The folder of the first of these names that there is, in capitals or not.

    Raises:
        DataError: two folders have that name.
    """
    folders = [entry.name for entry in _entries(root) if _leads_to_folder(entry)]
    for name in names:
        found = sorted(folder for folder in folders if folder.lower() == name)
        if len(found) > 1:
            raise DataError(f"dataset.root={shown}: which is the {name} split, {' or '.join(found)}? Rename one")
        if found:
            return found[0]
    return None


def _is_class(folder: Path) -> bool:
    """Whether a folder with a split's name is a class: it holds images and no folder."""
    return not _class_folders(folder) and bool(_files(folder, folder, 0))


def _listed_splits(root: Path, splits: tuple[str, str], shown: str, levels: int) -> Listing:
    folders = {split: {_class_name(name): name for name in _class_folders_of(root / split, levels)} for split in splits}
    # Level by level, as one tree is sorted: whole, "a b/x" would precede "a/x".
    classes = sorted(set().union(*folders.values()), key=lambda name: name.split("/"))
    found = {
        split: {
            c: _files(root, root / split / folders[split][c], label) if c in folders[split] else []
            for label, c in enumerate(classes)
        }
        for split in folders
    }
    empty = [f"{split}/{c}" for split in found for c in classes if not found[split][c]]
    present = [f"{split}/{name}" for split in found for name in folders[split].values()]
    if empty or len(classes) < 2:
        what = (
            f"no image in {', '.join(empty[:SHOWN_NAMES])}"
            if empty
            else f"found {len(classes)} classes, need 2 or more"
        )
        if len({unicodedata.normalize("NFC", c) for c in classes}) < len(classes):
            what += " (two class names look alike: one has its accents composed, the other apart; rename one)"
        train, test = splits
        hint = _hint(root, empty) if levels == 1 else ""
        raise DataError(f"dataset.root={shown}: {what}; every class needs images in {train}/ and in {test}/{hint}")
    _warn_of_passed_over(root, present, shown)
    train_files, test_files = (tuple(file for c in classes for file in found[split][c]) for split in splits)
    return Listing(tuple(classes), train_files, test_files)


@lru_cache(maxsize=8)
def listed_tree(absolute: str, classes: tuple[str, ...], test_share: float, seed: int) -> Listing:
    """The files of some class folders of one tree, split by a seeded ratio within each class; see ``listed``."""
    root = Path(absolute)
    names = tuple(_class_name(folder) for folder in classes)
    by_class = [_files(root, root / folder, label) for label, folder in enumerate(classes)]
    poor = [f"{name} ({len(files)})" for name, files in zip(names, by_class, strict=True) if len(files) < 2]
    if poor:
        raise DataError(
            f"dataset.root={absolute}: a class needs 2 images or more to be split: {', '.join(poor[:SHOWN_NAMES])}"
            + _hint(root, (name for name, own in zip(classes, by_class, strict=True) if not own and "/" not in name))
        )
    _warn_of_passed_over(root, classes, absolute)
    files = [file for group in by_class for file in group]
    labels = np.array([file.label for file in files])
    try:
        train, test = stratified_split(labels, test_share, seed)
    except ValueError as error:
        raise DataError(
            f"dataset.test_share={test_share}: {error}; every class needs an image on both sides: add images, or set a "
            "share nearer to a half"
        ) from error
    return Listing(names, tuple(files[i] for i in train), tuple(files[i] for i in test))
