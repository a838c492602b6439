"""Fashion-MNIST, CIFAR-10 and CIFAR-100, found under a root or downloaded by torchvision."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from unsir_bench.config_fields import not_hashed
from unsir_bench.data.dataset import DatasetConfig, LabelledImages, RawData
from unsir_bench.errors import DataError
from unsir_bench.runtime.progress import Progress

DOWNLOAD_LOCK = ".torchvision_download.lock"  # one for all sets: cifar20 downloads the files of cifar100


@dataclass
class TorchvisionSet(DatasetConfig):
    """A set that torchvision can find or download; ``root`` is the folder that holds its files."""

    root: str | None = not_hashed("data")
    download: bool = not_hashed(True)

    files: ClassVar[str]

    @abstractmethod
    def _split(self, train: bool) -> LabelledImages: ...

    def _alone(self) -> AbstractContextManager[object]:
        """A lock for the download: torchvision writes under the files' final names."""
        root = Path(self.root or ".")
        if not self.download:
            return nullcontext()
        root.mkdir(parents=True, exist_ok=True)
        return FileLock(root / DOWNLOAD_LOCK) if os.access(root, os.W_OK) else nullcontext()

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        yield from super().check(key)
        if self.root is None:
            yield f"{key}.root=null: give the folder that holds {self.files}, or is to hold it"

    def read(self, progress: Progress) -> RawData:
        try:
            with self._alone():
                train, test = self._split(True), self._split(False)
        except (RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
            advice = (
                "no download was asked for (dataset.download=false)" if not self.download else "the download failed"
            )
            raise DataError(
                f"dataset.root={self.root}: {self.name} is not there, or damaged, and {advice}: {error}\n"
                f"Put {self.files} under that folder, or point dataset.root at the folder that holds it."
            ) from error
        return RawData(train, test, self.class_names())


@dataclass
class Cifar10(TorchvisionSet):
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 in 10 classes."""

    name: str = not_hashed("cifar10")
    files: ClassVar[str] = "cifar-10-batches-py (the unpacked cifar-10-python.tar.gz)"
    kind: ClassVar[str] = "CIFAR10"

    def class_names(self) -> tuple[str, ...]:
        return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def _split(self, train: bool) -> LabelledImages:
        from torchvision import datasets

        split = getattr(datasets, self.kind)(self.root, train=train, download=self.download)
        return LabelledImages(np.ascontiguousarray(split.data.transpose(0, 3, 1, 2)), np.asarray(split.targets))


@dataclass
class Cifar100(Cifar10):
    """CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32 in 100 classes, in alphabetical order."""

    name: str = not_hashed("cifar100")
    files: ClassVar[str] = "cifar-100-python (the unpacked cifar-100-python.tar.gz)"
    kind: ClassVar[str] = "CIFAR100"

    def class_names(self) -> tuple[str, ...]:
        return CIFAR100_CLASSES


@dataclass
class FashionMnist(TorchvisionSet):
    """Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of 28x28 in 10 classes.

    Besides torchvision's own layout, ``root`` may be a folder of the four published ``*-ubyte.gz`` files, as Linux
    distributions install them.
    """

    name: str = not_hashed("fashion_mnist")
    files: ClassVar[str] = "the four files such as train-images-idx3-ubyte.gz"

    def class_names(self) -> tuple[str, ...]:
        from torchvision import datasets

        return tuple(datasets.FashionMNIST.classes)

    def _split(self, train: bool) -> LabelledImages:
        root, prefix = Path(self.root or ""), "train" if train else "t10k"
        published, unpacked = (
            [folder / f"{prefix}-{part}-ubyte{suffix}" for part in ("images-idx3", "labels-idx1")]
            for folder, suffix in ((root, ".gz"), (root / "FashionMNIST" / "raw", ""))
        )
        if published[0].exists() or all(path.exists() for path in unpacked):
            images, labels = (self._values(path) for path in (published if published[0].exists() else unpacked))
            return LabelledImages(images[:, None], labels.astype(np.int64))
        from torchvision import datasets

        split = datasets.FashionMNIST(str(self.root), train=train, download=self.download)
        return LabelledImages(split.data.numpy()[:, None], split.targets.numpy())

    def _values(self, path: Path) -> npt.NDArray[np.uint8]:
        """The array of a file in the idx format: a head of four-byte integers, then bytes."""
        try:
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"dataset.root={self.root}: {path} cannot be read ({error}); {REPLACE}") from error
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != PUBLISHED[path.name.removesuffix(".gz")]:
            raise DataError(f"dataset.root={self.root}: {path} is not that of Fashion-MNIST, or damaged; {REPLACE}")
        dimensions = content[3]
        header = np.frombuffer(content, ">i4", count=dimensions + 1)
        return np.frombuffer(content, np.uint8, offset=header.nbytes).reshape(header[1:]).copy()


REPLACE = "put the published file in its place"
# MD5 of the unpacked files, since distributions pack them anew.
PUBLISHED = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CIFAR100_CLASSES = tuple(
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm".split()
)
