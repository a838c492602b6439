"""What a power cut could leave of a folder: its system calls are watched, and every prefix of a journal is replayed.

The model is a file system that keeps changes of names in order, in a journal, and the content of files apart from them.
After a cut the names are as they were after any change since a folder was last synced. A file holds what it held when
it was last synced; one that never was holds nothing, or the first half of what was written. Syncing a file saves its
content and no name; syncing a folder saves all changes of names so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

CALLS = ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir")  # of `os`
Names = dict[str, int | None]  # inode by path; None: a folder


@dataclass
class Moment:
    """Before a system call: the names of each point of the journal that may be the last on the disk, and all content.

    Attributes:
        call: about to be made.
        names: from the last that is certain to be on the disk to the current ones.
        synced: content by inode, as last synced.
        written: content by inode, as it is now.
        promised: what had been reported as written by now.
    """

    call: str
    names: list[Names]
    synced: dict[int, bytes]
    written: dict[int, bytes]
    promised: tuple[str, ...]

    def disks(self, folder: Path) -> Iterator[Path]:
        """Every folder that the cut could leave, made below ``folder``."""
        lost = self.synced
        half = {inode: content[: len(content) // 2] for inode, content in self.written.items()} | self.synced
        for number, names in enumerate(self.names):
            for kind, content in (("lost", lost), ("half", half)):
                yield _restored(folder / f"{number}-{kind}", names, content)


def _restored(root: Path, names: Names, content: dict[int, bytes]) -> Path:
    root.mkdir(parents=True)
    for path, inode in sorted(names.items()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if inode is None:
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_bytes(content.get(inode, b""))
    return root


@dataclass
class Journal:
    """Watches the system calls of this process below ``root``; ``obeyed=False`` is a disk that ignores syncs."""

    root: Path
    obeyed: bool = True
    moments: list[Moment] = field(default_factory=list)
    promised: list[str] = field(default_factory=list)
    _names: list[Names] = field(default_factory=list)
    _synced: dict[int, bytes] = field(default_factory=dict)
    _held: dict[int, BinaryIO] = field(default_factory=dict)  # an inode that is open is not used for another file

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._names = [self._current()]
        with ExitStack() as patches:
            for name in CALLS:
                patches.enter_context(mock.patch.object(os, name, self._watched(name, getattr(os, name))))
            yield
        self._note("the end")
        for file in self._held.values():
            file.close()

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self._note(f"{name} {arguments}")
            result = call(*arguments, **options)
            if name == "fsync" and self.obeyed:
                self._sync(arguments[0])
            self._names.append(self._current())
            return result

        return watched

    def _sync(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        if path.is_dir():
            self._names = []  # what came before the current names is not what the disk can hold any more
        else:
            self._synced[path.stat().st_ino] = path.read_bytes()

    def _note(self, call: str) -> None:
        current = self._current()
        if not self._names or self._names[-1] != current:  # files are made without a call that is watched
            self._names.append(current)
        inodes = {inode: path for path, inode in current.items() if inode is not None}
        written = {inode: (self.root / path).read_bytes() for inode, path in inodes.items()}
        unlike = [names for place, names in enumerate(self._names) if names not in self._names[:place]]
        self.moments.append(Moment(call, unlike, dict(self._synced), written, tuple(self.promised)))

    def _current(self) -> Names:
        found = (path for path in self.root.rglob("*") if path.suffix != ".lock")
        return {str(path.relative_to(self.root)): self._inode(path) for path in found}

    def _inode(self, path: Path) -> int | None:
        if path.is_dir():
            return None
        inode = path.stat().st_ino
        if inode not in self._held:
            self._held[inode] = path.open("rb")
        return inode
