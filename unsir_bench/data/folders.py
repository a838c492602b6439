"""Folders of images, one per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unsir_bench.config_fields import not_hashed, number
from unsir_bench.data.decoded_cache import DecodedCache
from unsir_bench.data.folder_listing import Listing, identities, listed, listed_tree
from unsir_bench.data.picture_set import PictureSet
from unsir_bench.errors import DataError


@dataclass
class ImageFolder(PictureSet):
    """``root/train/<class>/*`` and ``root/test/<class>/*``, or one tree ``root/<class>/*`` split by a seeded ratio.

    Classes are numbered in alphabetical order of their folders. Any image format that PIL reads is accepted.
    """

    name: str = not_hashed("image_folder")
    test_share: float = number(0.2, above=0, below=1)
    split_seed: int = 0

    def class_names(self) -> tuple[str, ...]:
        return self._listing().class_names

    def may_have_changed(self, root: str | None, since: float) -> bool:
        moved = Path(root or "").absolute() != Path(self.root or "").absolute()
        return moved or self._listing().last_change > since

    def cached(self) -> tuple[DecodedCache, Listing]:
        return DecodedCache(self.root or "", self.options, self.on_bad_image), self._listing()

    def _listing(self) -> Listing:
        if not self.root:
            raise DataError(f"dataset.root is not set: give the folder that holds the images of {self.name}")
        return listed(str(Path(self.root).absolute()), self.root, self.test_share, self.split_seed)


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
        enough = identities(root, self.min_images) if root and root.is_dir() else []
        if len(enough) < self.identities:
            raise DataError(
                f"dataset.root={self.root}: found {len(enough)} identities with at least {self.min_images} images, "
                f"need {self.identities}.\nThe licence of VGGFace does not let us download it. Ask its authors for the "
                "images and lay them out as\n  ROOT/<identity name>/<anything>.jpg\nwith one folder per identity, then "
                f"pass dataset.root=ROOT. Fewer images per identity: dataset.min_images."
            )
        chosen = tuple(enough[: self.identities])
        return listed_tree(str(root), chosen, self.test_share, self.split_seed)
