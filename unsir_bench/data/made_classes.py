"""Synthetic images: any number of classes, each a smooth random pattern with variations. No download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unsir_bench.config_fields import not_hashed, number
from unsir_bench.data.dataset import DatasetConfig, Images, LabelledImages, RawData
from unsir_bench.runtime.progress import Progress

# As shares of the image's size, of brightness and of the range of a pixel.
SMOOTHNESS, SHIFT, BRIGHTNESS, NOISE = 0.12, 0.1, 0.25, 0.08


@dataclass
class MadeClasses(DatasetConfig):
    """Synthetic images that stand in for a data set of many classes, in tests and smoke tests.

    Each class has a prototype: Gaussian noise, smoothed and stretched to the whole range of a pixel. A sample is its
    class's prototype, shifted cyclically by up to a tenth of its size, made lighter or darker by up to a quarter, with
    noise added. Everything derives from ``seed``, and the prototypes are the same at any number of samples. Images are
    of ``image_size`` pixels, 32 where that is None. Results on them say nothing about real images.
    """

    name: str = not_hashed("made_classes")
    classes: int = number(100, at_least=2)
    train_per_class: int = number(100, at_least=1)
    test_per_class: int = number(20, at_least=1)
    image_size: int | None = number(32, at_least=4)
    channels: int = number(3, at_least=1)
    seed: int = number(0, at_least=0)

    def class_names(self) -> tuple[str, ...]:
        digits = len(str(self.classes - 1))
        return tuple(f"pattern_{index:0{digits}}" for index in range(self.classes))

    def read(self, progress: Progress) -> RawData:
        prototypes = self._prototypes()
        splits = [
            self._samples(prototypes, count, stream)
            for stream, count in enumerate((self.train_per_class, self.test_per_class), start=1)
        ]
        return RawData(splits[0], splits[1], self.class_names())

    @property
    def _size(self) -> int:
        return 32 if self.image_size is None else self.image_size

    def _prototypes(self) -> npt.NDArray[np.float64]:
        """Patterns of shape (classes, channels, size, size), each from 0 to 1."""
        from scipy.ndimage import gaussian_filter

        draws = np.random.default_rng((self.seed, 0))
        rough = draws.standard_normal((self.classes, self.channels, self._size, self._size))
        smooth = gaussian_filter(rough, (0, 0, SMOOTHNESS * self._size, SMOOTHNESS * self._size), mode="wrap")
        low, high = (bound(smooth, axis=(1, 2, 3), keepdims=True) for bound in (np.min, np.max))
        return (smooth - low) / (high - low)  # type: ignore[no-any-return]

    def _samples(self, prototypes: npt.NDArray[np.float64], per_class: int, stream: int) -> LabelledImages:
        draws = np.random.default_rng((self.seed, stream))
        labels = np.repeat(np.arange(self.classes, dtype=np.int64), per_class)
        images: Images = np.empty((len(labels), *prototypes.shape[1:]), dtype=np.uint8)
        reach = max(1, round(SHIFT * self._size))
        for place, label in enumerate(labels):
            shift = draws.integers(-reach, reach + 1, size=2)
            brightness = 1 + draws.uniform(-BRIGHTNESS, BRIGHTNESS)
            moved = np.roll(prototypes[label], shift, axis=(1, 2)) * brightness
            noisy = moved + draws.normal(scale=NOISE, size=moved.shape)
            images[place] = np.round(noisy * 255).clip(0, 255)
        return LabelledImages(images, labels)
