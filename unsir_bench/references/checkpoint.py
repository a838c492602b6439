"""The state of a training in progress: kept after each epoch, verified when it is read."""

from __future__ import annotations

import logging
import os
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from unsir_bench.errors import DamagedEntryError
from unsir_bench.runtime.files import DAMAGED, read_regular, refuse_unreadable, set_aside, sha256, write_atomic

LOG = logging.getLogger("unsir_bench")
CHECKPOINT_HEAD = b"unsir-bench checkpoint 1 "


class TrainingCheckpoint:
    """The state of a training in progress: one file, replaced whole at each save, its hash before its content."""

    def __init__(self, path: Path):
        self._path = path

    def load(self) -> dict[str, Any] | None:
        """The state last saved, or None; only tensors and plain values are ever read.

        What cannot be verified is set aside, with a warning, and the training starts again.
        """
        if not os.path.lexists(self._path):
            return None
        try:
            state = self.verify()
        except DamagedEntryError as reason:
            set_aside(self._path, self._path.parent.parent / DAMAGED, f"checkpoint: {reason}")
            return None
        LOG.info("resuming an interrupted training from its last finished epoch")
        return state

    def verify(self) -> dict[str, Any]:
        """The state last saved.

        Raises:
            DamagedEntryError: the file is not the one that was saved.
            UnreadableError: it may be, and cannot be read now.
        """
        try:
            head, _, content = read_regular(self._path).partition(b"\n")
            if head != self._head(content):
                raise DamagedEntryError("its content does not match its hash")
            return torch.load(BytesIO(content), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            refuse_unreadable(error, self._path)
            raise DamagedEntryError(str(error)) from error

    def _head(self, content: bytes) -> bytes:
        # The name takes part: the state of another training is no state of this one.
        return CHECKPOINT_HEAD + sha256(self._path.stem.encode() + content).encode()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        buffer = BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        write_atomic(self._path, self._head(content) + b"\n" + content)

    def discard(self) -> None:
        """Remove the state: the training is finished."""
        self._path.unlink(missing_ok=True)
