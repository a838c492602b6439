"""Folders of images, one per class: decoded once into a cache beside the data, read from there ever after."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image
from platformdirs import user_cache_path

from unsir_bench.config_fields import choice, not_hashed, number
from unsir_bench.data.dataset import DatasetConfig, Images, LabelledImages, RawData, content_hash, stratified_split
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress
from unsir_bench.versions import CACHE_FORMAT

LOG = logging.getLogger("unsir_bench")
CACHE_FOLDER = ".unsir_bench_cache"
SHOWN_NAMES = 10


@dataclass(frozen=True)
class ImageFile:
    """One file of a folder set: its path below the root, class index, size in bytes and time of change."""

    path: str
    label: int
    size: int
    changed_ns: int


@dataclass(frozen=True)
class Listing:
    """All files of a folder set, by split, before any is opened."""

    class_names: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]

    def digest(self, *, with_times: bool) -> str:
        """Hash of paths, labels and sizes; with times, also of when each file last changed."""
        hasher = hashlib.blake2b(digest_size=8)
        for split in (self.train, self.test):
            for file in split:
                time = file.changed_ns if with_times else 0
                hasher.update(f"{file.path}\0{file.label}\0{file.size}\0{time}\n".encode())
            hasher.update(b"--\n")
        return hasher.hexdigest()


@dataclass
class ImageFolder(DatasetConfig):
    """``root/train/<class>/*`` and ``root/test/<class>/*``, or one tree ``root/<class>/*`` split by a seeded ratio.

    Classes are numbered in alphabetical order of their folders. Any image format that PIL reads is accepted.
    """

    name: str = not_hashed("image_folder")
    test_share: float = number(0.2, above=0, below=1)
    split_seed: int = 0
    mode: str = choice("RGB", ("RGB", "L"))
    on_bad_image: str = choice("error", ("error", "skip"))

    def class_names(self) -> tuple[str, ...]:
        return self._listing().class_names

    def content_identity(self) -> str:
        try:
            return self._listing().digest(with_times=False)
        except DataError:
            return "missing"

    def read(self, progress: Progress) -> RawData:
        listing = self._listing()
        folder = self._cache_root() / self._cache_key(listing)
        with FileLock(f"{folder}.lock"):
            if not (folder / "manifest.json").exists():
                self._decode_into(folder, listing, progress)
        return _read_cache(folder)

    def _listing(self) -> Listing:
        if not self.root:
            raise DataError(f"dataset.root is not set: give the folder that holds the images of {self.name}")
        return _listed(str(Path(self.root).absolute()), self.root, self.test_share, self.split_seed)

    def _cache_root(self) -> Path:
        beside = Path(self.root or "") / CACHE_FOLDER
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
        """Decode into a temporary folder and rename it, so that a half-written cache is never found."""
        building = folder.parent / f".building-{uuid4().hex}"
        building.mkdir()  # with the user's own permissions, which a temporary folder has not
        try:
            splits: dict[str, LabelledImages] = {}
            for name, files in (("train", listing.train), ("test", listing.test)):
                shape = splits["train"].images.shape[1:] if splits else None
                splits[name] = self._decode_split(building, name, files, shape, progress)
            manifest = {
                "class_names": listing.class_names,
                "fingerprint": content_hash(*splits.values()),
                "options": {key: value for key, value in asdict(self).items() if key in ("image_size", "mode")},
            }
            (building / "manifest.json").write_text(json.dumps(manifest, indent=2))
            building.rename(folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise

    def _decode_split(
        self, folder: Path, name: str, files: Sequence[ImageFile], shape: tuple[int, ...] | None, progress: Progress
    ) -> LabelledImages:
        root = Path(self.root or "")
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
                "(dataset.on_bad_image=skip); mend them or remove the class"
            )

    def _shape_of(self, path: Path) -> tuple[int, int, int] | None:
        try:
            return self._pixels(path).shape
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None

    def _pixels(self, path: Path) -> Images:
        with Image.open(path) as image:
            if image.mode == "F" or image.mode.startswith("I"):
                # Pillow would clip them to 255: nearly white images, and no word of it.
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
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
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
            raise DataError(f"{text}\nMend or remove them, or leave them out with dataset.on_bad_image=skip.")
        LOG.warning("%s\nThey are left out (dataset.on_bad_image=skip).", text)


@dataclass
class VggFace100(ImageFolder):
    """100 identities of VGGFace (Parkhi et al. 2015) in one tree ``root/<identity>/*``.

    The rule that chooses them: of the identities with at least ``min_images`` files, the first 100 in alphabetical
    order of their folder names. The published choice is not known.
    """

    name: str = not_hashed("vggface100")
    identities: int = number(100, at_least=2)
    min_images: int = number(100, at_least=2)

    def _listing(self) -> Listing:
        root = Path(self.root) if self.root else None
        enough = _identities(root, self.min_images) if root and root.is_dir() else []
        if len(enough) < self.identities:
            raise DataError(
                f"dataset.root={self.root}: found {len(enough)} identities with at least {self.min_images} images, "
                f"need {self.identities}.\nThe licence of VGGFace does not let us download it. Ask its authors for the "
                "images and lay them out as\n  ROOT/<identity name>/<anything>.jpg\nwith one folder per identity, then "
                f"pass dataset.root=ROOT. Fewer images per identity: dataset.min_images."
            )
        chosen = tuple(enough[: self.identities])
        return _listed_tree(str(root), chosen, self.test_share, self.split_seed)


@lru_cache(maxsize=8)
def _identities(root: Path, least: int) -> list[str]:
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
    """Of what a link points to; of the link itself where that is missing, so that decoding names it."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return entry.stat(follow_symlinks=False)


@lru_cache(maxsize=8)
def _listed(absolute: str, shown: str, test_share: float, seed: int) -> Listing:
    """List a folder set once per process; a sweep asks for it once a job."""
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
    return _listed_tree(absolute, classes, test_share, seed)


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
def _listed_tree(absolute: str, classes: tuple[str, ...], test_share: float, seed: int) -> Listing:
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


def _read_cache(folder: Path) -> RawData:
    manifest = json.loads((folder / "manifest.json").read_text())

    def split(name: str) -> LabelledImages:
        images = np.load(folder / f"{name}_images.npy", mmap_mode="r", allow_pickle=False)
        return LabelledImages(images, np.load(folder / f"{name}_labels.npy", allow_pickle=False))

    return RawData(split("train"), split("test"), tuple(manifest["class_names"]), manifest["fingerprint"])
