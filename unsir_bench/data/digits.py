"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 in 10 classes, shipped with the library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unsir_bench.config_fields import not_hashed
from unsir_bench.data.dataset import DatasetConfig, LabelledImages, RawData, stratified_split
from unsir_bench.runtime.progress import Progress

TEST_IMAGES = 397
SPLIT_SEED = 0


@dataclass
class Digits(DatasetConfig):
    """1,400 training and 397 test images by a fixed stratified split; pixel values 0 to 16 are scaled to 0 to 255."""

    name: str = not_hashed("digits")

    def class_names(self) -> tuple[str, ...]:
        return tuple("0123456789")

    def read(self, progress: Progress) -> RawData:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = digits.target.astype(np.int64)
        everything = LabelledImages(images, labels)
        train, test = stratified_split(labels, TEST_IMAGES / len(labels), SPLIT_SEED)
        return RawData(everything.take(train), everything.take(test), self.class_names())
