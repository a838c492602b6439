"""CIFAR-100 under its 20 coarse classes, five fine ones each: from torchvision's files, or from folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from unsir_bench.config_fields import not_hashed
from unsir_bench.data.dataset import SUBCLASS, LabelledImages
from unsir_bench.data.folder_listing import Listing
from unsir_bench.data.folders import ImageFolder
from unsir_bench.data.torchvision_sets import CIFAR100_CLASSES, Cifar100
from unsir_bench.errors import DataError

# Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; coarse classes in the order of the files.
FINE_OF_COARSE = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
CIFAR20_CLASSES = tuple(FINE_OF_COARSE)
COARSE_OF_FINE = {
    fine: coarse for coarse, (_, names) in enumerate(FINE_OF_COARSE.items()) for fine in names.split()
}  # fmt: skip


@dataclass
class Cifar20(Cifar100):
    """CIFAR-100 (Krizhevsky 2009) with its 20 coarse classes as classes and its 100 fine ones as sub-classes."""

    name: str = not_hashed("cifar20")
    coarse: ClassVar[tuple[int, ...]] = tuple(COARSE_OF_FINE[fine] for fine in CIFAR100_CLASSES)

    def class_names(self) -> tuple[str, ...]:
        return CIFAR20_CLASSES

    def subclass_names(self) -> tuple[str, ...]:
        return CIFAR100_CLASSES

    def attribute(self, column: str) -> dict[str, Sequence[str]]:
        if column != SUBCLASS:
            return super().attribute(column)
        fine = {"train": super()._split(True), "test": super()._split(False)}
        return {split: [CIFAR100_CLASSES[label] for label in of_split.labels] for split, of_split in fine.items()}

    def _split(self, train: bool) -> LabelledImages:
        split = super()._split(train)
        return replace(split, labels=np.array(self.coarse, dtype=np.int64)[split.labels])


@dataclass
class Cifar20Folder(ImageFolder):
    """CIFAR-100 as folders of images, one per fine class, under the 20 coarse classes."""

    name: str = not_hashed("cifar20_png")

    def subclass_names(self) -> tuple[str, ...]:
        return super()._listing().class_names

    def attribute(self, column: str) -> dict[str, Sequence[str]]:
        if column != SUBCLASS:
            return super().attribute(column)
        return {split: [PurePosixPath(file.path).parts[-2] for file in files] for split, files in self._files.items()}

    def _listing(self) -> Listing:
        fine = super()._listing()
        strangers = [name for name in fine.class_names if name not in COARSE_OF_FINE]
        if strangers:
            raise DataError(
                f"dataset.root={self.root}: {', '.join(strangers[:5])}: no fine class of CIFAR-100; "
                "for other classes in classes use dataset=two_level_folder"
            )
        return fine.under(CIFAR20_CLASSES, [COARSE_OF_FINE[name] for name in fine.class_names])
