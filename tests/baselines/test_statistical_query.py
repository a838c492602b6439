"""Subtracted sums against recomputation, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from unsir_bench.baselines.statistical_query import StatisticalQuery

from tests.baselines.solved_scene import solved_scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.training.context import RunContext


@pytest.mark.parametrize("gone", [None, torch.tensor([7]), torch.arange(0, 150, 3)], ids=["class", "one", "many"])
def test_it_equals_recomputation(
    gone: Tensor | None, digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, gone, classifier="nearest_mean")
    before = scene.original.state_dict()
    after = scene.unlearned(StatisticalQuery()).state_dict()
    assert not torch.equal(before["head.weight"], after["head.weight"])
    for name, value in scene.retrained.state_dict().items():
        assert torch.equal(value, after[name]), name
    removed = len(scene.split.forget_train)
    assert scene.context.guarantees == {"covers_backbone": 1, "exact": 1, "removed_samples": removed}
