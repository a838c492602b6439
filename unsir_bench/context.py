"""What a run hands to training and to methods: device, seeds, clock, progress and the log of curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from unsir_bench.clock import Stopwatch
from unsir_bench.models.model import ImageShape, ModelConfig
from unsir_bench.progress import Progress
from unsir_bench.seeding import generator, seed_everything

if TYPE_CHECKING:
    from unsir_bench.data.batches import DataView

CurveLog = Callable[[str, int, dict[str, float]], None]


class ScratchTrainer(Protocol):
    """Trains a network from its initial weights on a view, with the run's own recipe, or finds one so trained."""

    def __call__(self, view: DataView, context: RunContext) -> nn.Module:
        """A trained network on the device; its seconds, steps and reads are booked on ``context`` and ``view``."""
        ...


@dataclass
class RunContext:
    """The surroundings of one run.

    Attributes:
        fabric: Lightning Fabric: device, precision, backward.
        seed: the run's base seed; take generators from ``generator(role)``.
        architecture: the model's config node: initial weights, head, parameter groups.
        image_shape: (channels, height, width).
        num_classes: of the data set, forgotten ones included.
        forget_classes: indices of the classes to forget; no sample of them is thereby seen.
        log: called with (phase, step, values) for each point of a curve.
        scratch_trainer: see ``ScratchTrainer``.
        compiled: whether training compiles the network.
        channels_last: whether networks and images are laid out with the channels innermost.
        steps: optimiser steps by phase.
        credited_peak_bytes: peak memory of work that was measured elsewhere (a stored training).
    """

    fabric: Fabric
    seed: int
    architecture: ModelConfig
    image_shape: ImageShape
    num_classes: int
    forget_classes: tuple[int, ...]
    progress: Progress
    log: CurveLog
    scratch_trainer: ScratchTrainer | None = None
    compiled: bool = False
    channels_last: bool = False
    clock: Stopwatch = field(init=False)
    steps: Counter[str] = field(default_factory=Counter)
    credited_peak_bytes: int = 0

    def __post_init__(self) -> None:
        self.clock = Stopwatch(self.device)

    @property
    def device(self) -> torch.device:
        """The device of the run."""
        return self.fabric.device

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of image batches and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def generator(self, *role: str | int) -> torch.Generator:
        """A CPU generator that depends on the run's seed and ``role`` only."""
        return generator(self.seed, *role)

    def seed_everything(self, *role: str | int) -> None:
        """Seed the global generators (dropout draws from them) for ``role``."""
        seed_everything(self.seed, *role)

    def train_from_scratch(self, view: DataView) -> nn.Module:
        """The network that the run's recipe makes of ``view`` alone, from the same initial weights as the original."""
        if self.scratch_trainer is None:
            raise RuntimeError("this context has no trainer from scratch")
        return self.scratch_trainer(view, self)
