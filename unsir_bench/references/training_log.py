"""The log of a training that amnesiac unlearning subtracts: the sum of the updates of all batches with forget samples.

L. Graves, V. Nagisetty, V. Ganesh, "Amnesiac Machine Learning", AAAI 2021. The authors keep every such batch's update;
their sum is all that their method uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unsir_bench.data.batches import Usage
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.runtime.clock import Instant
from unsir_bench.runtime.stops import stops


@dataclass(frozen=True)
class TrainingLog:
    """The recorded updates of a training.

    Attributes:
        updates: summed change of each parameter over the steps whose batch held a forget sample, by name.
        manifest: ``seconds`` that recording took, ``batches`` of the training, ``batches_with_forget_samples``.
    """

    updates: Mapping[str, Tensor]
    manifest: Mapping[str, Any]


class LastRead(Usage):
    """Which samples of a training split were read last: those of the batch that is being trained on."""

    def __init__(self, split_size: int):
        super().__init__(split_size)
        self.indices = torch.empty(0, dtype=torch.int64)

    def note(self, indices: Tensor, times: int = 1) -> None:
        """Keep ``indices`` until the next read."""
        self.indices = indices


class UpdateRecorder:
    """Sums the updates of the steps whose batch holds a forget sample, while a network trains."""

    def __init__(
        self, model: nn.Module, forget: Tensor, batch: LastRead, device: torch.device, gone: Tensor | None = None
    ):
        """Watch ``model``; it must not have been trained on yet.

        Args:
            model: to be trained.
            forget: indices of the samples whose batches are recorded.
            batch: where the view that is trained on counts its reads.
            device: of the training.
            gone: indices of samples forgotten before: the updates of their batches have been subtracted already.
        """
        self._device, self._batch = device, batch
        self._forget = forget
        self._gone = torch.empty(0, dtype=torch.int64) if gone is None else gone
        self._names = [name for name, _ in model.named_parameters()]
        self._previous = _copies(model)
        self._sums = [torch.zeros_like(parameter) for parameter in self._previous]
        self.seconds, self.stops, self.batches, self.recorded = 0.0, 0, 0, 0

    def after_step(self, model: nn.Module, _: Tensor) -> None:
        """Add the update of the step just taken if its batch holds a forget sample and none gone."""
        started, stopped = Instant(self._device), stops()
        current = [parameter.detach() for parameter in model.parameters()]
        self.batches += 1
        indices = self._batch.indices
        if bool(torch.isin(indices, self._forget).any() & ~torch.isin(indices, self._gone).any()):
            self.recorded += 1
            torch._foreach_add_(self._sums, torch._foreach_sub(current, self._previous))
        torch._foreach_copy_(self._previous, current)
        self.seconds += Instant(self._device).seconds_since(started)
        self.stops += stops() - stopped

    def updates_on_cpu(self) -> dict[str, Tensor]:
        """The sums by parameter name."""
        return {name: value.cpu().contiguous() for name, value in zip(self._names, self._sums, strict=True)}

    def state(self) -> dict[str, Any]:
        """State to resume an interrupted recording from."""
        counts = {name: getattr(self, name) for name in ("seconds", "stops", "batches", "recorded")}
        return {"sums": self._sums, "previous": self._previous, **counts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from ``state``."""
        torch._foreach_copy_(self._sums, [value.to(self._device) for value in state["sums"]])
        torch._foreach_copy_(self._previous, [value.to(self._device) for value in state["previous"]])
        self.seconds, self.batches, self.recorded = state["seconds"], state["batches"], state["recorded"]
        self.stops = state.get("stops", 0)  # earlier states lack it


def _copies(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@dataclass(frozen=True)
class RecordingCheckpoint:
    """A training checkpoint that also keeps the recorder's state."""

    inner: TrainingCheckpoint
    recorder: UpdateRecorder

    def load(self) -> dict[str, Any] | None:
        """The training's state last saved, or None; the recorder goes on from its own."""
        saved = self.inner.load()
        if saved is not None:
            self.recorder.restore(saved["recorder"])
        return saved

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        self.inner.save({**state, "recorder": self.recorder.state()})

    def discard(self) -> None:
        """Remove the state."""
        self.inner.discard()
