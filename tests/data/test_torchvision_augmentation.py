"""RandomResizedCrop and RandAugment: torchvision's own, drawn from the epoch's generator alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from unsir_bench.config_fields import identity, problems
from unsir_bench.data.augmentation import Augmentation

VIT = Augmentation(resized_crop_scale=0.3, rand_augment_ops=2)


def images(count: int, channels: int = 3, size: int = 16) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, size, size), generator=draws, dtype=torch.uint8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_image_is_what_torchvision_makes_of_it_with_the_same_draws() -> None:
    augmented = VIT(images(5), seeded(3))
    torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(3))))
    crop = v2.RandomResizedCrop((16, 16), scale=(0.3, 1.0), antialias=True)
    chain = v2.Compose([crop, v2.RandAugment(2, 9)])
    assert torch.equal(augmented, torch.stack([chain(image) for image in images(5)]))


def test_no_image_at_all_stays_none() -> None:
    """An impair batch may hold noise alone, and a private batch nobody."""
    assert VIT(images(0), seeded(3)).shape == (0, 3, 16, 16)


def test_a_crop_of_the_whole_square_changes_nothing_but_a_smaller_one_does() -> None:
    whole = Augmentation(resized_crop_scale=1.0)(images(4), seeded(0))
    smaller = Augmentation(resized_crop_scale=0.2)(images(4), seeded(0))
    assert not torch.equal(smaller, images(4))
    # Sides may differ by a quarter, so that few crops of the whole area fit: those that do not are the whole square.
    assert any(torch.equal(one, other) for one, other in zip(whole, images(4), strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_form_and_kind_stay_and_nothing_else_is_drawn(channels: int) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    augmented = VIT(images(6, channels), seeded(0))
    assert torch.equal(torch.rand(2), expected)
    assert (augmented.shape, augmented.dtype) == ((6, channels, 16, 16), torch.uint8)


def test_the_same_generator_gives_the_same_images_whatever_was_drawn_before() -> None:
    first = VIT(images(6), seeded(2))
    torch.manual_seed(9)
    assert torch.equal(VIT(images(6), seeded(2)), first)
    assert not torch.equal(VIT(images(6), seeded(4)), first)


def test_unused_options_draw_nothing_and_enter_no_id() -> None:
    draws = seeded(0)
    assert torch.equal(Augmentation()(images(2), draws), images(2))
    assert torch.equal(torch.rand(1, generator=draws), torch.rand(1, generator=seeded(0)))
    assert set(identity(Augmentation())) == {"class", "flip", "crop_padding"}
    assert identity(VIT)["resized_crop_scale"] == 0.3


@pytest.mark.parametrize(
    ("augment", "key"),
    [
        (Augmentation(resized_crop_scale=0.0), "resized_crop_scale=0.0"),
        (Augmentation(resized_crop_scale=0.5, crop_padding=2), "resized_crop_scale=0.5: not beside"),
        (Augmentation(rand_augment_ops=-1), "rand_augment_ops=-1"),
        (Augmentation(rand_augment_ops=1, rand_augment_magnitude=31), "rand_augment_magnitude=31"),
    ],
)
def test_a_wrong_value_is_named(augment: Augmentation, key: str) -> None:
    (line,) = problems(augment, "train.augment")
    assert f"train.augment.{key}" in line
