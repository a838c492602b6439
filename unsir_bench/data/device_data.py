"""A loaded data set of one run: both splits' images on the device or on disk, and views of them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unsir_bench.data.batches import DataView, ImageStore, Normalisation, ResidentImages, StreamedImages, Usage
from unsir_bench.data.dataset import DatasetConfig, ImageData
from unsir_bench.errors import ConfigError
from unsir_bench.runtime.hardware import HardwareConfig

SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "test")


class DeviceData:
    """Images and labels of both splits, with the normalisation of the data set."""

    def __init__(
        self,
        data: ImageData,
        dataset: DatasetConfig,
        hardware: HardwareConfig,
        device: torch.device,
        channels_last: bool,
    ):
        self.image_shape = data.image_shape
        channels = data.image_shape[0]
        if len(dataset.mean) not in (1, channels):
            raise ConfigError(
                [f"dataset.mean={dataset.mean}: the images have {channels} channel(s); give that many or 1"]
            )
        self.class_names = data.class_names
        self.fingerprint = data.fingerprint
        self.normalisation = Normalisation(tuple(dataset.mean), tuple(dataset.std), channels_last)
        splits = {"train": data.train, "test": data.test}
        size = sum(split.images.nbytes for split in splits.values())
        place: type[ResidentImages] | type[StreamedImages] = (
            ResidentImages if hardware.keep_on_device(size, device) else StreamedImages
        )
        self._stores: dict[str, ImageStore] = {name: place(split.images, device) for name, split in splits.items()}
        self._labels = {name: torch.from_numpy(split.labels.copy()) for name, split in splits.items()}

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def labels(self, split: SplitName) -> Tensor:
        """int64 labels of a split, on the CPU."""
        return self._labels[split]

    def view(self, split: SplitName, indices: Tensor | None = None, usage: Usage | None = None) -> DataView:
        """Some samples of a split, or all."""
        labels = self._labels[split]
        chosen = torch.arange(len(labels)) if indices is None else indices
        return DataView(self._stores[split], labels, chosen, self.normalisation, usage)
