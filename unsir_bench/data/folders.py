"""Folders of images, one per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from unsir_bench.config_fields import not_hashed, number
from unsir_bench.data.attribute_file import attribute_columns, attribute_of_files
from unsir_bench.data.dataset import LARGEST_SEED, SUBCLASS, UNKNOWN_ROW, RawData, attribute_hash
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folder_listing import ImageFile, Listing, identities, listed, listed_tree
from unsir_bench.data.picture import as_text
from unsir_bench.data.picture_set import PictureSet
from unsir_bench.errors import DataError
from unsir_bench.runtime.files import path_problem
from unsir_bench.runtime.progress import Progress


@dataclass
class ImageFolder(PictureSet):
    """``root/train/<class>/*`` and ``root/test/<class>/*``, or one tree ``root/<class>/*`` split by a seeded ratio.

    Classes are numbered in alphabetical order of their folders. Any image format that PIL reads is accepted.
    """

    name: str = not_hashed("image_folder")
    test_share: float = number(0.2, above=0, below=1)
    split_seed: int = number(0, at_least=0, at_most=LARGEST_SEED)
    levels: ClassVar[int] = 1

    def class_names(self) -> tuple[str, ...]:
        return self._listing().class_names

    def may_have_changed(self, root: str | None, since: float) -> bool:
        moved = Path(root or "").absolute() != Path(self.root or "").absolute()
        return moved or self._listing().last_change > since

    def cached(self) -> tuple[DecodedCache, Listing]:
        return DecodedCache(self.root or "", self.options, self.on_bad_image), self._listing()

    def read(self, progress: Progress) -> RawData:
        raw, listing = super().read(progress), self._listing()
        left_out = len(raw.train) < len(listing.train) or len(raw.test) < len(listing.test)
        return _without_rows(raw) if left_out else raw

    def attribute_columns(self) -> tuple[str, ...]:
        return attribute_columns(Path(self.root or ""))

    def attribute(self, column: str) -> dict[str, Sequence[str]]:
        return attribute_of_files(Path(self.root or ""), column, self._files)

    def subclass_identity(self) -> str | None:
        return attribute_hash(self.attribute(SUBCLASS))

    @property
    def _files(self) -> dict[str, tuple[ImageFile, ...]]:
        listing = self._listing()
        return {"train": listing.train, "test": listing.test}

    def _listing(self) -> Listing:
        if not self.root:
            raise DataError(f"dataset.root is not set: give the folder that holds the images of {self.name}")
        absolute = str(Path(self.root).absolute())
        return listed(absolute, self.root, self.test_share, self.split_seed, self.levels)


def _without_rows(raw: RawData) -> RawData:
    """The same images, whose places in the listing are not known."""
    train, test = (replace(split, rows=np.full(len(split), UNKNOWN_ROW)) for split in (raw.train, raw.test))
    return replace(raw, train=train, test=test)


@dataclass
class TwoLevelFolder(ImageFolder):
    """``root/train/<class>/<sub-class>/*`` and the same in ``root/test``, or one tree split by a seeded ratio.

    The network learns the classes; a sub-class, named ``class/sub-class``, can be forgotten. Each has samples in both
    splits. Classes are numbered in alphabetical order of their folders.
    """

    name: str = not_hashed("two_level_folder")
    levels: ClassVar[int] = 2

    def subclass_names(self) -> tuple[str, ...]:
        return super()._listing().class_names

    def attribute(self, column: str) -> dict[str, Sequence[str]]:
        if column != SUBCLASS:
            return super().attribute(column)
        return {
            split: ["/".join(PurePosixPath(as_text(file.path)).parts[-3:-1]) for file in files]
            for split, files in self._files.items()
        }

    def _listing(self) -> Listing:
        inner = super()._listing()
        outer = [name.partition("/")[0] for name in inner.class_names]
        names = tuple(sorted(set(outer)))
        if len(names) < 2:
            raise DataError(
                f"dataset.root={self.root}: {len(names)} classes above the sub-classes; 2 or more are needed"
            )
        return inner.under(names, [names.index(name) for name in outer])


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
        complaint = path_problem(root, "folder") if root else "it is not set"
        reason = f" ({complaint})" if complaint else ""
        enough = identities(root, self.min_images) if root and not complaint else []
        if len(enough) < self.identities:
            raise DataError(
                f"dataset.root={self.root}: found {len(enough)} identities with at least {self.min_images} images, "
                f"need {self.identities}{reason}.\nThe licence of VGGFace does not let us download it. Ask its authors "
                "for the images and lay them out as\n  ROOT/<identity name>/<anything>.jpg\nwith one folder per "
                "identity, then pass dataset.root=ROOT. Fewer images per identity: dataset.min_images."
            )
        chosen = tuple(enough[: self.identities])
        return listed_tree(str(root), chosen, self.test_share, self.split_seed)
