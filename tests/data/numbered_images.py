"""Images that can be told apart, views of them, and the numbers in the batches that come out."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unsir_bench.data.batches import Batch, DataView, Normalisation, ResidentImages

CPU = torch.device("cpu")
PLAIN = Normalisation((0.0,), (1.0 / 255,))  # (value / 255 - 0) / (1 / 255): the byte itself


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, channels: int = 3, size: int = 6) -> Tensor:
    return torch.randint(1, 256, (count, channels, size, size), generator=seeded(0), dtype=torch.uint8)


def numbered(count: int) -> np.ndarray:
    """1x1 images whose only pixel is their number."""
    return np.arange(count, dtype=np.uint8)[:, None, None, None]


def view_of(count: int, indices: Tensor | None = None, store: type = ResidentImages) -> DataView:
    labels = torch.arange(count) % 3
    return DataView(store(numbered(count), CPU), labels, torch.arange(count) if indices is None else indices, PLAIN)


def numbers(batches: Iterator[Batch]) -> list[int]:
    return [round(value) for images, _ in batches for value in images.flatten().tolist()]
