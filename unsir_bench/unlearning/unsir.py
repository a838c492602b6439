"""UNSIR: unlearning by selective impair and repair.

A. K. Tarun, V. S. Chundawat, M. Mandal, M. Kankanhalli, "Fast Yet Effective Machine Unlearning", IEEE TNNLS 2023
(arXiv 2111.08947). With f the original network, c a forget class, D_r_sub a small subset of the retain data:

1. noise   N_c = argmin_N  −CE(f(N), c) + λ · mean_batch Σ_{channel,height,width} N²,  N initialised at random
2. impair  train f on D_r_sub ∪ {(N_c, c)} at a high learning rate
3. repair  train f on D_r_sub alone

No sample of a forget class is touched (zero-glance): the method declares a retain subset and nothing else.

A sub-class (``forget=subclass``) is forgotten against its coarse label c: the noise maximises the error of c, and the
impair step trains it as c, together with the retain subset, in which the siblings (the other sub-classes of c) keep
their label c. The method knows nothing that tells the sub-class from its siblings, so it harms all of c and relies on
the repair to bring the siblings back. What that costs them is the result (``acc_nearest_test``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unsir_bench.config_fields import choice, hashed_if_not_default, not_hashed, number
from unsir_bench.data.batches import Batch, DataView, batch_sizes
from unsir_bench.models.model import frozen
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import LossLog, fit
from unsir_bench.training.recipe import Recipe
from unsir_bench.unlearning.method import Access, UnlearningData, UnlearningMethod

# A forward pass holds at most 512 images, and fewer above 147 pixels a side, whose activations take gigabytes.
FORWARD_IMAGES = 512
FORWARD_BYTES = 128 * 2**20
# Of noise that is learned at a time: itself, its gradient, one more of a pass, and Adam's two moments.
NOISE_BYTES = 2 * 2**30
NOISE_TENSORS = 5
FLOAT_BYTES = 4

Parts = list[tuple[Tensor, Tensor]]


@dataclass
class NoiseConfig:
    """How the error-maximising noise is learned, and how it enters the impair step.

    ``weight_penalty`` is the paper's λ. ``distinct_images`` of the ``batch_size`` learned ones (null: all) are each
    used ``copies`` times per class and epoch of impair (0: none); with ``one_per_channel``, as many as images have
    channels. The first ``kept`` learned images of each class go to the run's folder.
    """

    batch_size: int = number(256, at_least=1)
    steps: int = number(40, at_least=0)
    lr: float = number(0.1, above=0)
    weight_penalty: float = number(0.1, at_least=0)
    init: str = choice("normal", ("normal", "uniform", "zeros"))
    distinct_images: int | None = number(None, at_least=1)
    one_per_channel: bool = hashed_if_not_default(False)
    copies: int = number(20, at_least=0)
    labels: str = choice("own_class", ("own_class", "class_zero"))
    batchnorm: str = choice("eval", ("eval", "train"))
    classes_together: bool = True
    kept: int = not_hashed(number(0, at_least=0))

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.distinct_images is not None and self.distinct_images > self.batch_size:
            yield f"{key}.distinct_images={self.distinct_images}: only {key}.batch_size={self.batch_size} are learned"
        if self.one_per_channel and self.distinct_images is not None:
            yield f"{key}.distinct_images={self.distinct_images}: overrules {key}.one_per_channel=true; set it to null"
        if self.kept > self.batch_size:
            yield f"{key}.kept={self.kept}: only {key}.batch_size={self.batch_size} are learned"
        if self.batchnorm == "train" and self.batch_size == 1:
            yield f"{key}.batch_size=1: batch statistics ({key}.batchnorm=train) need at least 2 images"


@dataclass
class Unsir(UnlearningMethod):
    """UNSIR with every published knob; `conf/method/unsir*.yaml` are its presets.

    The retain subset is ``retain_share`` of each retain class's training images, or ``retain_per_class`` images of each
    where that is None. With several ``rounds`` of impair and repair, the noise of the first is ``kept``, or drawn and
    learned ``anew`` in each, against the network as the round before left it.
    """

    name: str = "unsir"
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    retain_per_class: int = number(1000, at_least=1)
    retain_share: float | None = number(None, above=0, at_most=1)
    retain_selection: str = choice("random", ("random", "first"))
    impair: Recipe = field(default_factory=lambda: Recipe(name="impair", lr=0.02))
    repair: Recipe = field(default_factory=lambda: Recipe(name="repair", lr=0.01))
    rounds: int = number(1, at_least=1)
    noise_of_rounds: str = hashed_if_not_default(choice("kept", ("kept", "anew")))

    @property
    def requires(self) -> frozenset[Access]:
        return frozenset({Access.RETAIN_SUBSET})

    @property
    def needs_classes(self) -> bool:
        return True  # noise is learned for a class

    @property
    def takes_subclasses(self) -> bool:
        return True  # against the coarse label

    def overruled(self) -> Sequence[str]:
        return () if self.retain_share is None else ("retain_per_class",)

    def unlearn(self, model: nn.Module, data: UnlearningData, context: RunContext) -> nn.Module:
        retain = data.retain_subset(self.retain_per_class, self.retain_selection, self.retain_share)
        for round_index in range(self.rounds):
            if round_index == 0 or self.noise_of_rounds == "anew":
                mixture = self._mixture(model, round_index, context)
            with context.clock.phase("impair"):
                batches = mixed_batches(
                    retain, mixture, self.noise.copies, self.impair, context, f"impair {round_index}"
                )
                fit(model, batches, self.impair, context, "impair")
            context.stage("impair", model)
            with context.clock.phase("repair"):
                batches = EpochBatches.from_view(retain, self.repair, context, f"repair {round_index}")
                fit(model, batches, self.repair, context, "repair")
        return model

    def _mixture(self, model: nn.Module, round_index: int, context: RunContext) -> Batch:
        """The noise samples of a round; only those of the first go to the run's folder."""
        with context.clock.phase("noise"):
            noise = learn_noise(model, self.noise, context, round_index)
        if self.noise.kept and round_index == 0:
            keep_noise(noise, self.noise, context)
        return noise_samples(noise, self.noise, context)


def _noise_classes(context: RunContext) -> tuple[int, ...]:
    """The labels that noise is learned against."""
    return context.forget_classes or context.forget_superclasses


def learn_noise(model: nn.Module, config: NoiseConfig, context: RunContext, round_index: int = 0) -> Tensor:
    """Error-maximising noise for every forget class against the frozen ``model`` (the paper's equation for N).

    Args:
        model: its parameters receive no gradient; with ``config.batchnorm=train`` its running statistics drift.
        config: steps, rate, penalty and start.
        context: forget classes, image shape, seeds.
        round_index: each round draws its own start.

    Returns:
        float32 of shape (forget classes, batch_size, channels, height, width), in the space of normalised images.

    Raises:
        Diverged: the objective became NaN or infinite.
    """
    classes = torch.tensor(_noise_classes(context), device=context.device)
    noise = _initial_noise(config, context, round_index)
    groups = _groups(noise, classes, config)
    losses = LossLog("noise", context.steps["noise"], context)
    context.seed_everything("noise", *([round_index] if round_index else []), "dropout")
    progress = context.progress.task("noise", config.steps * sum(map(len, groups)), "steps")
    with frozen(model, training=config.batchnorm == "train"), progress as task:
        for group in groups:
            for loss in _learn_in_place(model, group, config, context):
                if loss is not None:
                    losses.add(loss)
                task.advance()
        losses.flush()
    context.steps["noise"] += config.steps * len(groups)
    return noise


def _groups(noise: Tensor, classes: Tensor, config: NoiseConfig) -> list[Parts]:
    """Noise and classes by what is learned together, and within it by what is in memory at a time."""
    together = len(classes) if config.classes_together else 1
    at_once = _classes_at_once(together, config, noise.shape[2:])
    return [
        list(zip(images.split(at_once), labels.split(at_once), strict=True))
        for images, labels in zip(noise.split(together), classes.split(together), strict=True)
    ]


def _classes_at_once(together: int, config: NoiseConfig, image_shape: Sequence[int]) -> int:
    """How many of the classes learned together are in memory at a time.

    Fewer than all only in eval mode, where each class's noise is as if it were learned alone, and then in whole passes,
    which so hold the same images as if all classes were there.
    """
    of_a_class = NOISE_TENSORS * FLOAT_BYTES * config.batch_size * math.prod(image_shape)
    fitting, per_pass = NOISE_BYTES // of_a_class, _classes_per_pass(config, image_shape)
    if together <= fitting or config.batchnorm == "train":
        return together
    return max(1, fitting - fitting % per_pass)


def _classes_per_pass(config: NoiseConfig, image_shape: Sequence[int]) -> int:
    """How many classes' images pass forward together; with batch statistics one, so that classes never mix."""
    if config.batchnorm == "train":
        return 1
    images = min(FORWARD_IMAGES, FORWARD_BYTES // (FLOAT_BYTES * math.prod(image_shape)))
    return max(1, images // config.batch_size)


def _learn_in_place(
    model: nn.Module, group: Parts, config: NoiseConfig, context: RunContext
) -> Iterator[Tensor | None]:
    """Learn the noise of a group of classes, one part after another; a copy would take as much memory again.

    Yields:
        After each step, the mean over the group's classes of the objective; None before the last part.
    """
    totals = torch.zeros(config.steps, device=context.device)
    count = sum(len(classes) for _, classes in group)
    for place, (noise, classes) in enumerate(group, start=1):
        context.reset_gradient_scaler()
        learned = noise.detach().requires_grad_()
        optimizer: Any = context.fabric.setup_optimizers(torch.optim.Adam([learned], lr=config.lr))
        for step in range(config.steps):
            totals[step] += _noise_step(model, learned, classes, config, optimizer, context)
            yield totals[step] / count if place == len(group) else None


def _noise_step(
    model: nn.Module,
    noise: Tensor,
    classes: Tensor,
    config: NoiseConfig,
    optimizer: torch.optim.Optimizer,
    context: RunContext,
) -> Tensor:
    """One step on the noise of several classes; returns the sum over classes of the objective.

    The classes' objectives are summed, so that each image's gradient is as if its class were learned alone. Images pass
    in pieces to bound memory; with batch statistics a piece is one class, so that classes never mix.
    """
    together = _classes_per_pass(config, noise.shape[2:])
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=noise.device)
    for piece, labels in zip(noise.split(together), classes.split(together), strict=True):
        logits = context.forward(model, piece.flatten(0, 1).contiguous(memory_format=context.layout))
        wrongness = -F.cross_entropy(logits, labels.repeat_interleave(config.batch_size), reduction="sum")
        objective = wrongness / config.batch_size + noise_penalty(piece, config.weight_penalty)
        context.fabric.backward(objective)
        total += objective.detach()
    optimizer.step()
    return total


def noise_penalty(noise: Tensor, weight: float) -> Tensor:
    """λ · mean over each class's batch of Σ N², summed over classes, of (classes, batch, C, H, W)."""
    return weight * noise.square().sum(dim=(2, 3, 4)).mean(dim=1).sum()


def _initial_noise(config: NoiseConfig, context: RunContext, round_index: int = 0) -> Tensor:
    shape = (len(_noise_classes(context)), config.batch_size, *context.image_shape)
    draws = context.generator("noise", round_index) if round_index else context.generator("noise")
    if config.init == "zeros":
        return torch.zeros(shape, device=context.device)
    start = torch.randn(shape, generator=draws) if config.init == "normal" else torch.rand(shape, generator=draws)
    return start.to(context.device)


def keep_noise(noise: Tensor, config: NoiseConfig, context: RunContext) -> None:
    """Hand the first ``config.kept`` noise images of each class to the run's folder, outside the clock.

    The file ``noise`` holds, image by image, class by class: ``learned`` and ``initial``, float32 (images, channels,
    height, width) in the space of normalised images; ``classes``, the class index that each was learned for;
    ``images``, its place among that class's. In a sequence the classes of every step follow one another.

    Args:
        noise: as ``learn_noise`` returns it.
        config: that of ``learn_noise``.
        context: that of ``learn_noise``, which draws the same start again.
    """
    with context.clock.paused():
        learned, initial = noise[:, : config.kept], _initial_noise(config, context)[:, : config.kept]
        classes, images = learned.shape[:2]
        context.keep(
            "noise",
            {
                "learned": learned.flatten(0, 1),
                "initial": initial.flatten(0, 1),
                "classes": torch.tensor(_noise_classes(context)).repeat_interleave(images),
                "images": torch.arange(images).repeat(classes),
            },
        )


def noise_samples(noise: Tensor, config: NoiseConfig, context: RunContext) -> Batch:
    """The noise as labelled samples for the impair step, each image once.

    Returns:
        Images (samples, channels, height, width) and labels (samples,): the class each was learned for, or, as the
        published notebook has it, 0 for all (``config.labels=class_zero``).
    """
    used = noise[:, : noise.shape[2] if config.one_per_channel else config.distinct_images]
    labels = torch.tensor(_noise_classes(context), device=noise.device).repeat_interleave(used.shape[1])
    return used.flatten(0, 1), torch.zeros_like(labels) if config.labels == "class_zero" else labels


def mixed_batches(
    retain: DataView, noise: Batch, copies: int, recipe: Recipe, context: RunContext, role: str
) -> EpochBatches:
    """Shuffled batches of the retain subset and ``copies`` of each noise sample together (the impair step's data)."""
    noise_images, noise_labels = noise
    noise_count = len(noise_labels) * copies
    total = noise_count + len(retain)

    def of_epoch(epoch: int) -> Iterator[Batch]:
        context.seed_everything(role, "dropout", epoch)
        order = context.generator(role, "order", epoch)
        for piece in torch.randperm(total, generator=order).split(batch_sizes(total, recipe.batch_size)):
            from_noise = piece[piece < noise_count].remainder(len(noise_labels)).to(context.device)
            images, labels = retain.fetch(
                piece[piece >= noise_count] - noise_count, augment=recipe.augment.in_epoch(epoch), order=order
            )
            mixed = torch.cat([noise_images[from_noise], images]).contiguous(memory_format=context.layout)
            yield mixed, torch.cat([noise_labels[from_noise], labels])

    return EpochBatches(of_epoch, total, recipe.batch_size)
