"""Ways to damage a file or a folder, for tests of what verifies its content."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_link(path: Path) -> None:
    """A file or a folder moved away, with a link to it in its place."""
    target = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(target)
    path.symlink_to(target)


def structural(names: Sequence[str]) -> dict[str, Callable[[Path], object]]:
    """Damages to the named files of a folder, by a title; each takes the folder."""
    to_a_file: dict[str, Callable[[Path], object]] = {
        "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
        "empty": lambda path: os.truncate(path, 0),
        "no": Path.unlink,
        "longer": lambda path: path.open("ab").write(b"\0"),
        "folder": replaced_by_folder,
        "pipe": replaced_by_pipe,
        "linked": replaced_by_link,
    }
    return {
        f"{kind} {name}": lambda folder, damage=damage, name=name: damage(folder / name)
        for kind, damage in to_a_file.items()
        for name in names
    }
