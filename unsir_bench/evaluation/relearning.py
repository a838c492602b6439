"""Relearn time: how many batches bring a model's accuracy on the forgotten classes back, and the anamnesis index.

V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Zero-Shot Machine Unlearning", IEEE TIFS 2023; Tarun et al.,
"Fast Yet Effective Machine Unlearning" (UNSIR), give relearn times in epochs. A model that still holds what it seems to
have forgotten relearns it sooner than one retrained without it.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from unsir_bench.config_fields import number
from unsir_bench.data.batches import DataView
from unsir_bench.errors import Diverged, MetricUnavailable
from unsir_bench.evaluation.metrics.accuracy import accuracy
from unsir_bench.evaluation.metrics.inputs import require_finite
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Variation, fit
from unsir_bench.training.inference import predict
from unsir_bench.training.recipe import Recipe

# Every model relearns under this name, so that all see the same batches and the same dropout.
ROLE = "relearn"
SHARE_OF_RATE = 0.1
# Shares of samples such as 171/200 and 0.95 · 0.9 are equal on paper and differ in the last bit.
ROUNDING = 1e-9


@dataclass
class RelearnConfig:
    """How relearning is measured.

    Units: ``lr`` per step, constant (None: a tenth of the recipe's); ``every`` and ``cap`` in batches of the original's
    recipe; ``tolerance`` as a fraction of the original's accuracy. A cap of 0 leaves relearn time out.
    """

    lr: float | None = number(None, above=0)
    every: int = number(5, at_least=1)
    cap: int = number(100, at_least=0)
    tolerance: float = number(0.05, at_least=0, below=1)

    def check(self, key: str) -> Iterator[str]:
        """Yield what is wrong across fields."""
        if self.every > self.cap > 0:
            yield f"{key}.every={self.every}: must be at most {key}.cap, {self.cap}"


@dataclass(frozen=True)
class RelearnTime:
    """What relearning took.

    Attributes:
        batches: until the accuracy was back, a multiple of ``RelearnConfig.every`` (or the cap); 0 if it was never
            gone; None if it was not back after ``cap`` batches (censored: the time is above the cap, not equal to it).
        epochs: the same in passes over the training samples; None if censored.
        cap: batches after which the training was given up.
        curve: (batches trained, accuracy on the forget samples) of every check, from (0, accuracy before) on.
    """

    batches: int | None
    epochs: float | None
    cap: int
    curve: list[tuple[int, float]]


def relearn(
    model: nn.Module,
    train: DataView,
    forget_test: DataView,
    original_accuracy: float,
    recipe: Recipe,
    settings: RelearnConfig,
    context: RunContext,
) -> RelearnTime:
    """Train a copy of a model on all data until its accuracy on the forget samples is back near the original's.

    Batches, augmentation and dropout depend on the run's seed alone: models that are compared see the same ones. The
    model, the clock, the steps, the curves and the counts of reads stay as they are; the global generators are seeded,
    as by every training.

    Args:
        model: on the context's device.
        train: retain and forget samples of the training split.
        forget_test: forget-class samples of the test split.
        original_accuracy: of the original model on ``forget_test``, a fraction.
        recipe: the original's; its optimiser, momentum, weight decay, clipping, batch size and augmentation are kept,
            while rate, schedule and length are those of ``settings``.
        settings: rate, checks, cap and tolerance.
        context: device, precision, seed.

    Raises:
        MetricUnavailable: there are no samples, the original knew none of the forget samples, or logits or losses are
            NaN or infinite.
    """
    _require_something_to_relearn(train, forget_test, original_accuracy)

    def measure(network: nn.Module) -> float:
        logits = predict(network, forget_test.uncounted(), own, "relearning: forget samples")
        require_finite("logits of the forget samples", logits)
        # Processes that share the batches must stop at the same one.
        return own.fabric.broadcast(accuracy(logits, forget_test.labels))

    with context.clock.paused():
        own = replace(context, log=_unlogged, steps=Counter())
        student = copy.deepcopy(model).requires_grad_()
        watch = _Watch(measure, (1 - settings.tolerance) * original_accuracy - ROUNDING, settings)
        steps_per_epoch = _train(student, train.uncounted(), recipe, settings, watch, own)
    batches = watch.trained if watch.recovered else None
    return RelearnTime(batches, None if batches is None else batches / steps_per_epoch, settings.cap, watch.curve)


class _Ended(Exception):  # noqa: N818 - the way out of a training, not an error
    """The training has told what it was for."""


@dataclass
class _Watch:
    """Checks a network now and then while it trains, and ends the training when it has recovered or time is up."""

    measure: Callable[[nn.Module], float]
    target: float
    settings: RelearnConfig
    trained: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def recovered(self) -> bool:
        """Whether the last check reached the target."""
        return self.curve[-1][1] >= self.target

    def check(self, network: nn.Module) -> None:
        """Measure."""
        self.curve.append((self.trained, self.measure(network)))
        if self.recovered:
            raise _Ended

    def after_step(self, network: nn.Module, targets: Tensor) -> None:
        """Count a batch."""
        self.trained += 1
        at_cap = self.trained == self.settings.cap
        if at_cap or self.trained % self.settings.every == 0:
            self.check(network)
        if at_cap:
            raise _Ended


def _train(
    student: nn.Module, train: DataView, recipe: Recipe, settings: RelearnConfig, watch: _Watch, context: RunContext
) -> int:
    """Train under watch; returns the batches of an epoch."""
    steps_per_epoch = EpochBatches.from_view(train, recipe, context, ROLE).steps
    gentle = replace(
        recipe,
        name=ROLE,
        lr=settings.lr or SHARE_OF_RATE * recipe.lr,
        schedule="constant",
        epochs=math.ceil(settings.cap / steps_per_epoch),
    )
    with suppress(_Ended):
        watch.check(student)
        try:
            fit(
                student, EpochBatches.from_view(train, gentle, context, ROLE), gentle, context, ROLE,
                variation=Variation(after_step=watch.after_step),
            )  # fmt: skip
        except Diverged as error:
            raise MetricUnavailable(f"relearning diverged: {error}") from error
    return steps_per_epoch


def _require_something_to_relearn(train: DataView, forget_test: DataView, original_accuracy: float) -> None:
    if len(train) == 0:
        raise MetricUnavailable("there are no training samples to relearn from")
    if len(forget_test) == 0:
        raise MetricUnavailable("there are no forget-class test samples")
    if not original_accuracy > 0:
        raise MetricUnavailable(
            f"the original model's accuracy on the forget-class test samples is {original_accuracy}: nothing was known "
            "that could be relearned"
        )


def _unlogged(phase: str, step: int, values: dict[str, float]) -> None:
    """The losses of a measurement are no curve of the run."""
