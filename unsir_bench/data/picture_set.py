"""The options of every data set whose images are files or encoded rows."""

from __future__ import annotations

from dataclasses import dataclass

from unsir_bench.config_fields import choice, hashed_if_not_default
from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.picture import FITS, ORIENTATIONS, TRANSPARENCIES, PictureOptions


@dataclass
class PictureSet(DatasetConfig):
    """A data set that decodes pictures; ``PictureOptions`` explains how, ``on_bad_image`` what an unusable one does."""

    mode: str = choice("RGB", ("RGB", "L"))
    on_bad_image: str = choice("error", ("error", "skip"))
    image_fit: str = hashed_if_not_default(choice("squash", FITS))
    orientation: str = hashed_if_not_default(choice("stored", ORIENTATIONS))
    transparency: str = hashed_if_not_default(choice("drop", TRANSPARENCIES))

    @property
    def options(self) -> PictureOptions:
        """How an image becomes pixels."""
        return PictureOptions(self.image_size, self.mode, self.image_fit, self.orientation, self.transparency)
