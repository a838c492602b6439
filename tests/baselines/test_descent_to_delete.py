"""Descent-to-delete: the noise of Theorem 3.1, measured; the descent against the minimiser."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from unsir_bench.baselines.descent_to_delete import DescentToDelete, descended, noise_std

from tests.baselines.solved_scene import made_samples, solved_scene, without
from unsir_bench.data.device_data import DeviceData
from unsir_bench.training.context import RunContext
from unsir_bench.training.convex_heads import solved_logistic


def test_the_noise_is_the_papers_worked_out_by_hand() -> None:
    """m = 1, M = 3: γ = ½; L = 1, k = 2, I = 3, so γ^I = 1/8; δ = e⁻⁴ and ε = 5: √9 - √4 = 1."""
    assert noise_std(1.0, 3.0, 1.0, 2, 3, 5.0, math.exp(-4)) == pytest.approx(4 * math.sqrt(2) * 2 / 7)


def test_the_start_is_nearer_by_the_promised_factor_after_each_step() -> None:
    samples = made_samples(80, 6, 3, seed=0)
    linear = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    l2 = 4.0
    before = solved_logistic(samples.inputs, samples.targets(3), l2, linear)
    forget, retain = without(samples, torch.arange(7))
    after = solved_logistic(retain.inputs, retain.targets(3), l2, linear)
    smooth = l2 + len(retain) / 4
    factor = (smooth - l2) / (smooth + l2)
    start = float((before - after).norm())
    assert start <= len(forget) * math.sqrt(3) / l2  # what the sensitivity in the noise assumes
    for steps in (1, 2, 5, 20):
        left = (descended(before, linear, retain, l2, steps) - after).norm()
        assert left <= factor**steps * start + 1e-12


def test_what_is_published_deviates_as_stated(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, l2=20.0)
    method = DescentToDelete(steps=60)
    original, found = scene.original, []
    for seed in range(60):
        scene.context.seed = seed
        model = scene.unlearned(method, copy.deepcopy(original))
        found.append(model.get_submodule("head").weight.detach())
    stated = scene.context.guarantees["noise_std"]
    assert stated is not None and stated > 0
    values = torch.stack(found)
    noise = (values - values.mean(0)) * math.sqrt(len(found) / (len(found) - 1))
    assert abs(float(noise.square().mean().sqrt()) - stated) < 3 * stated / math.sqrt(2 * noise.numel())


def test_the_group_enters_the_noise_and_the_guarantee(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, l2=20.0)
    scene.unlearned(DescentToDelete(epsilon=0.5, delta=1e-4, steps=30))
    stated, group = scene.context.guarantees, len(scene.split.forget_train)
    smooth = 20.0 + len(scene.split.retain_train) / 4
    assert stated["noise_std"] == pytest.approx(noise_std(20.0, smooth, math.sqrt(10), group, 30, 0.5, 1e-4))
    assert (stated["epsilon"], stated["delta"], stated["group_size"]) == (0.5, 1e-4, group)


def test_a_later_step_of_a_sequence_promises_nothing(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, l2=20.0)
    with scene.context.in_step(1):
        scene.unlearned(DescentToDelete(steps=5))
    assert scene.context.guarantees["epsilon"] is None
