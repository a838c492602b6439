"""The decoded cache of a folder data set: uint8 arrays on disk, verified and memory-mapped when read."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image
from platformdirs import user_cache_path

from unsir_bench.data.dataset import Images, LabelledImages, RawData, content_hash
from unsir_bench.data.folder_listing import SHOWN_NAMES, ImageFile, Listing
from unsir_bench.errors import DamagedEntryError, DataError
from unsir_bench.runtime.files import (
    DAMAGED,
    read_manifest,
    set_aside,
    sha256_of_file,
    sync_folder,
    write_manifest,
)
from unsir_bench.runtime.progress import Progress
from unsir_bench.versions import CACHE_FORMAT

LOG = logging.getLogger("unsir_bench")
CACHE_FOLDER = ".unsir_bench_cache"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True)
class DecodedCache:
    """Decodes the images of a folder set once and reads them from a cache from then on.

    The cache lies beside the data or, where that is read-only, in the user's cache folder.

    Attributes:
        root: the folder that a listing's paths start from, as the user wrote it.
        image_size: images are resized to this height and width, in pixels; None: all must be of one size.
        mode: ``RGB`` or ``L`` (grey).
        on_bad_image: ``error``, or ``skip`` to leave out files that cannot be used, with a warning.
    """

    root: str
    image_size: int | None
    mode: str
    on_bad_image: str

    def read(self, listing: Listing, progress: Progress) -> RawData:
        """Both splits, memory-mapped, decoded first if the cache does not hold them yet or is damaged.

        Raises:
            DataError: a file cannot be used (``on_bad_image=error``), or a class would lose all its images.
        """
        folder = self._cache_root() / self._cache_key(listing)
        with FileLock(f"{folder}.lock"):
            found = _read_or_set_aside(folder)
            if found is None:
                self._decode_into(folder, listing, progress)
                found = _read_cache(folder)
        return found

    def _cache_root(self) -> Path:
        beside = Path(self.root) / CACHE_FOLDER
        try:
            beside.mkdir(exist_ok=True)
            if os.access(beside, os.W_OK):
                return beside
        except OSError:
            pass
        elsewhere = user_cache_path("unsir-bench") / "decoded"
        elsewhere.mkdir(parents=True, exist_ok=True)
        return elsewhere

    def _cache_key(self, listing: Listing) -> str:
        options = (CACHE_FORMAT, listing.digest(with_times=True), self.image_size, self.mode, self.on_bad_image)
        return hashlib.blake2b(repr(options).encode(), digest_size=8).hexdigest()

    def _decode_into(self, folder: Path, listing: Listing, progress: Progress) -> None:
        """Decode into a temporary folder and rename it, so that nobody finds a half-written cache."""
        building = folder.parent / f".building-{uuid4().hex}"
        building.mkdir()  # not tempfile: the folder gets the user's own permissions
        try:
            splits: dict[str, LabelledImages] = {}
            for name, files in (("train", listing.train), ("test", listing.test)):
                shape = splits["train"].images.shape[1:] if splits else None
                splits[name] = self._decode_split(building, name, files, shape, progress)
            manifest = {
                "class_names": listing.class_names,
                "fingerprint": content_hash(*splits.values()),
                "options": {"image_size": self.image_size, "mode": self.mode},
                "key": folder.name,
                "files": {array: sha256_of_file(building / f"{array}.npy") for array in ARRAYS},
            }
            write_manifest(building, manifest)
            building.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise

    def _decode_split(
        self, folder: Path, name: str, files: Sequence[ImageFile], shape: tuple[int, ...] | None, progress: Progress
    ) -> LabelledImages:
        root = Path(self.root)
        shape = shape or next((found for file in files if (found := self._shape_of(root / file.path))), None)
        if shape is None:
            raise DataError(f"dataset.root={self.root}: none of the {len(files)} files of {name} is a readable image")
        images: Images = np.lib.format.open_memmap(
            folder / f"{name}_images.npy", mode="w+", dtype=np.uint8, shape=(len(files), *shape)
        )
        bad = dict(self._fill(images, root, files, f"decoding {name} images", progress))
        self._report(bad, len(files))
        kept = np.array([position for position in range(len(files)) if position not in bad])
        self._check_classes_left(name, files, kept)
        if bad:
            images = images[kept]
            np.save(folder / f"{name}_images.npy", images)
        labels: npt.NDArray[np.int64] = np.array([files[position].label for position in kept], dtype=np.int64)
        np.save(folder / f"{name}_labels.npy", labels)
        return LabelledImages(images, labels)

    def _check_classes_left(self, name: str, files: Sequence[ImageFile], kept: npt.NDArray[np.int64]) -> None:
        left = {files[position].label for position in kept}
        lost = sorted({Path(file.path).parent.name for file in files if file.label not in left})
        if lost:
            raise DataError(
                f"dataset.root={self.root}: no image of {', '.join(lost[:SHOWN_NAMES])} in {name} can be used "
                "(dataset.on_bad_image=skip); fix them or remove the class"
            )

    def _shape_of(self, path: Path) -> tuple[int, int, int] | None:
        try:
            return self._pixels(path).shape
        except UNREADABLE:
            return None

    def _pixels(self, path: Path) -> Images:
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                # Pillow would silently clip them to 255: nearly white images.
                raise ValueError(
                    f"its pixels are of mode {image.mode}, not 8 bits; convert the file to 8 bits a channel"
                )
            converted = image.convert(self.mode)
            if self.image_size is not None and converted.size != (self.image_size, self.image_size):
                converted = converted.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
            pixels = np.asarray(converted)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _fill(
        self, images: Images, root: Path, files: Sequence[ImageFile], title: str, progress: Progress
    ) -> Iterator[tuple[int, str]]:
        """Decode every file into ``images`` on several threads; yield (position, complaint) for each bad one."""

        def decode(position: int) -> str | None:
            try:
                pixels = self._pixels(root / files[position].path)
            except UNREADABLE as error:
                return f"{files[position].path} ({error})"
            if pixels.shape != images.shape[1:]:
                height, width = pixels.shape[1:]
                return f"{files[position].path} (is {width}x{height}; set dataset.image_size to resize all)"
            images[position] = pixels
            return None

        with ThreadPoolExecutor() as pool, progress.task(title, len(files), "images") as task:
            for position, complaint in enumerate(pool.map(decode, range(len(files)), chunksize=64)):
                task.advance()
                if complaint:
                    yield position, complaint

    def _report(self, bad: dict[int, str], total: int) -> None:
        if not bad:
            return
        names = "\n".join(f"  - {complaint}" for complaint in list(bad.values())[:SHOWN_NAMES])
        more = f"\n  … and {len(bad) - SHOWN_NAMES} more" if len(bad) > SHOWN_NAMES else ""
        text = f"{len(bad)} of {total} images under dataset.root={self.root} cannot be used:\n{names}{more}"
        if self.on_bad_image == "error" or len(bad) == total:
            raise DataError(f"{text}\nFix or remove them, or leave them out with dataset.on_bad_image=skip.")
        LOG.warning("%s\nThey are left out (dataset.on_bad_image=skip).", text)


def _read_or_set_aside(folder: Path) -> RawData | None:
    """The cache, verified; None where there is none, or where it was damaged and is now set aside."""
    if not os.path.lexists(folder):
        return None
    try:
        return _read_cache(folder)
    except DamagedEntryError as reason:
        set_aside(folder, folder.parent / DAMAGED, str(reason))
        return None


def _read_cache(folder: Path) -> RawData:
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
        raise DamagedEntryError(f"{type(error).__name__}: {error}") from error

    def split(name: str) -> LabelledImages:
        return LabelledImages(arrays[f"{name}_images"], np.array(arrays[f"{name}_labels"]))

    return RawData(split("train"), split("test"), tuple(manifest["class_names"]), manifest["fingerprint"])
