"""Trained models and other costly tensors, addressed by a hash of everything that affects them.

An entry is a folder of safetensors files and a manifest. It is built under another name and renamed, so that a reader
finds a whole entry or none. One process builds an entry while others wait for its lock. A training in progress keeps a
checkpoint in the store and continues from it after an interruption.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialised
from torch import Tensor

from unsir_bench.config_fields import not_hashed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG = logging.getLogger("unsir_bench")
MANIFEST = "manifest.json"


@dataclass
class StoreConfig:
    """Where trained models are kept."""

    root: str = not_hashed("multirun_outputs/store")


def content_key(description: Mapping[str, Any]) -> str:
    """A 16-digit hash of a description made of plain values; the order of its keys does not matter."""
    text = json.dumps(description, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """A 16-digit hash of a state dict on the CPU: equal for bit-identical weights."""
    return hashlib.sha256(serialised(dict(sorted(state.items())))).hexdigest()[:16]


@dataclass(frozen=True)
class Entry:
    """A finished entry of the store."""

    folder: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """Description and measurements from when the entry was made."""
        return json.loads((self.folder / MANIFEST).read_text())  # type: ignore[no-any-return]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, on the CPU."""
        return load_file(self.folder / f"{name}.safetensors")


class TrainingCheckpoint:
    """The state of a training in progress: one file, replaced whole at each save."""

    def __init__(self, path: Path):
        self._path = path

    def load(self) -> dict[str, Any] | None:
        """The state last saved, or None; only tensors and plain values are ever read."""
        if not self._path.exists():
            return None
        LOG.info("resuming an interrupted training from its last finished epoch")
        return torch.load(self._path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]

    def save(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Only the process that holds the entry's lock writes, so what a killed one left under this name is replaced.
        partial = self._path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._path)

    def discard(self) -> None:
        """Remove the state: the training is finished."""
        self._path.unlink(missing_ok=True)


def _named(holder: Path) -> str:
    """The holder of a lock, as written in its file."""
    try:
        return holder.read_text() or "another process"
    except OSError:  # it has only just taken the lock, or released it
        return "another process"


class Store:
    """Finds, locks and writes entries under one root."""

    def __init__(self, root: Path):
        self.root = root

    def find(self, key: str) -> Entry | None:
        """The finished entry, or None."""
        folder = self.root / "models" / key
        return Entry(folder) if (folder / MANIFEST).exists() else None

    def entries(self) -> Iterator[Entry]:
        """Every finished entry."""
        for manifest in sorted((self.root / "models").glob(f"*/{MANIFEST}")):
            yield Entry(manifest.parent)

    def checkpoint(self, key: str) -> TrainingCheckpoint:
        """Where the training of ``key`` keeps its state."""
        return TrainingCheckpoint(self.root / "in_progress" / f"{key}.pt")

    @contextmanager
    def lock(self, key: str, what: str) -> Iterator[None]:
        """Hold the lock of an entry; logs and waits if another process has it. A dead process holds no lock."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{key}.lock")
        holder = folder / f"{key}.holder"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            LOG.info("waiting for %s, which is making %s (%s)", _named(holder), what, lock.lock_file)
            lock.acquire()
        try:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def get_or_create(self, key: str, what: str, fabric: Fabric, make: Callable[[], None]) -> Entry:
        """The entry, made by ``make`` if it is absent, in one process while others wait.

        With several processes per run, the first holds the lock and all make the entry together.

        Args:
            key: the entry's address.
            what: names the entry in messages.
            fabric: the processes of the run.
            make: writes the entry in the first process.
        """
        if not self._present(key, fabric):
            with self.lock(key, what) if fabric.is_global_zero else nullcontext():
                if not self._present(key, fabric):
                    make()
                fabric.barrier()
        entry = self.find(key)
        if entry is None:
            raise RuntimeError(f"{what} ({key}) vanished from {self.root} while it was used")
        return entry

    def _present(self, key: str, fabric: Fabric) -> bool:
        """Whether the entry is there, as the run's first process sees it."""
        return bool(fabric.broadcast(self.find(key) is not None))

    def write(self, key: str, files: Mapping[str, dict[str, Tensor]], manifest: Mapping[str, Any]) -> Entry:
        """Write an entry in one step; call with its lock held."""
        models = self.root / "models"
        models.mkdir(parents=True, exist_ok=True)
        for abandoned in models.glob(f".{key}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        building = models / f".{key}-{uuid4().hex}"
        building.mkdir()  # not tempfile: the folder gets the user's own permissions
        try:
            for name, tensors in files.items():
                save_file(tensors, building / f"{name}.safetensors")
            (building / MANIFEST).write_text(json.dumps(manifest, indent=2, default=str))
            if self.find(key) is None:
                # A folder without a manifest is no entry, but would make the rename fail.
                shutil.rmtree(models / key, ignore_errors=True)
            building.rename(models / key)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        return Entry(models / key)
