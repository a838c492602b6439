"""The one training loop: original, retrain, impair, repair and every baseline that trains go through ``fit``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.errors import Diverged
from unsir_bench.runtime.clock import Instant
from unsir_bench.runtime.progress import Task
from unsir_bench.runtime.stops import stops
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.privacy import private_steps, set_sample_gradients
from unsir_bench.training.recipe import Recipe, Schedule, optimizer_for
from unsir_bench.training.warm_up import compile_for

LOSSES_PER_FLUSH = 20
Objective = Callable[[Any, Tensor, Tensor], Tensor]
WatchedLoss = Callable[[nn.Module], float]


def _nothing(*_: Any) -> None:
    """No-op hook."""


@dataclass(frozen=True)
class Variation:
    """How a training differs from plain supervised training by cross-entropy.

    Attributes:
        objective: called with (network, images, targets); returns the mean over these samples of a loss of each. None:
            cross-entropy with the recipe's label smoothing. The network must be called last; of two calls, batch
            normalisation sees each alone.
        before_epoch: called with (network, epoch) when the network is in train mode (to freeze batch normalisation,
            for example).
        after_step: called with (network, targets of the whole batch) after each optimiser step.
        kinds: into how many parts of equal size, one behind the other in the batch, the objective divides it for calls
            of their own. On several devices each process has 2 samples or more of each part, or the whole batch.
    """

    objective: Objective | None = None
    before_epoch: Callable[[nn.Module, int], None] = _nothing
    after_step: Callable[[nn.Module, Tensor], None] = _nothing
    kinds: int = 1


def freeze_batchnorm(model: nn.Module, epoch: int = 0) -> None:
    """Put only batch normalisation in eval mode: stored statistics are used and not changed."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def with_batchnorm(*, frozen: bool) -> Callable[[nn.Module, int], None]:
    """A ``Variation.before_epoch`` that freezes batch-normalisation statistics, or a no-op hook."""
    return freeze_batchnorm if frozen else _nothing


@dataclass
class FitState:
    """The progress of a training.

    Attributes:
        epoch: epochs finished.
        steps: optimiser steps taken.
        samples: samples read.
        seconds: spent in training alone, device synchronised.
        timed_on: the timing conditions of these seconds (``unsir_bench.runtime.timing``), each once; several if the
            training was resumed elsewhere.
        stops: how often the process was stopped in an epoch; the seconds hold these times.
    """

    epoch: int = 0
    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    timed_on: list[dict[str, Any]] = field(default_factory=list)
    stops: int = 0


class Checkpoint(Protocol):
    """Saves the state of a training at the end of each epoch."""

    def load(self) -> dict[str, Any] | None:
        """The state last saved, or None."""
        ...

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state last saved."""
        ...


class LossLog:
    """Collects losses on the device and reads them in groups, so that a GPU need not wait at each step."""

    def __init__(self, phase: str, first_step: int, context: RunContext):
        self._phase, self._context = phase, context
        self._step = first_step
        self._waiting: list[Tensor] = []
        self._sum, self._count = 0.0, 0

    def add(self, loss: Tensor) -> None:
        """Note the loss of one step.

        Raises:
            Diverged: a loss is NaN or infinite.
        """
        self._waiting.append(loss.detach())
        if len(self._waiting) >= LOSSES_PER_FLUSH:
            self.flush()

    def flush(self) -> None:
        """Read and log what has been collected."""
        values = torch.stack(self._waiting).float().tolist() if self._waiting else []
        self._waiting.clear()
        for value in values:
            self._step += 1
            if not math.isfinite(value):
                raise Diverged(self._phase, self._step, value)
            self._context.log(self._phase, self._step, {"loss": value})
            self._sum, self._count = self._sum + value, self._count + 1

    @property
    def mean(self) -> float:
        """Mean of the losses read so far."""
        return self._sum / max(self._count, 1)


def fit(
    model: nn.Module,
    batches: EpochBatches,
    recipe: Recipe,
    context: RunContext,
    phase: str,
    checkpoint: Checkpoint | None = None,
    variation: Variation | None = None,
    watched_loss: WatchedLoss | None = None,
) -> FitState:
    """Train ``model`` in place, by cross-entropy unless ``variation`` says otherwise.

    Args:
        model: on the context's device; left in train mode.
        batches: of each epoch.
        recipe: optimiser, schedule, epochs, clipping.
        context: device, seeds, log.
        phase: names the curve and the steps.
        checkpoint: where to resume from and to save to at the end of each epoch.
        variation: another objective, or work before an epoch or after a step.
        watched_loss: of the network after each epoch, for a plateau schedule; None: the mean loss of the epoch's steps.

    Returns:
        What was done, a resumed part included.

    Raises:
        Diverged: a loss became NaN or infinite.
    """
    precision = context.fabric.strategy.precision
    precision.convert_module(model)  # before a saved state is read, which is of the converted weights
    context.reset_gradient_scaler()
    plain = optimizer_for(model, recipe, context)
    total_steps = batches.steps_in(recipe.epochs)
    schedule = Schedule(plain, recipe, total_steps)
    parts = {"model": model, "optimizer": plain, "schedule": schedule, "precision": precision}
    state = _resumed(checkpoint.load() if checkpoint is not None else None, parts)
    if (here := context.timing_conditions()) not in state.timed_on:
        state.timed_on.append(here)
    with (
        private_steps(model, plain, recipe.privacy, recipe.batch_size) as stepping,
        context.progress.task(phase, total_steps, earlier=state.steps) as task,
    ):
        trained, optimizer = context.fabric.setup(model, stepping, move_to_device=False)
        session = _Session(
            trained, model, optimizer, schedule, recipe, context, phase, state, variation or Variation(), watched_loss,
            context.compiled,
        )  # fmt: skip
        while state.epoch < recipe.epochs:
            session.epoch(batches, task)
            if checkpoint is not None and context.fabric.is_global_zero:
                checkpoint.save(_snapshot(state, parts))
    _share_buffers(model, context)
    context.steps[phase] += state.steps
    return state


def _share_buffers(model: nn.Module, context: RunContext) -> None:
    """Copy the first process's buffers to all: batch statistics come from each process's own samples."""
    if context.fabric.world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)


@dataclass
class _Session:
    """What the steps of one ``fit`` share; on several devices each process has its own."""

    model: Any
    bare_model: nn.Module
    optimizer: Any
    schedule: Schedule
    recipe: Recipe
    context: RunContext
    phase: str
    state: FitState
    variation: Variation
    watched_loss: WatchedLoss | None
    to_compile: bool = False

    def epoch(self, batches: EpochBatches, task: Task) -> None:
        """Train one epoch and add its seconds to the state."""
        started, stopped = Instant(self.context.device), stops()
        losses = LossLog(self.phase, self.context.steps[self.phase] + self.state.steps, self.context)
        self.model.train()
        self.variation.before_epoch(self.bare_model, self.state.epoch)
        if self.to_compile:  # not before: a module that is frozen computes something else
            self.state.seconds -= compile_for(self.bare_model, batches.sizes, self.context)
            self.to_compile = False
        for images, targets in batches.batches(self.state.epoch):
            losses.add(self._step(images, targets))
            self.variation.after_step(self.bare_model, targets)
            self.state.steps += 1
            self.state.samples += len(targets)
            task.advance()
        losses.flush()
        self.schedule.after_epoch(losses.mean if self.watched_loss is None else self._read_watched_loss())
        self.state.epoch += 1
        self.state.seconds += Instant(self.context.device).seconds_since(started)
        self.state.stops += stops() - stopped

    def _read_watched_loss(self) -> float:
        """The first process's watched loss, for all: batch statistics differ between processes."""
        assert self.watched_loss is not None  # noqa: S101 - asked for only where it is given
        return float(self.context.fabric.broadcast(self.watched_loss(self.bare_model)))

    def _step(self, images: Tensor, targets: Tensor) -> Tensor:
        """One optimiser step; returns the loss of the whole batch."""
        fabric = self.context.fabric
        own = self._own_share(len(targets))
        # Processes average their gradients: the factor makes that the mean over the whole batch, whatever the shares.
        factor = fabric.world_size * len(targets[own]) / len(targets) if own != slice(None) else 1.0
        self.optimizer.zero_grad(set_to_none=True)
        if self.recipe.privacy is not None:
            loss = set_sample_gradients(self.bare_model, images, targets, self.recipe.label_smoothing)
        else:
            loss = factor * self._objective(images[own], targets[own])
            fabric.backward(loss)
        self._clip()
        self.optimizer.step()
        self.schedule.after_step()
        return loss.detach() if fabric.world_size == 1 else fabric.all_reduce(loss.detach())  # type: ignore[return-value]

    def _objective(self, images: Tensor, targets: Tensor) -> Tensor:
        if self.variation.objective is not None:
            return self.variation.objective(self.model, images, targets)
        return F.cross_entropy(self.model(images), targets, label_smoothing=self.recipe.label_smoothing)

    def _own_share(self, batch: int) -> slice:
        """This process's part of a batch; the whole batch if it has fewer than 2 samples of a kind per process."""
        fabric = self.context.fabric
        if fabric.world_size == 1 or batch // self.variation.kinds < 2 * fabric.world_size:
            return slice(None)
        return slice(fabric.global_rank, None, fabric.world_size)

    def _clip(self) -> None:
        fabric, recipe = self.context.fabric, self.recipe
        if recipe.clip_value is not None:
            fabric.clip_gradients(self.model, self.optimizer, clip_val=recipe.clip_value)
        if recipe.clip_norm is not None:
            # An infinite gradient is no error here: a scaler skips its step, else the loss tells.
            fabric.clip_gradients(self.model, self.optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)


def _snapshot(state: FitState, parts: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds: the progress, and the state of each part of the training."""
    return {"progress": asdict(state), **{name: part.state_dict() for name, part in parts.items()}}


def _resumed(saved: Mapping[str, Any] | None, parts: Mapping[str, Any]) -> FitState:
    """The progress to go on from, the state of each part restored; a new training without a saved state."""
    if saved is None:
        return FitState()
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return FitState(**saved["progress"])
