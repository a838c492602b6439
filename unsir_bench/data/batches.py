"""Batches of normalised images on the device, from a uint8 tensor there or streamed from disk; reads are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from unsir_bench.data.augmentation import Augment
from unsir_bench.data.dataset import Images

Batch = tuple[Tensor, Tensor]
COPIED_AT_ONCE = 1024  # images; what a copy to the device needs beside it


def batch_sizes(samples: int, batch_size: int) -> list[int]:
    """How many samples each batch of a pass holds.

    A remainder of one sample joins the batch before it: batch normalisation cannot train on a single value.
    """
    full, rest = divmod(samples, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    if len(sizes) > 1 and rest == 1:
        sizes[-2:] = [batch_size + 1]
    return sizes


class ImageStore(Protocol):
    """Where a split's images live."""

    device: torch.device

    def fetch(self, indices: Tensor) -> Tensor:
        """uint8 images (len(indices), channels, height, width) on the device."""
        ...

    def prefetched(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """``fetch`` of each piece, one after another, reading ahead where that helps."""
        ...


class ResidentImages:
    """The whole split as one uint8 tensor on the device."""

    def __init__(self, images: Images, device: torch.device):
        self.device = device
        self._images = torch.empty(images.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(images), COPIED_AT_ONCE):
            piece = slice(start, start + COPIED_AT_ONCE)
            self._images[piece] = torch.from_numpy(np.array(images[piece]))  # copied: the cache is read-only

    def fetch(self, indices: Tensor) -> Tensor:
        return self._images[indices.to(self.device)]

    def prefetched(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        return map(self.fetch, pieces)


class StreamedImages:
    """A split left on disk (memory-mapped); a background thread reads the next batch while this one is used."""

    def __init__(self, images: Images, device: torch.device):
        self.device = device
        self._images = images

    def fetch(self, indices: Tensor) -> Tensor:
        return self._read(indices).to(self.device, non_blocking=True)

    def _read(self, indices: Tensor) -> Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(self._images[indices.numpy()]))
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def prefetched(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = reader.submit(self._read, pieces[0]) if pieces else None
            for following in [*pieces[1:], None]:
                assert ahead is not None  # noqa: S101 - true whenever there is a piece
                batch = ahead.result()
                ahead = reader.submit(self._read, following) if following is not None else None
                yield batch.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Normalisation:
    """Maps bytes to ``(value / 255 - mean) / std``, one mean and std per channel or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels_last: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """float32 images from uint8 ones of shape (batch, channels, height, width)."""
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.mean, self.std))
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.to(torch.float32).sub_(mean * 255).div_(std * 255).contiguous(memory_format=layout)


class Usage:
    """Counts which samples of a training split were read, and how often."""

    def __init__(self, split_size: int):
        self._touched = torch.zeros(split_size, dtype=torch.bool)
        self._reads = 0

    def note(self, indices: Tensor, times: int = 1) -> None:
        """Count ``indices`` as read ``times`` times."""
        self._touched[indices] = True
        self._reads += len(indices) * times

    def counts(self) -> dict[str, int]:
        """Distinct samples touched, and reads in all."""
        return {"samples": int(self._touched.sum()), "reads": self._reads}


class DividedUsage:
    """Counts the reads of a view that mixes kinds of samples, each sample with its own kind."""

    def __init__(self, split_size: int, kinds: Sequence[tuple[Tensor, Usage | DividedUsage]]):
        """Divide by ``kinds``: the indices of each kind within the split, and where they are counted."""
        self._kinds = [(torch.zeros(split_size, dtype=torch.bool), usage) for _, usage in kinds]
        for (mask, _), (members, _) in zip(self._kinds, kinds, strict=True):
            mask[members] = True

    def note(self, indices: Tensor, times: int = 1) -> None:
        """Count ``indices`` as read ``times`` times."""
        # A mask of the split: methods read within the clock, and a search among all members takes time with each batch.
        for mask, usage in self._kinds:
            usage.note(indices[mask[indices]], times)


class DataView:
    """Some samples of one split, as normalised batches; each read is counted."""

    def __init__(
        self,
        store: ImageStore,
        labels: Tensor,
        indices: Tensor,
        normalise: Normalisation,
        usage: Usage | DividedUsage | None = None,
    ):
        """View ``indices`` of a split.

        Args:
            store: the split's images.
            labels: int64 labels of the whole split, on the CPU.
            indices: int64 positions within the split, on the CPU.
            normalise: applied to every batch.
            usage: counts the reads.
        """
        self._store, self._labels, self.normalise = store, labels, normalise
        self.indices = indices
        self.usage = usage or Usage(len(labels))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> Tensor:
        """int64 labels of the view's samples, on the CPU."""
        return self._labels[self.indices]

    @property
    def device(self) -> torch.device:
        """Where batches arrive."""
        return self._store.device

    def narrowed(self, positions: Tensor) -> DataView:
        """The view of this view's samples at ``positions``; reads are counted in the same place."""
        return DataView(self._store, self._labels, self.indices[positions], self.normalise, self.usage)

    def relabelled(self, targets: Tensor) -> DataView:
        """The same samples with other targets.

        Args:
            targets: on the CPU, one row per sample of the view, in its order: class indices, or anything else that an
                objective reads in their place (probabilities, for example).

        Raises:
            ValueError: the numbers of targets and samples differ.
        """
        if len(targets) != len(self):
            raise ValueError(f"{len(targets)} targets for {len(self)} samples")
        whole = targets.new_zeros((len(self._labels), *targets.shape[1:]))
        whole[self.indices] = targets
        return DataView(self._store, whole, self.indices, self.normalise, self.usage)

    def uncounted(self) -> DataView:
        """The same samples without counting reads (for work counted in another way)."""
        return DataView(self._store, self._labels, self.indices, self.normalise)

    def fetch(
        self, positions: Tensor, *, augment: Augment | None = None, order: torch.Generator | None = None
    ) -> Batch:
        """The samples at ``positions`` within the view: images (float32) and labels on the device."""
        chosen = self.indices[positions]
        return self._finished(self._store.fetch(chosen), chosen, augment, order)

    def batches(
        self,
        batch_size: int,
        *,
        order: torch.Generator | None = None,
        augment: Augment | None = None,
    ) -> Iterator[Batch]:
        """Every sample once: in the view's order, or shuffled (and augmented) by the generator ``order``."""
        if len(self) == 0:
            return  # torch would split nothing into one empty piece
        positions = torch.arange(len(self)) if order is None else torch.randperm(len(self), generator=order)
        pieces = [self.indices[piece] for piece in positions.split(batch_sizes(len(self), batch_size))]
        for piece, images in zip(pieces, self._store.prefetched(pieces), strict=True):
            yield self._finished(images, piece, augment, order)

    def _finished(
        self, images: Tensor, chosen: Tensor, augment: Augment | None, order: torch.Generator | None
    ) -> Batch:
        self.usage.note(chosen)
        if augment is not None:
            if order is None:
                raise ValueError("augmentation draws at random: give the generator `order`")
            images = augment(images, order, chosen)
        return self.normalise(images), self._labels[chosen].to(self.device)


def joined(*views: DataView) -> DataView:
    """One view of several disjoint ones of a split, in the split's order; reads count in the view they come from.

    Raises:
        ValueError: the views overlap, are of different splits, or have targets of different kinds.
    """
    first = views[0]
    if any(view._store is not first._store for view in views):
        raise ValueError("views of different splits cannot be joined")
    if any(view.labels.dtype != first.labels.dtype or view.labels.ndim != first.labels.ndim for view in views):
        raise ValueError("views with targets of different kinds cannot be joined")
    if len(torch.cat([view.indices for view in views]).unique()) != sum(map(len, views)):
        raise ValueError("views that overlap cannot be joined")
    targets = first._labels.clone()
    for view in views:
        targets[view.indices] = view.labels
    usage = DividedUsage(len(targets), [(view.indices, view.usage) for view in views])
    indices = torch.cat([view.indices for view in views]).sort().values
    return DataView(first._store, targets, indices, first.normalise, usage)


def first_or_random_per_class(labels: Tensor, per_class: int, selection: str, draws: torch.Generator) -> Tensor:
    """Ascending positions of up to ``per_class`` samples of each class.

    Args:
        labels: int64 of shape (samples,).
        per_class: a class that has fewer gives all it has.
        selection: ``first`` in the data's order, or ``random``.
        draws: used by ``random``.
    """
    chosen = []
    for label in labels.unique().tolist():
        positions = torch.where(labels == label)[0]
        if selection == "random":
            positions = positions[torch.randperm(len(positions), generator=draws)]
        chosen.append(positions[:per_class])
    return torch.cat(chosen).sort().values
