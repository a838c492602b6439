"""Where records of runs that used a store lie: the store notes it, as ``store.root`` does not follow ``outputs``."""

from __future__ import annotations

import os
from pathlib import Path

from unsir_bench.runtime.files import read_regular, sha256, write_atomic

NOTES = "record_folders"
LONGEST = 2**16  # bytes of a path


def note_folder(root: Path, outputs: Path) -> None:
    """Note in a store that records of runs that use it lie below a folder of sweeps; nothing is done twice.

    Args:
        root: of the store.
        outputs: the folder of sweeps.

    Raises:
        OSError: the store cannot be written.
    """
    name = os.fsencode(outputs.resolve())
    note = root / NOTES / f"{sha256(name)[:16]}.txt"
    if not note.exists():
        write_atomic(note, name)


def notes(root: Path) -> list[Path]:
    """The files that note folders in a store, one each; raises OSError if they cannot be listed."""
    try:
        names = [path.name for path in (root / NOTES).iterdir()]  # a glob takes what cannot be listed for empty
    except FileNotFoundError:
        return []
    return sorted(root / NOTES / name for name in names if name.endswith(".txt"))


def noted_folder(note: Path) -> Path:
    """The folder of sweeps that a file notes; raises OSError if the file cannot be read."""
    return Path(os.fsdecode(read_regular(note, LONGEST)))
