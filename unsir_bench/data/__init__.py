"""Data sets, the forget split, and batches on the device."""

from unsir_bench.data.dataset import DatasetConfig
from unsir_bench.data.digits import Digits
from unsir_bench.data.folders import ImageFolder, VggFace100
from unsir_bench.data.made_classes import MadeClasses
from unsir_bench.data.torchvision_sets import Cifar10, Cifar100, FashionMnist

DATASETS: list[type[DatasetConfig]] = [Digits, FashionMnist, Cifar10, Cifar100, ImageFolder, VggFace100, MadeClasses]
