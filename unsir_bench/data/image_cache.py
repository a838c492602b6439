"""Caches of image arrays on disk: made whole or not at all, verified and memory-mapped when read."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from unsir_bench.data.dataset import Images, LabelledImages, Labels, RawData
from unsir_bench.errors import DamagedEntryError, DataError
from unsir_bench.runtime.files import (
    DAMAGED,
    read_manifest,
    refuse_unreadable,
    set_aside,
    sha256_of_file,
    sync_folder,
    write_manifest,
)
from unsir_bench.runtime.locks import locked

LOG = logging.getLogger("unsir_bench")
CACHE_FOLDER = ".unsir_bench_cache"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Contents:
    """What a maker of a cache tells of the arrays that it wrote.

    Attributes:
        class_names: in index order.
        fingerprint: hash of the content.
        options: what made the pixels; kept for readers of the manifest.
    """

    class_names: tuple[str, ...]
    fingerprint: str
    options: dict[str, Any]


def read_or_make(folder: Path, make: Callable[[Path], Contents]) -> RawData:
    """Both splits of a cache, memory-mapped; made first if there is none, or if it is damaged.

    Args:
        folder: of the cache; its name is its key.
        make: writes the four arrays into the folder that it is given.

    Raises:
        DataError: the disk is full.
    """
    with locked(folder.parent, folder.name, f"or reading {folder}"):
        found = _read_or_set_aside(folder)
        if found is None:
            _make_whole(folder, make)
            found = _read(folder)
    return found


def noted_fingerprint(folder: Path) -> str | None:
    """The hash of a cache's content by its manifest; None if there is no cache, or the manifest is damaged."""
    try:
        manifest = read_manifest(folder)
    except DamagedEntryError:  # or there is none; who reads the images sets it aside
        return None
    known = manifest.get("fingerprint")
    return known if manifest.get("key") == folder.name and isinstance(known, str) else None


def _make_whole(folder: Path, make: Callable[[Path], Contents]) -> None:
    """Make a cache under another name and rename it, so that nobody finds a half-written one; its lock is held."""
    building = folder.parent / f".building-{folder.name}"
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    building.mkdir()  # not tempfile: the folder gets the user's own permissions
    try:
        contents = make(building)
        manifest = {
            "class_names": contents.class_names,
            "fingerprint": contents.fingerprint,
            "options": contents.options,
            "key": folder.name,
            "files": {array: sha256_of_file(building / f"{array}.npy") for array in ARRAYS},
        }
        write_manifest(building, manifest)
        building.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def with_labels(folder: Path, name: str, labels: Sequence[int] | Labels) -> LabelledImages:
    """One split, memory-mapped, whose images are written already; its labels are written now."""
    numbers = np.array(labels, dtype=np.int64)
    np.save(folder / f"{name}_labels.npy", numbers)
    return LabelledImages(np.load(folder / f"{name}_images.npy", mmap_mode="r"), numbers)


def allocated(path: Path, shape: tuple[int, ...], decided_by: str) -> Images:
    """A new uint8 array in a file, memory-mapped, whose space is taken now where the system can.

    Later a full disk would kill the process: writing through a memory map raises no error.

    Args:
        path: of the file.
        shape: (images, channels, height, width).
        decided_by: the keys whose values decide how large it is, for the message.

    Raises:
        DataError: the disk has not that much space.
    """
    images: Images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    try:
        with path.open("rb+") as file:
            if hasattr(os, "posix_fallocate"):  # macOS and Windows have none
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno not in NO_SPACE:  # a file system that cannot
            return images
        size = path.stat().st_size / 1e9
        raise DataError(
            f"{path.parent.parent}: {size:.1f} GB for decoded images cannot be had ({error.strerror}); make room "
            f"there, or choose a smaller {decided_by}"
        ) from error
    return images


def write_in_pieces(path: Path, shape: tuple[int, ...], pieces: Iterable[Images], decided_by: str) -> None:
    """Write an array of images piece by piece, of which no more than one is in memory; otherwise as ``allocated``."""
    allocated(path, shape, decided_by)
    start = 0
    for piece in pieces:
        images = np.load(path, mmap_mode="r+")  # opened anew: what was written leaves this process's memory
        images[start : start + len(piece)] = piece
        start += len(piece)


def cache_root(root: str | None) -> Path:
    """Where caches lie: beside the data or, where nothing can be written there, in the user's cache folder.

    Raises:
        DataError: somebody else has made the folder for users without a home.
    """
    if root:
        beside = Path(root) / CACHE_FOLDER
        try:
            beside.mkdir(exist_ok=True)
            if os.access(beside, os.W_OK):
                return beside
        except OSError:
            pass
    try:
        elsewhere = user_cache_path("unsir-bench") / "decoded"
        elsewhere.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a user without a home
        return _temporary_cache()
    return elsewhere


def _temporary_cache() -> Path:
    """A folder for decoded images that is this user's alone, since others may write beside it.

    Raises:
        DataError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"unsir-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise DataError(f"{folder} is another user's; set XDG_CACHE_HOME to a folder of yours for decoded images")
    LOG.warning("neither the images' folder nor a home can be written to: decoded images are kept in %s", folder)
    return folder


def _read_or_set_aside(folder: Path) -> RawData | None:
    """The cache, verified; None where there is none, or where it was damaged and is now set aside."""
    if not os.path.lexists(folder):
        return None
    try:
        return _read(folder)
    except DamagedEntryError as reason:
        set_aside(folder, folder.parent / DAMAGED, str(reason))
        return None


def _read(folder: Path) -> RawData:
    """Both splits.

    Raises:
        DamagedEntryError: a file is not the one that was written.
    """
    manifest = read_manifest(folder)
    try:
        if manifest["key"] != folder.name:
            raise DamagedEntryError(f"it was written as {manifest['key']}")
        for array in ARRAYS:
            if sha256_of_file(folder / f"{array}.npy") != manifest["files"][array]:
                raise DamagedEntryError(f"{array}.npy does not match its hash")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
    except (OSError, LookupError, TypeError, ValueError) as error:
        refuse_unreadable(error, folder)
        raise DamagedEntryError(f"{type(error).__name__}: {error}") from error

    def split(name: str) -> LabelledImages:
        return LabelledImages(arrays[f"{name}_images"], np.array(arrays[f"{name}_labels"]))

    return RawData(split("train"), split("test"), tuple(manifest["class_names"]), manifest["fingerprint"])
