"""Resizes decoded images; a large set once, into a cache on disk, and not in every run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from unsir_bench.data.dataset import Images, LabelledImages, RawData, content_hash
from unsir_bench.data.image_cache import Contents, cache_root, read_or_make, with_labels, write_in_pieces
from unsir_bench.runtime.progress import Progress
from unsir_bench.versions import CACHE_FORMAT

DECIDED_BY = "dataset.image_size or dataset.subset"  # how large a cache is
CACHED_FROM = 2**26  # bytes of resized images; fewer are resized again in each run
AT_ONCE = 2**26  # bytes of floats that are resized together


def resized(data: RawData, size: int, root: str | None, progress: Progress) -> RawData:
    """The same images with ``size`` pixels in height and width, memory-mapped if they are many; labels as they are.

    Args:
        data: whose images may have this size already, and are then returned themselves.
        size: in pixels.
        root: of the data set, beside which a cache is written.
        progress: shows how far it is.

    Raises:
        DataError: the disk is full.
    """
    splits = (data.train, data.test)
    if all(split.images.shape[-2:] == (size, size) for split in splits):
        return data
    if sum(math.prod(_shape(split, size)) for split in splits) < CACHED_FROM:
        train, test = (LabelledImages(np.concatenate(list(_pieces(s, size))), s.labels) for s in splits)
        return RawData(train, test, data.class_names)
    source = data.fingerprint or content_hash(*splits, classes=len(data.class_names))
    key = hashlib.blake2b(repr((CACHE_FORMAT, "resized", source, size)).encode(), digest_size=8).hexdigest()

    def make(folder: Path) -> Contents:
        written = []
        for name, split in zip(("train", "test"), splits, strict=True):
            with progress.task(f"resizing {name} images", len(split), "images") as task:
                pieces = _counted(_pieces(split, size), task)
                write_in_pieces(folder / f"{name}_images.npy", _shape(split, size), pieces, DECIDED_BY)
            written.append(with_labels(folder, name, split.labels))
        fingerprint = content_hash(*written, classes=len(data.class_names))
        return Contents(data.class_names, fingerprint, {"image_size": size, "source": source})

    return read_or_make(cache_root(root) / key, make)


def _shape(split: LabelledImages, size: int) -> tuple[int, ...]:
    return (*split.images.shape[:2], size, size)


def _counted(pieces: Iterator[Images], task: Any) -> Iterator[Images]:
    for piece in pieces:
        yield piece
        task.advance(len(piece))


def _pieces(split: LabelledImages, size: int) -> Iterator[Images]:
    count = max(1, AT_ONCE // (4 * split.images.shape[1] * max(size, *split.images.shape[-2:]) ** 2))
    for start in range(0, len(split), count):
        pixels = torch.from_numpy(np.ascontiguousarray(split.images[start : start + count])).float()
        scaled = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)
        yield scaled.round().clamp(0, 255).byte().numpy()
