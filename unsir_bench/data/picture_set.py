"""The options of every data set whose images are files or encoded rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unsir_bench.config_fields import choice, hashed_if_not_default, not_hashed
from unsir_bench.data.dataset import DatasetConfig, RawData
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folder_listing import Listing
from unsir_bench.data.picture import FITS, ORIENTATIONS, TRANSPARENCIES, PictureOptions
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

CONTENTS: dict[Path, str | DataError] = {}  # by the folder of the cache; an error where an image cannot be used


@dataclass
class PictureSet(DatasetConfig):
    """A data set that decodes pictures; ``PictureOptions`` explains how, ``on_bad_image`` what an unusable one does.

    ``content`` is a hash of all its pixels and labels, which ``note_content`` fills in: it is the set's identity. Where
    it is None, as in records from before there was one, names and sizes of the files are.
    """

    mode: str = choice("RGB", ("RGB", "L"))
    on_bad_image: str = choice("error", ("error", "skip"))
    image_fit: str = hashed_if_not_default(choice("squash", FITS))
    orientation: str = hashed_if_not_default(choice("stored", ORIENTATIONS))
    transparency: str = hashed_if_not_default(choice("drop", TRANSPARENCIES))
    content: str | None = not_hashed(None)  # enters hashes as the content identity

    @abstractmethod
    def cached(self) -> tuple[DecodedCache, Listing]:
        """The cache of the decoded images, and what it is made from.

        Raises:
            DataError: the images cannot be found or their layout is wrong.
        """

    def content_identity(self) -> str:
        if self.content:
            return self.content
        try:
            return self.cached()[1].digest(with_times=False)
        except DataError:
            return "missing"

    def note_content(self, progress: Progress) -> None:
        found = self._content(progress)
        if self.content and found:
            self._require(found)
        self.content = found or self.content

    def _content(self, progress: Progress) -> str | None:
        """The hash beside the decoded images, which are decoded first if need be; None if they cannot be found."""
        try:
            cache, listing = self.cached()
        except DataError:  # `class_names` raises it, too, and `validate` tells it beside what else is wrong
            return None
        folder = cache.folder(listing)
        if folder not in CONTENTS:
            CONTENTS[folder] = _fingerprint_or_error(cache, listing, progress)
        known = CONTENTS[folder]
        if isinstance(known, DataError):  # told anew, so that no run of a sweep decodes all images again
            raise DataError(*known.args)
        return known

    def read(self, progress: Progress) -> RawData:
        cache, listing = self.cached()
        raw = cache.read(listing, progress)
        if self.content and raw.fingerprint:
            self._require(raw.fingerprint)
        return raw

    def _require(self, found: str) -> None:
        if found != self.content:
            raise DataError(
                f"dataset.content={self.content}: the images of {self.name} are others ({found}). Give the folder of "
                f"those by {self.cached()[0].key}=FOLDER, or leave dataset.content out and start again"
            )

    @property
    def options(self) -> PictureOptions:
        """How an image becomes pixels."""
        return PictureOptions(self.image_size, self.mode, self.image_fit, self.orientation, self.transparency)

    def check(self, key: str) -> Iterator[str]:
        yield from super().check(key)
        channels = 1 if self.mode == "L" and self.color == "native" else 3
        if len(self.mean) == len(self.std) and len(self.mean) not in (1, channels):
            yield (
                f"{key}.mean={self.mean}, {key}.std={self.std}: with {key}.mode={self.mode} and "
                f"{key}.color={self.color} images have {channels} channel(s); give that many numbers each, or 1"
            )


def _fingerprint_or_error(cache: DecodedCache, listing: Listing, progress: Progress) -> str | DataError:
    try:
        return cache.fingerprint(listing, progress)
    except DataError as error:
        return DataError(*error.args)  # not the one whose traceback keeps the images in memory
