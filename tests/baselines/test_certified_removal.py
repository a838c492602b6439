"""Certified removal: the proved bound against the residual itself, and what happens when the budget is spent."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from unsir_bench.baselines.certified_removal import CertifiedRemoval, newton_removals, residual_budget

from tests.baselines.solved_scene import made_samples, solved_scene, without
from unsir_bench.data.device_data import DeviceData
from unsir_bench.errors import NotApplicable
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.frozen_head import FrozenHeadConfig
from unsir_bench.training.context import RunContext
from unsir_bench.training.convex_heads import logistic_gradient, solved_logistic

L2 = 0.5


def test_the_bound_holds_on_a_thousand_random_removals() -> None:
    """Of up to five samples in one Newton step, and of several steps whose bounds add up."""
    draws = torch.Generator().manual_seed(0)
    worst, removals = 0.0, 0
    for scene in range(20):
        samples = made_samples(60, 6, 3, seed=scene)
        linear = torch.randn(3, 6, generator=draws, dtype=torch.float64)
        weight = solved_logistic(samples.inputs, samples.targets(3), L2, linear)
        for removal in range(50):
            count = int(torch.randint(1, 6, (1,), generator=draws))
            forget, retain = without(samples, torch.randperm(60, generator=draws)[:count])
            at_once = count if removal % 2 else 1
            bound = 0.0
            for step in newton_removals(weight, forget, retain, L2, at_once):
                bound += step.bound
            residual = logistic_gradient(step.weight, retain.inputs, retain.targets(3), L2) + linear
            worst, removals = max(worst, float(residual.norm()) / bound), removals + 1
            assert residual.norm() <= bound
    assert removals == 1000
    assert worst > 0.02  # a bound that is never near would be empty


def test_the_bound_is_that_of_the_paper_worked_out_with_plain_loops() -> None:
    samples = made_samples(25, 4, 2, seed=3)
    weight = solved_logistic(samples.inputs, samples.targets(2), L2, torch.zeros(2, 4, dtype=torch.float64))
    forget, retain = without(samples, torch.tensor([7]))
    [step] = newton_removals(weight, forget, retain, L2, 1)
    squares = 0.0
    for label in range(2):
        hessian, target = L2 * torch.eye(4, dtype=torch.float64), float(forget.labels[0] == label)
        for row in retain.inputs:
            share = torch.sigmoid(row @ weight[label])
            hessian += share * (1 - share) * torch.outer(row, row)
        delta = (torch.sigmoid(forget.inputs[0] @ weight[label]) - target) * forget.inputs[0]
        change = torch.linalg.solve(hessian, delta)
        assert torch.allclose(step.weight[label], weight[label] + change)
        largest = torch.linalg.eigvalsh(retain.inputs.T @ retain.inputs).max().sqrt()
        squares += float(0.25 * largest * change.norm() * (retain.inputs @ change).norm()) ** 2
    assert step.bound == pytest.approx(math.sqrt(squares))


def test_the_budget_is_what_the_noise_hides() -> None:
    """Theorem 3: with b ~ N(0, (c r / ε)²) a residual of at most r costs ε and 1.5 exp(-c² / 2)."""
    residual, constant, epsilon = 0.3, 4.0, 0.7
    delta = 1.5 * math.exp(-(constant**2) / 2)
    assert residual_budget(constant * residual / epsilon, epsilon, delta) == pytest.approx(residual)


def test_a_class_spends_the_budget_and_the_head_is_retrained(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, perturbation=0.5)
    model = scene.unlearned(CertifiedRemoval())
    stated = scene.context.guarantees
    assert (stated["retrained"], stated["removed_samples"], stated["residual_norm"]) == (1, 0, 0.0)
    assert (stated["epsilon"], stated["covers_backbone"]) == (0.0, 1)
    fitted = stated["removable_samples"]
    assert fitted is not None and 0 <= fitted < len(scene.split.forget_train)
    for name, value in scene.retrained.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_few_samples_fit_and_what_they_cost_is_stated(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, gone=torch.tensor([3, 50]), perturbation=20.0, l2=5.0)
    model = scene.unlearned(CertifiedRemoval(epsilon=2.0, delta=1e-4))
    stated = scene.context.guarantees
    assert (stated["retrained"], stated["removed_samples"], stated["removable_samples"]) == (0, 2, None)
    norm, bound, budget = (stated[f"residual_{name}"] for name in ("norm", "bound", "budget"))
    assert norm is not None and bound is not None and budget is not None
    assert 0 < norm <= bound <= budget
    assert budget == pytest.approx(20.0 * 2.0 / math.sqrt(2 * math.log(1.5 / 1e-4)))
    assert stated["epsilon"] == pytest.approx(2.0 * bound / budget)
    head, retain = model.get_submodule("head"), scene.samples(model, scene.split.retain_train)
    gradient = logistic_gradient(head.weight.detach(), retain.inputs, retain.targets(10), 5.0) + head.perturbation
    assert norm == pytest.approx(float(gradient.norm()))
    distance = (head.weight - scene.retrained.get_submodule("head").weight).norm()
    assert distance <= norm / 5.0  # the objective is l2-strongly convex


def test_beyond_the_budget_nothing_is_retrained_and_epsilon_grows(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, perturbation=0.5)
    scene.unlearned(CertifiedRemoval(beyond_budget=True))
    stated = scene.context.guarantees
    assert (stated["retrained"], stated["removed_samples"]) == (0, len(scene.split.forget_train))
    assert (stated["epsilon"] or 0) > 1.0
    assert (stated["residual_bound"] or 0) > (stated["residual_budget"] or 0)


def test_a_backbone_that_saw_the_class_is_allowed_and_marked(
    digits: DeviceData, make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    scene = solved_scene(digits, tmp_path, make_context, perturbation=1.0, trained_on="all")
    scene.unlearned(CertifiedRemoval())
    assert scene.context.guarantees["covers_backbone"] == 0


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (
            AllCNNConfig(width=4),
            "needs model=frozen_head with model.classifier=logistic; model 'allcnn' has a head without",
        ),
        (FrozenHeadConfig(backbone=AllCNNConfig(width=4), classifier="ridge"), "here it is ridge"),
        (FrozenHeadConfig(backbone=AllCNNConfig(width=4)), "set model.perturbation above 0"),
    ],
)
def test_a_model_without_what_it_needs_is_refused_in_one_line(
    architecture: AllCNNConfig | FrozenHeadConfig, words: str, make_context: Callable[..., RunContext]
) -> None:
    reason = CertifiedRemoval().unsuitable(architecture)
    assert reason is not None and words in reason and "\n" not in reason
    with pytest.raises(NotApplicable, match="certified_removal"):
        CertifiedRemoval().head_of(torch.nn.Module(), make_context(architecture))
