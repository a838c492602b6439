"""UNSIR written plainly, in the order of the authors' published notebook: easy to follow, and slow.

Weights keep their gradients while noise is learned, classes follow one another, samples are a Python list of tensors
behind a DataLoader, memory is contiguous, the loss is read at each step. Of the notebook's oddities it has none: each
class keeps its label and all its learned images, and the network is in eval mode while noise is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

Sample = tuple[Tensor, int]


@dataclass
class UnsirStepByStep:
    """Settings as in the notebook; ``losses`` collects the loss of every step.

    What is drawn at random can be given instead: ``start``, by class the images (batch, channels, height, width) from
    which noise is learned, and ``batches``, for impair and for repair the places in the samples of each batch. The
    samples of impair are the retain subset and then, class by class, the noise images ``copies`` times over.
    """

    batch_size: int = 256
    noise_steps: int = 40
    noise_lr: float = 0.1
    weight_penalty: float = 0.1
    copies: int = 20
    impair_lr: float = 0.02
    repair_lr: float = 0.01
    losses: list[float] = field(default_factory=list)
    start: Mapping[int, Tensor] = field(default_factory=dict)
    batches: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)

    def unlearn(self, model: nn.Module, retain: Sequence[Sample], classes: Sequence[int]) -> nn.Module:
        """Forget ``classes``, given the retain subset as normalised images (channels, height, width) with labels."""
        model.eval()
        noise = {label: self._noise(model, retain[0][0].shape, label) for label in classes}
        samples = list(retain)
        for label, images in noise.items():
            for _ in range(self.copies):
                samples += [(image, label) for image in images]
        self._train(model, samples, self.impair_lr, self.batches.get("impair"))
        self._train(model, retain, self.repair_lr, self.batches.get("repair"))
        return model

    def _noise(self, model: nn.Module, shape: torch.Size, label: int) -> Tensor:
        start = self.start.get(label)
        noise = nn.Parameter(torch.randn(self.batch_size, *shape) if start is None else start.clone())
        optimizer = torch.optim.Adam([noise], lr=self.noise_lr)
        labels = torch.full((self.batch_size,), label)
        for _ in range(self.noise_steps):
            loss = -F.cross_entropy(model(noise), labels)
            loss = loss + self.weight_penalty * torch.mean(torch.sum(torch.square(noise), [1, 2, 3]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses.append(loss.item())
        return noise.detach().clone()

    def _train(
        self, model: nn.Module, samples: Sequence[Sample], lr: float, batches: Sequence[Sequence[int]] | None
    ) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        model.train()
        drawn: Any = {"batch_size": self.batch_size, "shuffle": True} if batches is None else {"batch_sampler": batches}
        for images, labels in DataLoader(list(samples), **drawn):  # type: ignore[arg-type]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            self.losses.append(loss.item())
