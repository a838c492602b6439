"""Crops and flips: against a slow twin, in the right proportions, and drawn from their generator alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.numbered_images import random_images, seeded, view_of
from unsir_bench.data.augmentation import Augmentation


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """The slow twin: pixel by pixel, black where nothing was."""
    result = torch.zeros_like(image)
    height, width = image.shape[1:]
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                result[:, row, column] = image[:, row - down, column - right]
    return result


def shifts_found(images: Tensor, cropped: Tensor, padding: int) -> list[tuple[int, int]]:
    """For each image, the one shift within the padding that explains what came out."""
    reach = range(-padding, padding + 1)
    found = []
    for image, result in zip(images, cropped, strict=True):
        fitting = [(d, r) for d in reach for r in reach if torch.equal(shifted(image, d, r), result)]
        assert len(fitting) == 1
        found += fitting
    return found


def test_a_crop_is_a_shift_within_the_padding_and_black_comes_in():
    images = random_images(12)
    cropped = Augmentation(crop_padding=2)(images, seeded(1))
    assert cropped.dtype == torch.uint8
    assert cropped.shape == images.shape
    assert len(set(shifts_found(images, cropped, 2))) > 3


def test_every_shift_is_equally_likely():
    one = random_images(1, channels=1, size=3)
    images = one.repeat(4500, 1, 1, 1)
    cropped = Augmentation(crop_padding=1)(images, seeded(2))
    kinds = {(d, r): shifted(one[0], d, r) for d in (-1, 0, 1) for r in (-1, 0, 1)}
    counts = [int((cropped == kind).flatten(1).all(1).sum()) for kind in kinds.values()]
    assert sum(counts) == 4500
    # χ² with 8 degrees of freedom is above 26.1 once in a thousand; the draw is seeded, so this cannot flicker.
    assert sum((count - 500) ** 2 / 500 for count in counts) < 26.1


def test_a_flip_mirrors_left_and_right_in_about_half_of_the_images():
    images = random_images(4000)
    flipped = Augmentation(flip=True)(images, seeded(3))
    mirrored = images.numpy()[:, :, :, ::-1]
    same = (flipped.numpy() == images.numpy()).all(axis=(1, 2, 3))
    turned = (flipped.numpy() == mirrored).all(axis=(1, 2, 3))
    assert np.all(same ^ turned)
    assert abs(int(turned.sum()) - 2000) < 4 * math.sqrt(4000 / 4)


def test_alternating_flips_show_both_sides_of_every_image_in_each_pair_of_epochs():
    images, samples = random_images(1000), torch.arange(1000)
    augment = Augmentation(flip=True, alternate=True)
    first, second, third = (augment.in_epoch(epoch)(images, seeded(epoch), samples) for epoch in (0, 1, 2))
    turned = (first != images).flatten(1).any(1)
    assert torch.equal(first, torch.where(turned[:, None, None, None], images.flip(-1), images))
    assert torch.equal(second, torch.where(turned[:, None, None, None], images, images.flip(-1)))
    assert torch.equal(third, first)
    assert 450 < int(turned.sum()) < 550


def test_alternating_flips_go_with_the_sample_wherever_it_stands_in_the_order():
    view, augment = view_of(40), Augmentation(flip=True, alternate=True)
    inorder = view.fetch(torch.arange(40), augment=augment.in_epoch(1), order=seeded(0))[0]
    order = torch.randperm(40, generator=seeded(0))
    shuffled = torch.cat([images for images, _ in view.batches(7, order=seeded(0), augment=augment.in_epoch(1))])
    assert torch.equal(shuffled, inorder[order])


def test_alternating_flips_without_the_samples_are_refused():
    with pytest.raises(ValueError, match="give `samples`"):
        Augmentation(flip=True, alternate=True)(random_images(2), seeded(0))


def test_augmentation_does_not_touch_its_input():
    images = random_images(20)
    before = images.clone()
    Augmentation(flip=True, crop_padding=2)(images, seeded(0))
    assert torch.equal(images, before)


def test_no_augmentation_draws_nothing():
    draws = seeded(0)
    state = draws.get_state()
    images = random_images(5)
    assert torch.equal(Augmentation()(images, draws), images)
    assert torch.equal(draws.get_state(), state)


def test_augmentation_repeats_with_its_generator():
    images, augment = random_images(30), Augmentation(flip=True, crop_padding=2)
    first, same, other = (augment(images, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", ["batches", "fetch"])
def test_augmentation_without_a_generator_is_refused(method: str):
    view = view_of(4)
    with pytest.raises(ValueError, match="give the generator `order`"):
        if method == "fetch":
            view.fetch(torch.arange(2), augment=Augmentation(flip=True))
        else:
            next(view.batches(2, augment=Augmentation(flip=True)))
