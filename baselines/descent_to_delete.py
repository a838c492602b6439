"""Descent-to-delete (S. Neel, A. Roth, S. Sharifi-Malvajerdi, ALT 2021), for the logistic head.

From the head of all samples, I steps of projected gradient descent on the retain samples; what is published has
Gaussian noise on it. The objective is m-strongly convex and M-smooth, so I steps of size 2 / (m + M) come nearer to
the minimiser by γ^I, γ = (M - m) / (M + m). Their Theorem 3.1, for a group of k samples and the sum of the losses in
place of the mean:

    σ = 4√2 k L γ^I / (m (1 - γ^I) (√(ln(1/δ) + ε) - √ln(1/δ))).

Features have norm 1 at most, so a sample's loss over C classes is L = √C-Lipschitz, m is the L2 term's strength and M
adds n / 4. The group's size enters the noise: a class needs k times that of a sample, or more steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from unsir_bench import Access, RunContext, UnlearningData, number
from unsir_bench.models.frozen_head import LogisticHead
from unsir_bench.training.convex_heads import logistic_gradient
from unsir_bench.unlearning.solved_heads import HeadSamples, SolvedHeadMethod, head_samples


@dataclass
class DescentToDelete(SolvedHeadMethod):
    """Gradient descent on the retain samples from the original head, then noise that hides where it started.

    Attributes:
        steps: I.
        epsilon, delta: of the guarantee that sets the noise.
    """

    classifiers: ClassVar[tuple[str, ...]] = ("logistic",)
    name: str = "descent_to_delete"
    steps: int = number(300, at_least=1)
    epsilon: float = number(1.0, above=0)
    delta: float = number(1e-5, above=0, below=1)
    requires = frozenset({Access.RETAIN_DATA})

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        found, architecture = self.head_of(model, context)
        head, l2 = cast("LogisticHead", found), architecture.l2
        retain, group = head_samples(model, data.retain, context), data.requested_samples
        classes = len(head.weight)
        noise = noise_std(l2, l2 + len(retain) / 4, math.sqrt(classes), group, self.steps, self.epsilon, self.delta)
        with context.clock.phase("descend"):
            weight = descended(head.weight.data, head.perturbation, retain, l2, self.steps)
            with context.clock.paused():  # for the record alone
                gradient = logistic_gradient(weight, retain.inputs, retain.targets(classes), l2) + head.perturbation
            drawn = torch.randn(weight.shape, generator=context.generator("published noise"), dtype=weight.dtype)
            head.weight.data.copy_(weight + noise * drawn)
        head.to(context.device)
        # The noise is for a start at the minimiser of all samples; what an earlier step published is none.
        promised = context.step == 0
        context.guarantee(
            epsilon=self.epsilon if promised else None, delta=self.delta if promised else None, group_size=group,
            noise_std=noise, residual_norm=float(gradient.norm()), removed_samples=group,
        )  # fmt: skip
        return model


def noise_std(
    strong: float, smooth: float, lipschitz: float, group: int, steps: int, epsilon: float, delta: float
) -> float:
    """The standard deviation of Theorem 3.1.

    Args:
        strong, smooth: m and M of the sum of the losses.
        lipschitz: of one sample's loss.
        group: samples that are removed at once.
        steps: I.
        epsilon, delta: of the guarantee.
    """
    shrunk = ((smooth - strong) / (smooth + strong)) ** steps
    log = math.log(1 / delta)
    privacy = math.sqrt(log + epsilon) - math.sqrt(log)
    return 4 * math.sqrt(2) * group * lipschitz * shrunk / (strong * (1 - shrunk) * privacy)


def descended(weight: Tensor, perturbation: Tensor, retain: HeadSamples, l2: float, steps: int) -> Tensor:
    """The weights (classes, dimensions) after projected gradient descent on the retain samples.

    The ball of the projection holds the minimiser: its objective is at most that of zero weights.
    """
    targets = retain.targets(len(weight))
    rate = 2 / (2 * l2 + len(retain) / 4)
    linear = float(perturbation.norm()) / l2
    radius = linear + math.sqrt(linear**2 + 2 * len(retain) * len(weight) * math.log(2) / l2)
    for _ in range(steps):
        weight = weight - rate * (logistic_gradient(weight, retain.inputs, targets, l2) + perturbation)
        weight = weight * min(1.0, radius / max(float(weight.norm()), 1e-300))
    return weight
