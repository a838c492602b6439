"""Random changes to training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from unsir_bench.config_fields import hashed_if_not_default, number

# Called with (images, random generator, position of each image in its split).
Augment = Callable[[Tensor, torch.Generator, Tensor], Tensor]
GOLDEN = 40503  # 2^16 over the golden ratio: a multiplier that scatters consecutive numbers (Knuth, TAOCP 3, 6.4)


@dataclass
class Augmentation:
    """Random changes to training images, drawn for each image on the CPU, so that they are the same on every device.

    With ``alternate``, each image is mirrored in every second epoch instead of at random, half of them in the first
    epoch, so that two epochs show both sides of every image (K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single
    GPU", arXiv 2404.00498).

    ``resized_crop_scale`` is the smallest share of the image's area that a random crop takes before it is resized to
    the whole (RandomResizedCrop, Szegedy et al. 2015; 0.08 for ImageNet). ``rand_augment_ops`` is the number of
    operations of RandAugment (Cubuk et al. 2020) on each image, ``rand_augment_magnitude`` their strength, from 0 to
    30. Both are torchvision's.
    """

    flip: bool = False
    crop_padding: int = number(0, at_least=0)
    alternate: bool = hashed_if_not_default(False)
    resized_crop_scale: float | None = hashed_if_not_default(number(None, above=0, at_most=1))
    rand_augment_ops: int = hashed_if_not_default(number(0, at_least=0))
    rand_augment_magnitude: int = hashed_if_not_default(number(9, at_least=0, at_most=30))

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.alternate and not self.flip:
            yield f"{key}.alternate=true: needs {key}.flip=true"
        if self.resized_crop_scale is not None and self.crop_padding:
            yield (
                f"{key}.resized_crop_scale={self.resized_crop_scale}: not beside "
                f"{key}.crop_padding={self.crop_padding}; set {key}.crop_padding=0, or the other to null"
            )

    def in_epoch(self, epoch: int) -> Augment:
        """The augmentation of one epoch's batches."""
        return partial(self, epoch=epoch)

    def __call__(
        self, images: Tensor, draws: torch.Generator, samples: Tensor | None = None, *, epoch: int = 0
    ) -> Tensor:
        """Augment a batch.

        Args:
            images: uint8 of shape (batch, channels, height, width).
            draws: source of the random choices.
            samples: position of each image in its split; ``alternate`` needs it.
            epoch: counts from 0; ``alternate`` needs it.
        """
        if self.crop_padding:
            images = _random_crop(images, self.crop_padding, draws)
        if self.flip:
            mirrored = self._mirrored(len(images), draws, samples, epoch).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        if self.resized_crop_scale is not None or self.rand_augment_ops:
            size = tuple(images.shape[-2:])
            transform = _torchvisions(size, self.resized_crop_scale, self.rand_augment_ops, self.rand_augment_magnitude)
            images = _each_transformed(images, transform, draws)
        return images

    def _mirrored(self, count: int, draws: torch.Generator, samples: Tensor | None, epoch: int) -> Tensor:
        if not self.alternate:
            return torch.rand(count, generator=draws).lt(0.5)
        if samples is None:
            raise ValueError("augment.alternate=true needs the images' positions in their split: give `samples`")
        return ((samples * GOLDEN >> 16) + epoch) % 2 == 1


def _random_crop(images: Tensor, padding: int, draws: torch.Generator) -> Tensor:
    """Each image shifted by up to ``padding`` pixels in both directions, padded with black (the usual CIFAR crop)."""
    count, _, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, count), generator=draws).to(images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    sample = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@cache
def _torchvisions(size: tuple[int, ...], scale: float | None, ops: int, magnitude: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2  # slow to import

    crop = [v2.RandomResizedCrop(size, scale=(scale, 1.0), antialias=True)] if scale is not None else []
    compose: Callable[[Tensor], Tensor] = v2.Compose([*crop, *([v2.RandAugment(ops, magnitude)] if ops else [])])
    return compose


def _each_transformed(images: Tensor, transform: Callable[[Tensor], Tensor], draws: torch.Generator) -> Tensor:
    """Each image through torchvision's ``transform``, which draws from torch's global generator of the CPU."""
    if len(images) == 0:
        return images
    seed = int(torch.randint(2**62, (), generator=draws))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would change the GPUs' generators too
        return torch.stack([transform(image) for image in images])
