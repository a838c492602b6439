"""Certified removal (C. Guo, T. Goldstein, A. Hannun, L. van der Maaten, ICML 2020), for the logistic head.

The head minimises the sum of the losses, an L2 term and a random linear term b with entries N(0, σ²) (objective
perturbation; ``model.perturbation`` is σ). A removal is a Newton step, w + H⁻¹Δ, with the Hessian H of the retain
samples at w and the gradient Δ of the removed ones. What gradient it leaves on the retain samples is at most γ ‖X‖
‖H⁻¹Δ‖ ‖X H⁻¹Δ‖ (their Corollary 1), γ = ¼ for the logistic loss. These bounds add up over removals. The head is (ε,
δ)-certified while their sum is at most σ ε / √(2 ln(1.5 / δ)) (their Theorem 3); then a retrain is due, and is done.
The heads of all classes are one vector here: their bounds add in squares.

The paper's L2 term grows with the number of samples, and so is removed with them; here it stays as it is, so that Δ
holds losses alone. A whole class spends the budget early, as the record's ``removable_samples`` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, number
from unsir_bench.models.frozen_head import FrozenHeadConfig, LogisticHead
from unsir_bench.models.model import ModelConfig
from unsir_bench.training.convex_heads import logistic_gradient, logistic_hessians, newton_direction
from unsir_bench.unlearning.solved_heads import HeadSamples, SolvedHeadMethod, head_samples

CURVATURE_SLOPE = 0.25  # the second derivative of the logistic loss changes at most by this per unit


@dataclass
class CertifiedRemoval(SolvedHeadMethod):
    """Remove samples by Newton steps while the certificate lasts, and retrain the head when its budget is spent.

    Attributes:
        epsilon, delta: of the certificate that sets the budget.
        at_once: samples a Newton step removes.
        beyond_budget: go on without retraining; epsilon in the record is then what the residual costs.
    """

    classifiers: ClassVar[tuple[str, ...]] = ("logistic",)
    name: str = "certified_removal"
    epsilon: float = number(1.0, above=0)
    delta: float = number(1e-5, above=0, below=1)
    at_once: int = number(1, at_least=1)
    beyond_budget: bool = False
    requires = frozenset({Access.FORGET_DATA, Access.RETAIN_DATA, Access.INITIAL_WEIGHTS})

    def unsuitable(self, architecture: ModelConfig) -> str | None:
        reason = super().unsuitable(architecture)
        if reason is None and not cast("FrozenHeadConfig", architecture).perturbation:
            return f"method '{self.name}' needs an objective with a random linear term; set model.perturbation above 0"
        return reason

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        found, architecture = self.head_of(model, context)
        head, noise = cast("LogisticHead", found), architecture.perturbation
        forget, retain = head_samples(model, data.forget, context), head_samples(model, data.retain, context)
        budget = residual_budget(noise, self.epsilon, self.delta)
        with context.clock.phase("remove"):
            course = self._course(head, forget, retain, architecture.l2, budget, context)
        spent = course[-1].bound > budget and not self.beyond_budget
        last = course[-2] if spent else course[-1]
        context.keep(
            "removal", {name: torch.tensor([getattr(step, name) for step in course]) for name in COURSE}
        )  # fmt: skip
        head.to(context.device)
        if spent:
            model = data.train_from_scratch(context)
        bound, norm = (0.0, 0.0) if spent else (last.bound, last.residual)
        context.guarantee(
            epsilon=bound / residual_budget(noise, 1.0, self.delta), delta=self.delta, residual_norm=norm,
            residual_bound=bound, residual_budget=budget, noise_std=noise, retrained=int(spent),
            removed_samples=0 if spent else last.samples, removable_samples=last.samples if spent else None,
        )  # fmt: skip
        return model

    def _course(
        self,
        head: LogisticHead,
        forget: HeadSamples,
        retain: HeadSamples,
        l2: float,
        budget: float,
        context: RunContext,
    ) -> list[Point]:
        """Remove samples from the head until all are gone or the budget is spent; a point for the start and each step.

        The residual norm itself is for the figure alone, and outside the clock.
        """
        with context.clock.paused():
            inputs, targets = (torch.cat(pair) for pair in zip(*(
                (part.inputs, part.targets(len(head.weight))) for part in (forget, retain)), strict=True))  # fmt: skip
            start = _residual_norm(head, inputs, targets, l2)
        course = [Point(0, start, start)]
        for step in newton_removals(head.weight.data, forget, retain, l2, self.at_once):
            bound = course[-1].bound + step.bound
            head.weight.data.copy_(step.weight)
            with context.clock.paused():
                residual = _residual_norm(head, inputs[step.removed :], targets[step.removed :], l2)
            course.append(Point(step.removed, bound, residual))
            if bound > budget and not self.beyond_budget:
                break
        return course


class Point(NamedTuple):
    """After some removed samples: the sum of the bounds, and the residual norm itself."""

    samples: int
    bound: float
    residual: float


COURSE = Point._fields


@dataclass(frozen=True)
class Removal:
    """A Newton step: the weights after it, the bound of the gradient it leaves, and the samples removed by then."""

    weight: Tensor
    bound: float
    removed: int


def residual_budget(perturbation: float, epsilon: float, delta: float) -> float:
    """The largest gradient norm that a linear term of this standard deviation hides (Theorem 3)."""
    return perturbation * epsilon / math.sqrt(2 * math.log(1.5 / delta))


def newton_removals(
    weight: Tensor, forget: HeadSamples, retain: HeadSamples, l2: float, at_once: int
) -> Iterator[Removal]:
    """Newton steps that remove the forget samples in their order, each from the weights that the last one gave."""
    classes = len(weight)
    inputs = torch.cat([forget.inputs, retain.inputs])
    for start in range(0, len(forget), at_once):
        gone = slice(start, min(start + at_once, len(forget)))
        delta = logistic_gradient(weight, forget.inputs[gone], forget.targets(classes)[gone])
        kept = inputs[gone.stop :]
        step = newton_direction(logistic_hessians(weight, kept, l2), delta)
        weight = weight + step
        yield Removal(weight, residual_bound(step, kept), gone.stop)


def residual_bound(step: Tensor, kept: Tensor) -> float:
    """The bound of Corollary 1 for the Newton steps (classes, dimensions) of all classes as one vector.

    Args:
        step: H⁻¹Δ.
        kept: features of the samples that are left, (samples, dimensions), of norm 1 at most.
    """
    by_class = torch.linalg.matrix_norm(kept, 2) * step.norm(dim=1) * (kept @ step.T).norm(dim=0)
    return CURVATURE_SLOPE * float(by_class.norm())


def _residual_norm(head: LogisticHead, inputs: Tensor, targets: Tensor, l2: float) -> float:
    """The norm of the whole objective's gradient on some samples."""
    return float((logistic_gradient(head.weight.data, inputs, targets, l2) + head.perturbation).norm())
