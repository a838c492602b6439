"""What the manifest of a training says of all its sessions, where it was interrupted and resumed."""

from __future__ import annotations

from typing import Any

import torch

from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.runtime.environment import provenance
from unsir_bench.runtime.peak_memory import PeakMemory

SESSIONS = "sessions"  # in a checkpoint; earlier releases wrote none


class SessionsCheckpoint:
    """A training checkpoint that also keeps where the training's sessions ran, and the peak memory of all."""

    def __init__(self, inner: TrainingCheckpoint, device: torch.device):
        """Begin a session, and the measurement of its memory.

        Args:
            inner: keeps the state.
            device: of the training.
        """
        self._inner = inner
        self._here, self._memory = provenance(device), PeakMemory(device)
        self._earlier: list[dict[str, Any]] = []
        self._earlier_peak = 0
        self._memory.reset()

    def load(self) -> dict[str, Any] | None:
        """The training's state last saved, or None; its sessions are remembered."""
        saved = self._inner.load()
        kept = (saved or {}).get(SESSIONS, {})
        self._earlier = [each for each in kept.get("trained_in", []) if each != self._here]
        self._earlier_peak = kept.get("peak_memory_bytes", 0)
        return saved

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        sessions = {"trained_in": [*self._earlier, self._here], "peak_memory_bytes": self.peak_bytes()}
        self._inner.save({**state, SESSIONS: sessions})

    def discard(self) -> None:
        """Remove the state."""
        self._inner.discard()

    def trained_in(self) -> dict[str, Any]:
        """The environment of the last session; with those of sessions elsewhere, of which the weights are too."""
        return {**self._here, "resumed_from": self._earlier} if self._earlier else self._here

    def peak_bytes(self) -> int:
        """Peak memory of all sessions so far, in bytes."""
        return max(self._earlier_peak, self._memory.read())
