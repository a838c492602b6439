"""Decodes the images of a folder data set once, into a cache on disk."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unsir_bench.data.dataset import Images, LabelledImages, RawData, content_hash
from unsir_bench.data.folder_listing import SHOWN_NAMES, ImageFile, Listing
from unsir_bench.data.image_cache import (
    Contents,
    allocated,
    cache_root,
    noted_fingerprint,
    read_or_make,
    with_labels,
    write_in_pieces,
)
from unsir_bench.data.picture import PictureOptions, UnusableImage, printable
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress
from unsir_bench.versions import CACHE_FORMAT

LOG = logging.getLogger("unsir_bench")
SIZE = "dataset.image_size"  # alone decides: a subset is taken of what is decoded
Shape = tuple[int, ...]


@dataclass(frozen=True)
class DecodedCache:
    """Decodes the images of a folder set once and reads them from a cache from then on.

    The cache lies beside the data or, where that is read-only, in the user's cache folder.

    Attributes:
        root: the folder that a listing's paths start from, as the user wrote it.
        options: how a file becomes pixels; without an ``image_size``, all must be of one size.
        on_bad_image: ``error``, or ``skip`` to leave out files that cannot be used, with a warning.
        key: of the configuration that holds ``root``, for messages.
    """

    root: str
    options: PictureOptions
    on_bad_image: str
    key: str = "dataset.root"

    def read(self, listing: Listing, progress: Progress) -> RawData:
        """Both splits, memory-mapped, decoded first if the cache does not hold them yet or is damaged.

        Raises:
            DataError: a file cannot be used (``on_bad_image=error``), or a class would lose all its images.
        """
        return read_or_make(self.folder(listing), lambda building: self._decode_into(building, listing, progress))

    def fingerprint(self, listing: Listing, progress: Progress) -> str:
        """The hash of all pixels and labels, which are decoded only if there is no cache; raises as ``read``.

        A cache's own pixels are verified when a run reads them.
        """
        known = noted_fingerprint(self.folder(listing)) or self.read(listing, progress).fingerprint
        if known is None:
            raise TypeError("a decoded cache knows its content")
        return known

    def folder(self, listing: Listing) -> Path:
        """Where the cache of these files lies; the size or time of any of them leads to another one."""
        return self._cache_root() / self._cache_key(listing)

    def _cache_root(self) -> Path:
        place = cache_root(self.root)
        if place.parent == Path(self.root):
            return place
        # Elsewhere another folder's cache may be of files of the same names, sizes and times.
        root = str(Path(self.root).absolute())
        own = place / hashlib.blake2b(root.encode(errors="surrogateescape"), digest_size=8).hexdigest()
        own.mkdir(exist_ok=True)
        return own

    def _cache_key(self, listing: Listing) -> str:
        own = self.options
        options: tuple[object, ...] = (own.image_size, own.mode, self.on_bad_image)
        later = (own.image_fit, own.orientation, own.transparency)
        if later != ("squash", "stored", "drop"):  # caches from before these options stay valid
            options += later
        described = (CACHE_FORMAT, listing.digest(with_times=True), *options)
        return hashlib.blake2b(repr(described).encode(), digest_size=8).hexdigest()

    def _decode_into(self, folder: Path, listing: Listing, progress: Progress) -> Contents:
        files = {"train": listing.train, "test": listing.test}
        bad: dict[str, dict[int, str]] = {}
        shape: Shape | None = None
        for name, own in files.items():
            target, title = folder / f"{name}_images.npy", f"decoding {name} images"
            shape, bad[name] = self._decoded(target, own, shape, title, progress)
        # Of both splits at once: who repairs the one must not learn of the other after decoding all again.
        if problems := [line for name, own in files.items() for line in self._problems(name, own, bad[name])]:
            raise DataError("\n".join(problems))
        splits = [_kept(folder, name, own, bad[name]) for name, own in files.items()]
        fingerprint = content_hash(*splits, classes=len(listing.class_names))
        return Contents(listing.class_names, fingerprint, asdict(self.options))

    def _decoded(
        self, target: Path, files: Sequence[ImageFile], shape: Shape | None, title: str, progress: Progress
    ) -> tuple[Shape, dict[int, str]]:
        """Decode all files into ``target``: the shape of each, and a complaint for each position that cannot be used.

        Without a ``shape`` the commonest one counts. The first file's is tried, and is nearly always the one.
        """
        found = shape or next((first for file in files if (first := self._shape_of(file))), None)
        if found is None:
            raise DataError(
                f"{self.key}={self.root}: none of the {len(files)} files of {title.split()[1]} is a readable image"
            )
        while True:
            images = allocated(target, (len(files), *found), SIZE)
            shapes: Counter[Shape] = Counter()
            bad = dict(self._fill(images, files, shapes, title, progress))
            commonest = shapes.most_common(1)[0][0] if shapes else found
            if shape or shapes[found] == shapes[commonest]:
                return found, bad
            found = commonest

    def _shape_of(self, file: ImageFile) -> Shape | None:
        try:
            return self._pixels(Path(self.root) / file.path).shape
        except UnusableImage:
            return None

    def _pixels(self, path: Path) -> Images:
        return self.options.pixels(path)

    def _fill(
        self, images: Images, files: Sequence[ImageFile], shapes: Counter[Shape], title: str, progress: Progress
    ) -> Iterator[tuple[int, str]]:
        """Decode every file into ``images`` on several threads, counting shapes; yield (position, complaint)."""

        def decode(position: int) -> tuple[Shape | None, str | None]:
            name = printable(files[position].path)
            try:
                pixels = self._pixels(Path(self.root) / files[position].path)
            except UnusableImage as error:
                return None, f"{name} ({error})"
            if pixels.shape != images.shape[1:]:
                height, width = pixels.shape[1:]
                return pixels.shape, f"{name} (is {width}x{height}; set dataset.image_size to resize all)"
            images[position] = pixels
            return pixels.shape, None

        with ThreadPoolExecutor() as pool, progress.task(title, len(files), "images") as task:
            for position, (shape, complaint) in enumerate(pool.map(decode, range(len(files)), chunksize=64)):
                task.advance()
                if shape:
                    shapes[shape] += 1
                if complaint:
                    yield position, complaint

    def _problems(self, name: str, files: Sequence[ImageFile], bad: Mapping[int, str]) -> Iterator[str]:
        """Yield why a split cannot be used; what is only left out of it is warned of."""
        if not bad:
            return
        names = "\n".join(f"  - {complaint}" for complaint in list(bad.values())[:SHOWN_NAMES])
        more = f"\n  … and {len(bad) - SHOWN_NAMES} more" if len(bad) > SHOWN_NAMES else ""
        text = f"{len(bad)} of {len(files)} images under {self.key}={self.root} cannot be used:\n{names}{more}"
        if self.on_bad_image == "error" or len(bad) == len(files):
            yield f"{text}\nFix or remove them, or leave them out with dataset.on_bad_image=skip."
            return
        LOG.warning("%s\nThey are left out (dataset.on_bad_image=skip).", text)
        left = {file.label for position, file in enumerate(files) if position not in bad}
        lost = sorted({Path(file.path).parent.name for file in files if file.label not in left})
        if lost:
            yield (
                f"{self.key}={self.root}: no image of {', '.join(lost[:SHOWN_NAMES])} in {name} can be used "
                "(dataset.on_bad_image=skip); fix them or remove the class"
            )


def _kept(folder: Path, name: str, files: Sequence[ImageFile], bad: Mapping[int, str]) -> LabelledImages:
    """The images of one split that can be used; only they are left in its file."""
    kept = np.array([position for position in range(len(files)) if position not in bad])
    if bad:
        _keep_rows(folder / f"{name}_images.npy", kept)
    return with_labels(folder, name, [files[position].label for position in kept])


def _keep_rows(path: Path, kept: npt.NDArray[np.int64]) -> None:
    """Leave only some images in a file."""
    images, smaller = np.load(path, mmap_mode="r"), path.with_suffix(".kept.npy")
    pieces = (images[kept[start : start + 256]] for start in range(0, len(kept), 256))
    write_in_pieces(smaller, (len(kept), *images.shape[1:]), pieces, SIZE)
    smaller.replace(path)
