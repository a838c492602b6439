from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from unsir_bench.context import RunContext
from unsir_bench.data.device_data import DeviceData
from unsir_bench.models.torchvision_models import ResNet18

MakeContext = Callable[..., RunContext]


def test_draws_depend_on_seed_and_role_and_on_nothing_else_of_the_run(make_context: MakeContext) -> None:
    first, other = make_context(), make_context(ResNet18(), forget_classes=(1, 2), num_classes=3)
    first.generator("impair", 0)
    draws = [torch.rand(3, generator=context.generator("noise")) for context in (first, other)]
    assert torch.equal(*draws)
    for different in (first.generator("impair"), make_context(seed=1).generator("noise")):
        assert not torch.equal(draws[0], torch.rand(3, generator=different))


def test_every_global_generator_is_seeded(make_context: MakeContext) -> None:
    context, drawn = make_context(), []
    for _ in range(2):
        context.seed_everything("train", "dropout", 0)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def test_a_context_without_a_trainer_says_so(digits: DeviceData, make_context: MakeContext) -> None:
    with pytest.raises(RuntimeError, match="no trainer from scratch"):
        make_context().train_from_scratch(digits.view("train"))


@pytest.mark.parametrize(("innermost", "layout"), [(True, torch.channels_last), (False, torch.contiguous_format)])
def test_the_layout_follows_the_setting(
    innermost: bool, layout: torch.memory_format, make_context: MakeContext
) -> None:
    assert make_context(channels_last=innermost).layout is layout
