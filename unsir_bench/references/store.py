"""Trained models and other costly tensors, addressed by a hash of everything that affects them.

An entry is a folder of safetensors files and a manifest that holds their hashes. It is built under another name, put on
the disk and renamed, so that a reader finds it whole or not at all. What cannot be verified when it is read (cut,
flipped bits, another entry's files, a link) is set aside, and the entry is made again under its lock. One process
builds an entry while others wait. A training in progress keeps a checkpoint, verified in the same way, and resumes from
it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as serialised
from torch import Tensor

from unsir_bench.config_fields import not_hashed
from unsir_bench.errors import DamagedEntryError
from unsir_bench.references.checkpoint import TrainingCheckpoint
from unsir_bench.runtime.files import (
    DAMAGED,
    read_manifest,
    read_regular,
    refuse_unreadable,
    set_aside,
    sha256,
    sync_folder,
    write_manifest,
)
from unsir_bench.runtime.locks import locked

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG = logging.getLogger("unsir_bench")
ENTRIES, IN_PROGRESS = "entries", "in_progress"
MOST_TRIES = 5  # to make an entry that others remove, as `store prune` does
WEIGHTS = "weights"  # the file whose numbers must be finite


@dataclass
class StoreConfig:
    """Where trained models are kept."""

    root: str = not_hashed("multirun_outputs/store")


def content_key(description: Mapping[str, Any]) -> str:
    """A 16-digit hash of a description made of plain values; the order of its keys does not matter."""
    text = json.dumps(description, sort_keys=True, default=str)
    return sha256(text.encode())[:16]


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """A 16-digit hash of a state dict on the CPU: equal for bit-identical weights."""
    return sha256(serialised(dict(sorted(state.items()))))[:16]


@dataclass(frozen=True)
class Entry:
    """A finished entry of the store, verified when it was opened.

    Attributes:
        folder: of its files; its name is the entry's key.
        manifest: what was described and measured when the entry was made.
        hashes: sha256 of each safetensors file, by its name without the suffix.
    """

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def opened(cls, folder: Path, key: str | None = None) -> Entry:
        """Open an entry and verify its manifest; ``verify`` does the rest.

        Args:
            folder: of its files.
            key: its address, if the folder has another name.

        Raises:
            DamagedEntryError: it is not what was written under its key.
        """
        content = read_manifest(folder)
        try:
            entry = cls(folder, content["manifest"], content["files"])
            entry._check_key(content["key"], key or folder.name)
            if not isinstance(entry.hashes, dict):
                raise DamagedEntryError("its files are no list of names and hashes")
        except (AttributeError, LookupError, TypeError) as error:
            raise DamagedEntryError(f"{type(error).__name__}: {error}") from error
        return entry

    def verify(self) -> Entry:
        """Read every file; returns itself.

        Raises:
            DamagedEntryError: one of them is not the one that was written.
        """
        for name in self.hashes:
            self.tensors(name)
        return self

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one file, on the CPU.

        Raises:
            DamagedEntryError: the file is not the one that was written.
        """
        path = self.folder / f"{name}.safetensors"
        try:
            content = read_regular(path)
            if sha256(content) != self.hashes.get(name):
                raise DamagedEntryError(f"{path.name} does not match its hash")
            found: dict[str, Tensor] = load(content)
        except (OSError, SafetensorError) as error:
            refuse_unreadable(error, path)
            raise DamagedEntryError(f"{path.name}: {error}") from error
        if name == WEIGHTS and not all_finite(found):
            raise DamagedEntryError(f"{path.name} holds NaN or infinity")
        return found

    def _check_key(self, key: str, expected: str) -> None:
        described = self.manifest.get("description")
        if key != expected or (described is not None and content_key(described) != key):
            raise DamagedEntryError(f"it was written as {key}")


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no floating-point tensor holds NaN or infinity."""
    return all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())


class Store:
    """Finds, locks and writes entries under one root; ``used`` collects the keys of what was found."""

    def __init__(self, root: Path, used: list[str] | None = None):
        self.root = root
        self.used = used if used is not None else []

    def find(self, key: str) -> Entry | None:
        """The finished entry, verified; None where there is none, or a damaged one.

        Raises:
            UnreadableError: it may be whole, and cannot be read now.
        """
        try:
            entry = Entry.opened(self.root / ENTRIES / key).verify()
        except DamagedEntryError:
            return None
        if key not in self.used:
            self.used.append(key)
        return entry

    def manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest of an entry, without a look at its files; None where none is whole."""
        try:
            return Entry.opened(self.root / ENTRIES / key).manifest
        except DamagedEntryError:
            return None

    def folders(self) -> list[Path]:
        """Where entries lie, whole or damaged."""
        return sorted((self.root / ENTRIES).glob("[!.]*"))

    def checkpoints(self) -> list[Path]:
        """The states of trainings in progress, whole or damaged."""
        return sorted((self.root / IN_PROGRESS).glob("*.pt"))

    def damaged(self) -> list[Path]:
        """What was set aside."""
        return sorted((self.root / DAMAGED).glob("*"))

    def entries(self) -> Iterator[Entry]:
        """Every entry whose manifest is whole; files are verified when they are read."""
        for folder in self.folders():
            with suppress(DamagedEntryError):
                yield Entry.opened(folder)

    def checkpoint(self, key: str) -> TrainingCheckpoint:
        """Where the training of ``key`` keeps its state."""
        return TrainingCheckpoint(self.root / IN_PROGRESS / f"{key}.pt")

    def lock(self, key: str, what: str, *, wait: bool = True) -> AbstractContextManager[None]:
        """The lock of an entry; waits and raises as ``locked``."""
        return locked(self.root / "locks", key, what, wait=wait)

    def get_or_create(self, key: str, what: str, fabric: Fabric, make: Callable[[], None]) -> Entry:
        """The entry, made by ``make`` if it is absent, in one process while others wait.

        With several processes per run, the first holds the lock and all make the entry together.

        Args:
            key: the entry's address.
            what: names the entry in messages.
            fabric: the processes of the run.
            make: writes the entry in the first process.

        Raises:
            UnreadableError: it may be there, and cannot be read now.
            RuntimeError: it is removed again and again.
        """
        # Several processes may not differ in whether they try again: they would wait for each other.
        for _ in range(MOST_TRIES if fabric.world_size == 1 else 1):
            if not self._present(key, fabric):
                with self.lock(key, what) if fabric.is_global_zero else nullcontext():
                    if not self._present(key, fabric):
                        if fabric.is_global_zero:
                            self._set_damaged_aside(key)
                        make()
                    fabric.barrier()
            if (entry := self.find(key)) is not None:
                return entry
        raise RuntimeError(f"{what} ({key}) vanished from {self.root} while it was used")

    def _set_damaged_aside(self, key: str) -> None:
        """Move what lies in an entry's place and is no entry; call with its lock held."""
        folder = self.root / ENTRIES / key
        if os.path.lexists(folder):
            try:
                Entry.opened(folder).verify()
            except DamagedEntryError as reason:
                set_aside(folder, self.root / DAMAGED, str(reason))

    def _present(self, key: str, fabric: Fabric) -> bool:
        """Whether the entry is there, as the run's first process sees it."""
        return bool(fabric.broadcast(self.find(key) is not None))

    def write(self, key: str, files: Mapping[str, dict[str, Tensor]], manifest: Mapping[str, Any]) -> Entry:
        """Write an entry whole; call with its lock held.

        Args:
            key: its address.
            files: tensors by file name and tensor name.
            manifest: plain values. A ``description`` among them must be what ``key`` is the hash of.

        Raises:
            FileExistsError: the entry is there already.
            ValueError: weights hold NaN or infinity, or the description is another key's.
        """
        if not all_finite(files.get(WEIGHTS, {})):
            raise ValueError(f"weights of {key} hold NaN or infinity: they are not kept")
        if "description" in manifest and content_key(manifest["description"]) != key:
            raise ValueError(f"{key} is not the hash of its description")
        if self.find(key) is not None:
            raise FileExistsError(f"the store's entry {key} is finished: it is never replaced")
        with self.building(key) as folder:
            _fill(folder, key, files, manifest)
        return Entry.opened(self.root / ENTRIES / key)

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """A new folder, put in the entry's place at the end, or removed after an error; call with the lock held.

        Whoever fills it puts its files on the disk, and makes sure that no finished entry is there.
        """
        entries = self.root / ENTRIES
        entries.mkdir(parents=True, exist_ok=True)
        for abandoned in self.abandoned(key):
            if abandoned.is_dir():
                shutil.rmtree(abandoned, ignore_errors=True)
            else:
                abandoned.unlink(missing_ok=True)
        self._set_damaged_aside(key)
        folder = entries / f".{key}-{uuid4().hex}"
        folder.mkdir()  # with the user's own permissions, which a temporary folder has not
        try:
            yield folder
            folder.rename(entries / key)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sync_folder(entries)

    def abandoned(self, key: str = "*") -> list[Path]:
        """Folders of entries and files of checkpoints that were being written; without the lock some still may be."""
        checkpoints = (self.root / IN_PROGRESS).glob(f".{key}.pt-*")
        return sorted([*(self.root / ENTRIES).glob(f".{key}-*"), *checkpoints])


def _fill(folder: Path, key: str, files: Mapping[str, dict[str, Tensor]], manifest: Mapping[str, Any]) -> None:
    """Write an entry's files and manifest, and put them on the disk.

    safetensors' own writer gives nobody else a right to read its files, and hides the disk's errors.
    """
    hashes = {}
    for name, tensors in files.items():
        content = serialised(tensors)
        with (folder / f"{name}.safetensors").open("xb") as file:
            file.write(content)
        hashes[name] = sha256(content)
    write_manifest(folder, {"key": key, "files": hashes, "manifest": manifest})
