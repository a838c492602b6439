"""Decodes one image file to uint8 pixels, as the options of a folder data set say."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from unsir_bench.data.dataset import Images
from unsir_bench.errors import DataError

FITS = ("squash", "crop")
ORIENTATIONS = ("stored", "exif")
TRANSPARENCIES = ("drop", "black", "white")
PROGRAMS = ("EPS",)  # formats whose files are programs, which Pillow hands to Ghostscript


class UnusableImage(Exception):  # noqa: N818 - a file's fault, not the program's
    """A file cannot be used as an image; the message says why."""


@dataclass(frozen=True)
class PictureOptions:
    """How an image file becomes pixels.

    Attributes:
        image_size: height and width in pixels; None: as the file has them.
        mode: ``RGB`` or ``L`` (grey).
        image_fit: ``squash`` scales height and width apart to ``image_size``; ``crop`` scales by the shorter side and
            cuts the centre out.
        orientation: ``stored`` takes the pixels as they lie in the file; ``exif`` turns them as its EXIF tag says.
        transparency: ``drop`` keeps the colours of transparent pixels; ``black`` and ``white`` lay them over that.
    """

    image_size: int | None
    mode: str
    image_fit: str = "squash"
    orientation: str = "stored"
    transparency: str = "drop"

    def pixels(self, path: Path) -> Images:
        """The image, uint8 of shape (channels, height, width).

        Raises:
            UnusableImage: the file is missing, damaged or of no known format. Pillow's decoders raise errors of many
                kinds, so every kind counts.
            DataError: the memory does not suffice; whether the file or the machine is at fault cannot be told.
        """
        return self._guarded(path, str(path))

    def pixels_of_content(self, content: bytes, name: str) -> Images:
        """The image in the content of a file, as ``pixels``; ``name`` is for messages."""
        return self._guarded(BytesIO(content), name)

    def _guarded(self, source: Path | BytesIO, name: str) -> Images:
        try:
            return self._decoded(source)
        except MemoryError:
            raise DataError(
                f"{printable(name)}: memory does not suffice to decode it; remove it if it is damaged"
            ) from None
        except Exception as error:
            raise UnusableImage(_reason(error)) from error

    def _decoded(self, source: Path | BytesIO) -> Images:
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            raise ValueError("it is a pipe, a socket or a device, not a file")  # opening one may wait for ever
        with Image.open(source, formats=image_formats()) as opened:
            if opened.mode == "F" or opened.mode.startswith("I"):
                # Pillow would silently clip them to 255: nearly white images.
                raise ValueError(
                    f"its pixels are of mode {opened.mode}, not 8 bits; convert the file to 8 bits a channel"
                )
            image = ImageOps.exif_transpose(opened) if self.orientation == "exif" else opened
            pixels = np.asarray(self._sized(self._opaque(image)))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _opaque(self, image: Image.Image) -> Image.Image:
        if self.transparency != "drop" and image.has_transparency_data:
            visible = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", visible.size, self.transparency), visible)
        image.load()
        image.info.pop("transparency", None)  # Pillow warns of it
        return image.convert(self.mode)

    def _sized(self, image: Image.Image) -> Image.Image:
        size = self.image_size
        if size is None or image.size == (size, size):
            return image
        if self.image_fit == "crop":
            return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
        return image.resize((size, size), Image.Resampling.BILINEAR)


def image_formats() -> tuple[str, ...]:
    """The formats of Pillow that are read, whatever a file is called: all whose files are data."""
    Image.init()
    return tuple(name for name in Image.ID if name not in PROGRAMS)


def image_suffixes() -> frozenset[str]:
    """The suffixes of files of ``image_formats``, in small letters and with their dot."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name not in PROGRAMS)


def _reason(error: Exception) -> str:
    """What is wrong, without the path: whoever tells of it has its own."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def printable(path: str) -> str:
    """A path in letters that can be written as UTF-8; bytes of a name that are not appear as ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def as_text(path: str) -> str:
    """A path in the letters of UTF-8, whatever encoding the system reads names in; other bytes stay lone surrogates."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")
