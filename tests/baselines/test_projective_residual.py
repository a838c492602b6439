"""The projective residual update against a refit in closed form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from unsir_bench.baselines.projective_residual import ProjectiveResidual, refit_updates, span_of

from tests.baselines.solved_scene import made_samples, solved_scene, without
from unsir_bench.data.device_data import DeviceData
from unsir_bench.training.context import RunContext
from unsir_bench.training.convex_heads import (
    logistic_gradient,
    logistic_hessians,
    newton_direction,
    ridge_gram,
    solved_logistic,
    solved_ridge,
)

DIMENSIONS, L2 = 12, 0.2
GONE = [torch.tensor([4]), torch.arange(5), torch.arange(11), torch.arange(40)]


def refitted(gone: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of all samples, of the refit, the method's update in full, and the removed rows."""
    samples = made_samples(90, DIMENSIONS, 3, seed=0)
    forget, retain = without(samples, gone)
    before = solved_ridge(samples.inputs, samples.targets(3), L2)
    after = solved_ridge(retain.inputs, retain.targets(3), L2)
    factors = torch.linalg.cholesky(ridge_gram(samples.inputs, L2))[None]
    return before, after, refit_updates(factors, before, forget, ridge=True), forget.inputs


@pytest.mark.parametrize("gone", GONE, ids=len)
def test_the_full_update_of_ridge_is_the_refit(gone: Tensor) -> None:
    """``metric: hessian``: for k < d and beyond."""
    before, after, update, _ = refitted(gone)
    assert float((before + update - after).abs().max()) < 1e-10


@pytest.mark.parametrize("gone", GONE, ids=len)
def test_the_papers_update_is_the_refits_projected_on_the_removed_rows(gone: Tensor) -> None:
    """Theorem 5, by least squares on the rows; equal predictions on them; the refit itself once they span all."""
    before, after, update, rows = refitted(gone)
    basis = span_of(rows)
    ours = before + update @ basis @ basis.T
    projected = (torch.linalg.pinv(rows) @ rows @ (after - before).T).T
    assert float((ours - before - projected).abs().max()) < 1e-10
    assert float((rows @ (ours - after).T).abs().max()) < 1e-10
    difference = float((ours - after).abs().max())
    assert (difference < 1e-10) is (len(rows) >= DIMENSIONS)


def test_the_logistic_update_is_the_newton_step_without_the_samples() -> None:
    samples = made_samples(90, DIMENSIONS, 3, seed=1)
    weight = solved_logistic(samples.inputs, samples.targets(3), L2, torch.zeros(3, DIMENSIONS, dtype=torch.float64))
    forget, retain = without(samples, torch.arange(5))
    factors = torch.linalg.cholesky(logistic_hessians(weight, samples.inputs, L2))
    delta = logistic_gradient(weight, forget.inputs, forget.targets(3))
    newton = newton_direction(logistic_hessians(weight, retain.inputs, L2), delta)
    assert torch.allclose(refit_updates(factors, weight, forget, ridge=False), newton, atol=1e-10)


@pytest.mark.parametrize("metric", ["euclidean", "hessian"])
def test_on_digits_it_is_exact_where_it_says_so(
    metric: str, digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    """Of sixteen-dimensional features five removed samples span less."""
    scene = solved_scene(digits, tmp_path, make_context, gone=torch.arange(5), classifier="ridge")
    model = scene.unlearned(ProjectiveResidual(metric=metric))
    stated = scene.context.guarantees
    ours, theirs = (each.get_submodule("head").weight.detach() for each in (model, scene.retrained))
    gap = (ours - theirs).abs().max()
    assert stated["exact"] == int(metric == "hessian")
    assert (float(gap) < 1e-10) is (metric == "hessian")
    assert ((stated["residual_norm"] or 0) < 1e-9) is (metric == "hessian")


def test_after_a_step_that_was_not_exact_none_is(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    """The refit's update is known at a minimiser, and what the first step leaves is none."""
    scene = solved_scene(digits, tmp_path, make_context, gone=torch.arange(5), classifier="ridge")
    model = scene.unlearned(ProjectiveResidual(metric="euclidean"))
    residual = scene.context.guarantees["residual_norm"] or 0
    scene.unlearned(ProjectiveResidual(metric="hessian"), model)
    stated = scene.context.guarantees
    assert residual > 1e-3 and (stated["residual_norm"] or 0) > 1e-3 and stated["exact"] == 0


def test_a_class_is_more_than_it_pays_for_and_a_line_says_so(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, classifier="ridge")
    removed = len(scene.split.forget_train)
    with caplog.at_level(logging.WARNING, "unsir_bench"):
        scene.unlearned(ProjectiveResidual())
    assert f"{removed} removed samples in 16 dimensions; from k >= d on a refit costs less" in caplog.text
    assert scene.context.guarantees["removed_samples"] == removed
