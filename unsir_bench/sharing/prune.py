"""What of a store no kept record needs, and its removal."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import Timeout

from unsir_bench.references.store import ENTRIES, Store
from unsir_bench.references.unlearned_models import KIND as UNLEARNED

LONGEST_EVALUATION = 24 * 3600.0  # seconds from the first unlearned weights of a run to its record


@dataclass(frozen=True)
class Removable:
    """Something that may go.

    Attributes:
        path: a file, a folder or a link in the store.
        what: for the user.
        key: of the lock to hold meanwhile; None: nothing ever uses it.
        size: bytes.
    """

    path: Path
    what: str
    key: str | None
    size: int


def removable(store: Store, needed: Collection[str], written_before: float | None = None) -> Iterator[Removable]:
    """Whatever no kept record needs.

    Args:
        store: to look at.
        needed: keys of the entries that records need.
        written_before: leave what is younger; seconds since 1970. Without it, interrupted trainings stay, as the runs
            that would go on with them have no record yet, and unlearned weights of the last day: their run may still
            be evaluating them.
    """
    of_runs = time.time() - LONGEST_EVALUATION
    for path, what, key in _not_needed(store, needed, trainings=written_before is not None):
        try:
            written, size = path.lstat().st_mtime, size_of(path)
        except FileNotFoundError:  # another process was quicker
            continue
        limit = of_runs if written_before is None and what == UNLEARNED else written_before
        if limit is None or written < limit:
            yield Removable(path, what, key, size)


def _not_needed(store: Store, needed: Collection[str], *, trainings: bool) -> Iterator[tuple[Path, str, str | None]]:
    finished = {folder.name for folder in store.folders()}
    for folder in store.folders():
        if folder.name not in needed:
            description = (store.manifest(folder.name) or {}).get("description") or {}
            yield folder, UNLEARNED if description.get("kind") == UNLEARNED else "entry", folder.name
    for path in store.abandoned():
        kind = "entry" if path.parent.name == ENTRIES else "checkpoint"
        yield path, f"half-written {kind}", path.name[1:].rpartition("-")[0].removesuffix(".pt")
    for path in store.checkpoints():
        if trainings or path.stem in finished:
            yield path, "interrupted training", path.stem
    for path in store.damaged():
        yield path, "damaged", None


def remove(store: Store, each: Removable) -> bool:
    """Remove it; False if another process holds its lock, and it stays."""
    if each.key is None:
        _delete(each.path)
        return True
    try:
        with store.lock(each.key, each.what, wait=False):
            if each.path.parent.name == ENTRIES and not each.path.name.startswith("."):
                # Readers find it whole or not at all; if this is killed, it is an abandoned folder.
                hidden = each.path.with_name(f".{each.key}-{uuid4().hex}")
                with suppress(FileNotFoundError):  # another process has removed it
                    each.path.rename(hidden)
                _delete(hidden)
            else:
                _delete(each.path)
    except Timeout:
        return False
    return True


def _delete(path: Path) -> None:
    """Remove a file, a folder or a link; links are not followed."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    if not os.path.lexists(path):
        return 0
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size_of(inside) for inside in path.iterdir())
