"""How a network is trained: optimiser, learning-rate schedule, length, clipping, augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from unsir_bench.config_fields import choice, hashed_if_not_default, not_hashed, number
from unsir_bench.data.augmentation import Augmentation
from unsir_bench.training.context import RunContext
from unsir_bench.training.privacy import Privacy, missing_package

PerStepScheduler = lr_scheduler.OneCycleLR | lr_scheduler.CosineAnnealingLR | lr_scheduler.LambdaLR
TRIANGLE_START = 0.2  # share of the peak rate at which a triangular schedule begins


@dataclass
class Recipe:
    """How a network is trained: optimiser, schedule, length, clipping and augmentation.

    Units: ``lr`` per step, ``weight_decay`` per step, ``batch_size`` in samples, ``epochs`` in passes over the view.
    ``plateau_watch`` names the loss that the plateau schedule reads after each epoch: of the training batches, of
    ``held_out_share`` of the training images (which are then not trained on), or of the test images (as the authors'
    notebook does; the test data then steer the training). The ``steps`` schedule multiplies the rate by
    ``decay_factor`` after each of ``decay_epochs`` epochs, counted from 1. The ``cosine`` schedule rises linearly over
    ``cosine_warmup_share`` of the steps before it falls (Goyal et al. 2017; usual for transformers).
    ``backbone_lr_scale`` is what all layers below the head have of each rate; None: the model's. With ``privacy``
    an epoch has ``1 / sample_rate`` steps, and ``batch_size`` is what the sum of a step's gradients is divided by.
    """

    name: str = not_hashed("custom")
    epochs: int = number(1, at_least=0)
    batch_size: int = number(256, at_least=1)
    optimizer: str = choice("adam", ("adam", "adamw", "sgd"))
    lr: float = number(0.01, above=0, search=(1e-5, 0.5))
    momentum: float = number(0.9, at_least=0, below=1)
    nesterov: bool = False
    weight_decay: float = number(0.0, at_least=0)
    schedule: str = choice("constant", ("constant", "plateau", "onecycle", "triangular", "cosine", "steps"))
    plateau_factor: float = number(0.5, above=0, below=1)
    plateau_patience: int = number(3, at_least=0)
    plateau_watch: str = hashed_if_not_default(choice("train", ("train", "held_out", "test")))
    held_out_share: float = hashed_if_not_default(number(0.02, above=0, below=1))
    decay_epochs: list[int] = hashed_if_not_default(field(default_factory=list))  # noqa: RUF009 - a field
    decay_factor: float = hashed_if_not_default(number(0.1, above=0, below=1))
    warmup_share: float = number(0.3, above=0, below=1)
    cosine_warmup_share: float = hashed_if_not_default(number(0.0, at_least=0, below=1))
    label_smoothing: float = number(0.0, at_least=0, below=1)
    clip_value: float | None = number(None, above=0)
    clip_norm: float | None = number(None, above=0)
    augment: Augmentation = field(default_factory=Augmentation)
    privacy: Privacy | None = hashed_if_not_default(None)  # noqa: RUF009 - a field
    backbone_lr_scale: float | None = hashed_if_not_default(number(None, above=0))

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            yield f"{key}.nesterov=true: needs {key}.optimizer=sgd with {key}.momentum above 0"
        if self.clip_value is not None and self.clip_norm is not None:
            yield f"{key}.clip_norm={self.clip_norm}: not beside {key}.clip_value={self.clip_value}; set one to null"
        if bool(self.decay_epochs) is not (self.schedule == "steps") or min(self.decay_epochs, default=1) < 1:
            wanted = "epochs from 1 on" if self.schedule == "steps" else f"[] beside {key}.schedule={self.schedule}"
            yield f"{key}.decay_epochs={self.decay_epochs}: must be {wanted}"
        if self.cosine_warmup_share and self.schedule != "cosine":
            yield f"{key}.cosine_warmup_share={self.cosine_warmup_share}: needs {key}.schedule=cosine"
        if self.plateau_watch != "train" and key != "train":
            yield f"{key}.plateau_watch={self.plateau_watch}: only train.plateau_watch may be; set this one to train"

        if self.privacy is not None:
            yield from self._unlike_private_training(key)

    def _unlike_private_training(self, key: str) -> Iterator[str]:
        if key != "train":
            yield f"{key}.privacy: only train.privacy may be set; set this one to null"
        if (missing := missing_package()) is not None:
            yield f"{key}.privacy: {missing}"
        if self.schedule == "plateau":
            yield f"{key}.schedule=plateau: reads a loss, which {key}.privacy does not cover; take another schedule"
        if self.clip_value is not None or self.clip_norm is not None:
            yield f"{key}.clip_value, {key}.clip_norm: {key}.privacy clips each sample; set both to null"

    @property
    def watches(self) -> str:
        """What the schedule reads after each epoch: ``train``, ``held_out``, ``test`` or ``nothing``."""
        return self.plateau_watch if self.schedule == "plateau" else "nothing"


def no_label_smoothing(recipe: Recipe, key: str, why: str) -> Iterator[str]:
    """Yield a complaint if a recipe smooths labels, for methods whose objective reads none."""
    if recipe.label_smoothing:
        yield f"{key}.label_smoothing={recipe.label_smoothing}: {why}; leave it at 0"


def optimizer_for(model: nn.Module, recipe: Recipe, context: RunContext) -> torch.optim.Optimizer:
    """The recipe's optimiser, with the backbone's learning rate scaled as the recipe says, or else the model's config.

    Its steps are fused where gradients are not scaled: a fused optimiser unscales them itself, after they are clipped.
    """
    architecture = context.architecture
    if recipe.backbone_lr_scale is not None:
        architecture = replace(architecture, backbone_lr_scale=recipe.backbone_lr_scale)
    groups = architecture.parameter_groups(model, recipe.lr)
    fused = getattr(context.fabric.strategy.precision, "scaler", None) is None
    shared: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": fused}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, **shared)


class Schedule:
    """The recipe's learning-rate schedule, stepped by batch or by epoch as its kind needs."""

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int):
        self._by_step: PerStepScheduler | None = None
        self._by_epoch: lr_scheduler.MultiStepLR | None = None
        self._plateau: lr_scheduler.ReduceLROnPlateau | None = None
        if recipe.schedule == "onecycle":
            peaks = [group["lr"] for group in optimizer.param_groups]
            # torch divides by zero where the rise or the fall would take no step.
            total = max(steps, 3)
            rise = min(max(recipe.warmup_share, 1.5 / total), 1 - 0.5 / total)
            self._by_step = lr_scheduler.OneCycleLR(
                optimizer, peaks, total_steps=total, pct_start=rise, cycle_momentum=False
            )
        elif recipe.schedule == "triangular":
            self._by_step = lr_scheduler.LambdaLR(optimizer, partial(triangle, total=steps, rise=recipe.warmup_share))
        elif recipe.schedule == "cosine" and recipe.cosine_warmup_share:
            rise = max(1, round(recipe.cosine_warmup_share * steps))
            self._by_step = lr_scheduler.LambdaLR(optimizer, partial(warm_cosine, total=steps, rise=rise))
        elif recipe.schedule == "cosine":
            self._by_step = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
        elif recipe.schedule == "steps":
            self._by_epoch = lr_scheduler.MultiStepLR(optimizer, recipe.decay_epochs, recipe.decay_factor)
        elif recipe.schedule == "plateau":
            self._plateau = lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience
            )

    def after_step(self) -> None:
        """Advance a schedule that counts batches."""
        if self._by_step is not None:
            self._by_step.step()

    def after_epoch(self, watched_loss: float) -> None:
        """Advance a schedule that counts epochs or watches a loss."""
        if self._by_epoch is not None:
            self._by_epoch.step()
        if self._plateau is not None:
            self._plateau.step(watched_loss)

    def state_dict(self) -> dict[str, Any]:
        """State to resume from; empty for a constant rate."""
        inner = self._by_step or self._by_epoch or self._plateau
        return inner.state_dict() if inner is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume."""
        inner = self._by_step or self._by_epoch or self._plateau
        if inner is not None:
            inner.load_state_dict(state)


def triangle(step: int, total: int, rise: float) -> float:
    """The share of the peak rate at a step of a triangular schedule: linearly up, then linearly down to 0.

    Args:
        step: counts from 0; from ``total`` on the rate is 0.
        total: steps of the training.
        rise: share of them before the peak.
    """
    done = step / max(total, 1)
    if done < rise:
        return TRIANGLE_START + (1 - TRIANGLE_START) * done / rise
    return max(0.0, (1 - done) / (1 - rise))


def warm_cosine(step: int, total: int, rise: int) -> float:
    """The share of the peak rate at a step of a cosine schedule with warm-up.

    Args:
        step: counts from 0; the peak is at ``rise``, and from ``total`` on the rate is 0.
        total: steps of the training.
        rise: steps before the peak, in which the rate rises linearly from ``1 / (rise + 1)``.
    """
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(total - rise, 1))))
