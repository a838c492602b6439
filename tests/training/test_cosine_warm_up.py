"""The cosine schedule with warm-up: rates against a hand-written rule, resumed, and only where it is asked for."""

from __future__ import annotations

import math

import pytest
import torch

from unsir_bench.config_fields import identity, problems
from unsir_bench.training.recipe import Recipe, Schedule


def optimiser() -> torch.optim.Optimizer:
    """Two groups, as of a head and a backbone with a tenth of its rate."""
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in (1.0, 0.1)]
    return torch.optim.SGD(groups, lr=1.0)


def rates(recipe: Recipe, steps: int, resume_at: int = -1) -> list[tuple[float, ...]]:
    sgd = optimiser()
    schedule, seen = Schedule(sgd, recipe, steps), []
    for step in range(steps):
        if step == resume_at:
            state, saved = schedule.state_dict(), sgd.state_dict()
            sgd = optimiser()
            schedule = Schedule(sgd, recipe, steps)
            sgd.load_state_dict(saved)
            schedule.load_state_dict(state)
        seen.append(tuple(group["lr"] for group in sgd.param_groups))
        sgd.step()
        schedule.after_step()
    return seen


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine() -> None:
    """10 steps, 4 of them warm-up: fifths of the peak, the peak, then half a cosine over the 6 that are left."""
    recipe = Recipe(optimizer="sgd", schedule="cosine", cosine_warmup_share=0.4)
    expected = [0.2, 0.4, 0.6, 0.8] + [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)]
    seen = rates(recipe, 10)
    assert [head for head, _ in seen] == pytest.approx(expected)
    assert [backbone for _, backbone in seen] == pytest.approx([0.1 * share for share in expected])
    assert rates(recipe, 10, resume_at=7) == seen


def test_without_warm_up_the_schedule_and_the_identity_are_what_they_were() -> None:
    recipe = Recipe(optimizer="sgd", schedule="cosine")
    sgd = optimiser()
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=7)
    expected = []
    for _ in range(7):
        expected.append(tuple(group["lr"] for group in sgd.param_groups))
        sgd.step()
        torchs.step()
    assert rates(recipe, 7) == expected
    assert "cosine_warmup_share" not in identity(recipe)
    assert identity(Recipe(schedule="cosine", cosine_warmup_share=0.1))["cosine_warmup_share"] == 0.1


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_training_of_few_steps_has_rates_above_nothing(steps: int) -> None:
    recipe = Recipe(optimizer="sgd", schedule="cosine", cosine_warmup_share=0.9)
    assert all(0 < head <= 1 for head, _ in rates(recipe, steps))


def test_a_warm_up_of_another_schedule_is_refused() -> None:
    (line,) = problems(Recipe(cosine_warmup_share=0.1), "train")
    assert line == "train.cosine_warmup_share=0.1: needs train.schedule=cosine"
