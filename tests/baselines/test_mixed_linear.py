"""Mixed-linear forgetting against dense solves, least squares on rows of derivatives, and Krylov subspaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from unsir_bench.baselines.mixed_linear import MixedLinear, conjugate_gradients

from tests.baselines.solved_scene import SolvedScene, solved_scene
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import AccessDenied
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import UnlearningData

L2 = 0.5


@pytest.fixture
def scene(digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path) -> SolvedScene:
    return solved_scene(digits, tmp_path, make_context, classifier="linearised", l2=L2)


def change_of(model: torch.nn.Module) -> Tensor:
    return model.get_parameter("head.change").detach().clone()


def system(size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A positive definite matrix, a right side and a start."""
    draws = torch.Generator().manual_seed(seed)
    rows, right, start = (torch.randn(*shape, generator=draws, dtype=torch.float64) for shape in
                          ((2 * size, size), (size,), (size,)))  # fmt: skip
    return rows.T @ rows + torch.eye(size), right, start


def test_as_many_steps_as_weights_are_a_dense_solve() -> None:
    matrix, right, start = system(30, seed=0)
    solved = conjugate_gradients(matrix, right, start, 60)
    torch.testing.assert_close(solved, torch.linalg.solve(matrix, right), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_fewer_steps_minimise_the_objective_over_the_krylov_subspace(steps: int) -> None:
    matrix, right, start = system(12, seed=1)
    powers = [right - matrix @ start]
    for _ in range(steps - 1):
        powers.append(matrix @ powers[-1])
    basis, _ = torch.linalg.qr(torch.stack(powers, dim=1))
    best = start + basis @ torch.linalg.solve(basis.T @ matrix @ basis, basis.T @ powers[0])
    torch.testing.assert_close(conjugate_gradients(matrix, right, start, steps), best, rtol=1e-9, atol=1e-9)
    assert (best - torch.linalg.solve(matrix, right)).norm() > 1e-6


def test_with_steps_enough_it_is_the_retrained_linear_part(scene: SolvedScene) -> None:
    retrained, original = change_of(scene.retrained), change_of(scene.original)
    unlearned = change_of(scene.unlearned(MixedLinear(steps=3000)))
    assert float((original - retrained).abs().max()) > 1e-2
    torch.testing.assert_close(unlearned, retrained, rtol=0, atol=1e-8)
    stated = scene.context.guarantees
    assert stated["covers_backbone"] == 1
    assert stated["removed_samples"] == len(scene.split.forget_train)
    assert 0 <= (stated["residual_norm"] or 0) < 1e-8


def test_the_residual_shrinks_with_steps_and_bounds_the_distance_to_the_retrained_part(scene: SolvedScene) -> None:
    retrained = change_of(scene.retrained)
    residuals = []
    for steps in (1, 10, 60):
        distance = float((change_of(scene.unlearned(MixedLinear(steps=steps))) - retrained).norm())
        residuals.append(scene.context.guarantees["residual_norm"] or 0.0)
        assert 1e-8 < distance <= residuals[-1] / L2
    assert residuals == sorted(residuals, reverse=True)


def test_the_core_stays_and_no_forget_sample_is_read(scene: SolvedScene) -> None:
    method = MixedLinear(steps=5)
    model = scene.original
    before = {name: value.clone() for name, value in model.state_dict().items()}
    allowed = UnlearningData(scene.data, scene.split, method, 0)
    method.unlearn(model, allowed, scene.context)
    assert {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])} == {"head.change"}
    retained = len(scene.split.retain_train)
    assert allowed.access_counts()["retain"] == {"samples": retained, "reads": retained}
    with pytest.raises(AccessDenied):
        _ = allowed.forget


def test_a_second_request_removes_its_own_samples_alone(scene: SolvedScene) -> None:
    labels = (scene.data.labels("train"), scene.data.labels("test"))
    scene.split = ForgetSplit.of(*labels, (1,), scene.data.num_classes, gone=(0,))
    scene.unlearned(MixedLinear(steps=1))
    assert scene.context.guarantees["removed_samples"] == len(scene.split.forget_train)


def test_a_core_that_saw_the_class_is_marked(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, classifier="linearised", trained_on="all")
    scene.unlearned(MixedLinear(steps=1))
    assert scene.context.guarantees["covers_backbone"] == 0
