"""What a run's context offers that is backed by the store, as training and methods see it.

The references implement these protocols, so that neither training nor a method knows the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from unsir_bench.data.batches import DataView
from unsir_bench.training.context import RunContext

CurveLog = Callable[[str, int, dict[str, float]], None]


class ScratchTrainer(Protocol):
    """Trains a network from its initial weights on a view with the run's recipe, or finds it in the store."""

    def __call__(self, view: DataView, context: RunContext) -> nn.Module:
        """The trained network on the device; its seconds and steps count in ``context``, its reads in ``view``."""
        ...


class Precomputation(Protocol):
    """Keeps what a method computes before it forgets, so that all runs together compute it once."""

    def __call__(
        self,
        kind: str,
        settings: Mapping[str, Any],
        model: nn.Module,
        view: DataView,
        compute: Callable[[DataView], dict[str, Tensor]],
        context: RunContext,
    ) -> dict[str, Tensor]:
        """The tensors ``compute(view)`` returns, computed now or read from the store.

        Either way the seconds that the computation took count in phase ``kind``, and its peak memory in the run's.

        Args:
            kind: names the computation and its phase.
            settings: plain values: all that decides the result besides the model's weights and the samples.
            model: the network the result is computed from.
            view: the samples the result is computed from; each counts as read once.
            compute: called if the store has no result.
            context: device, seed, clock.

        Returns:
            Tensors by name, on the context's device.
        """
        ...


class BackboneFeatures(Protocol):
    """Features of the training split by the frozen backbone of ``model=frozen_head``, computed once for all runs."""

    def __call__(self, model: nn.Module, view: DataView, context: RunContext) -> Tensor | None:
        """What heads are solved on, of a view's samples; each counts as read once, and no seconds count.

        Returns:
            float64 of shape (len(view), dimensions), on the CPU; None if the store has none of this backbone.
        """
        ...
