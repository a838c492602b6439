"""Files that are written whole or not at all, and read as they are or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import lzma
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from unsir_bench.errors import DamagedEntryError, UnreadableError
from unsir_bench.runtime.printable import printable

LOG = logging.getLogger("unsir_bench")
MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"
SMALL_FILE = 4096  # bytes
DAMAGED = "damaged"  # the folder of what was set aside
PACKED = ".xz"
LARGEST_UNPACKED = 2**30  # bytes; a small .xz file may hold any number of zeros
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither exists on Windows

# Reasons not to read a file that say nothing of its content.
OF_THE_MOMENT = (
    errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EIO,
)  # fmt: skip


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, so that a reader sees the old content or the new, never a part.

    Content and name are on the disk when this returns: a power cut afterwards loses neither.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def unwritable(folder: Path, letters_below: int = 0) -> str | None:
    """Why no file can be written into a folder, which is made if it is not there; None if one can.

    Args:
        folder: of the files.
        letters_below: of the longest path to be made below it.
    """
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder / ("x/" * (letters_below // 2)))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(SMALL_FILE))
            file.flush()
    except OSError as error:
        for place in missing:
            with suppress(OSError):  # it was not made
                place.rmdir()
        return f"nothing can be written there ({error.strerror or error})"
    return None


def path_problem(path: Path, kind: Literal["file", "folder"]) -> str | None:
    """Why a path leads to no file, or to no folder, that this process may read; None where it does."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no such {kind}"
    except OSError as error:  # such as a name too long, or a folder above it that may not be entered
        return f"the {kind} cannot be reached ({error.strerror})"
    if not (stat.S_ISREG(mode) if kind == "file" else stat.S_ISDIR(mode)):
        return f"there is no such {kind}"
    return None if os.access(path, os.R_OK) else f"the {kind} may not be read"


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(folder: Path) -> None:
    """Put the content of every file of a folder, and their names, on the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


@contextmanager
def _regular(path: Path) -> Iterator[BufferedReader]:
    handle = os.open(path, os.O_RDONLY | NO_FOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def read_regular(path: Path, at_most: int = -1) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        at_most: its greatest size in bytes; -1: any.

    Raises:
        OSError: it cannot be read, is larger, or is a link, a folder, a pipe or a device.
    """
    with _regular(path) as file:
        content = file.read(at_most + 1 if at_most >= 0 else -1)
    if 0 <= at_most < len(content):
        raise OSError(f"{path} is larger than {at_most} bytes")
    return content


def refuse_unreadable(error: BaseException | None, path: Path) -> None:
    """Keep a file from being taken for a damaged one whose reading failed for another reason.

    Args:
        error: by which reading it failed.
        path: of the file, or of the folder that it is part of.

    Raises:
        UnreadableError: the file may be whole.
    """
    if isinstance(error, OSError) and error.errno in OF_THE_MOMENT:
        shown = printable(str(error.filename or path))
        how = "it is neither used nor replaced; make it readable, or try again"
        raise UnreadableError(f"{shown} cannot be read ({error.strerror}): {how}") from error


def read_lines(path: Path) -> list[bytes]:
    """The lines of a regular file, unpacked where its name ends in ``.xz``.

    Raises:
        OSError: as ``read_regular``; it is no whole ``.xz`` file, or holds more than 1 GiB.
    """
    content = read_regular(path)
    return (_unpacked(content, path) if path.suffix == PACKED else content).splitlines()


def _unpacked(content: bytes, path: Path) -> bytes:
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    try:
        unpacked = reader.decompress(content, LARGEST_UNPACKED)
    except lzma.LZMAError as error:
        raise OSError(f"{path} is no whole {PACKED} file ({error})") from error
    if not reader.eof:
        cut = reader.needs_input
        raise OSError(f"{path} is cut off" if cut else f"{path} holds more than {LARGEST_UNPACKED} bytes")
    if reader.unused_data:
        raise OSError(f"{path} has bytes behind its end")
    return unpacked


def sha256(content: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The hash of a regular file of any size, read in pieces; raises as ``read_regular``."""
    with _regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write a folder's manifest with its hash beside it, and put every file of the folder on the disk."""
    text = json.dumps(content, indent=2, default=str).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_HASH).write_text(sha256(text))
    sync_files(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, as it was written.

    Raises:
        DamagedEntryError: it is not, or the folder is a link.
        UnreadableError: see ``refuse_unreadable``.
    """
    if folder.is_symlink():
        raise DamagedEntryError("it is a link")
    try:
        text = read_regular(folder / MANIFEST)
        if sha256(text) != read_regular(folder / MANIFEST_HASH).decode("ascii", "replace"):
            raise DamagedEntryError(f"{MANIFEST} does not match {MANIFEST_HASH}")
        content: dict[str, Any] = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        refuse_unreadable(error, folder / MANIFEST)
        raise DamagedEntryError(f"{type(error).__name__}: {error}") from error
    return content


def set_aside(path: Path, into: Path, why: str) -> None:
    """Move a damaged file or folder away, so that nothing reads it, and say so; a link is moved, not followed."""
    into.mkdir(parents=True, exist_ok=True)
    target = into / f"{path.name}-{uuid4().hex[:8]}"
    with suppress(FileNotFoundError):  # another process was quicker
        path.rename(target)
        shown = [printable(str(words)) for words in (path, why, target)]
        LOG.warning("%s is damaged (%s): set aside as %s, and made again", *shown)
