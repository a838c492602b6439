"""What the rules of ``official_rules_older`` and ``official_rules_newer`` work on, and steps they share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.training.context import RunContext
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.relabelling import random_labels

EPOCHS = 3
WHOLE = 1000  # samples: more than there are


class Batch(NamedTuple):
    """float64 images (samples, channels, height, width) and their labels (samples,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Scene:
    """What a rule works on: a float64 network, both kinds of samples, and the run's draws."""

    start: nn.Module
    retain: Batch
    forget: Batch
    context: RunContext
    joined: Tensor  # where each sample of both kinds together, in the split's order, stands in ``everything``

    def order(self, role: str, epoch: int, count: int) -> Tensor:
        """In which order our methods take ``count`` samples."""
        return torch.randperm(count, generator=self.context.generator(role, "order", epoch))

    def network(self) -> nn.Module:
        return copy.deepcopy(self.start).train()

    def teacher(self) -> nn.Module:
        return copy.deepcopy(self.start).eval().requires_grad_(False)

    def wrong_labels(self, epoch: int) -> Tensor:
        """The random labels, of all classes, that our methods draw for an epoch."""
        return random_labels(self.forget.labels, "all", self.context, "random labels", epoch)

    @property
    def everything(self) -> Batch:
        return Batch(*(torch.cat(pair) for pair in zip(self.retain, self.forget, strict=True)))


Rule = Callable[[Scene], nn.Module]


def sgd(network: nn.Module, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr, momentum=momentum, weight_decay=weight_decay)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def recipe(lr: float, **changes: object) -> Recipe:
    """SGD with momentum for ``EPOCHS`` epochs of whole batches."""
    settings = {"optimizer": "sgd", "lr": lr, "epochs": EPOCHS, "batch_size": WHOLE, **changes}
    return Recipe(**settings)  # type: ignore[arg-type]


def squared_gradients(network: nn.Module, batch: Batch) -> list[Tensor]:
    """Of the mean cross-entropy of one batch, in eval mode."""
    loss = F.cross_entropy(network.eval()(batch.images), batch.labels)
    return [grad.square() for grad in torch.autograd.grad(loss, list(network.parameters()))]
