"""Where a store is shared: a folder, a tar, a Weights & Biases artifact, or any URL that fsspec knows."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from unsir_bench.errors import DamagedEntryError, SharingError
from unsir_bench.records import printable
from unsir_bench.runs.run_lock import LOCKS
from unsir_bench.runtime.files import read_regular, sync_folder, write_atomic
from unsir_bench.runtime.locks import locked
from unsir_bench.sharing.index import INDEX, NOT_SHARED, may_be_shared
from unsir_bench.tracking.artifacts import download_artifact, to_upload, upload_artifact
from unsir_bench.tracking.tracker_config import without_passwords

WANDB = "wandb:"
BLOCK = 512  # bytes of a tar's header, and what each file is filled up to
CHECKSUM_END = slice(154, 156)  # of a header: the two bytes after the checksum's digits
EXTRA = "pip install 'unsir-bench[hub]'"


class Source(Protocol):
    """Files by path. ``str()`` is the address; ``refused`` says why something that lies there is not taken, by name."""

    refused: dict[str, str]

    def read(self, path: str) -> bytes:
        """The content of a file; raises FileNotFoundError, another OSError, DamagedEntryError or SharingError."""


class Target(Protocol):
    """Files by path; ``str()`` is the address."""

    def read(self, path: str) -> bytes:
        """What was kept before; raises as a source's."""

    def write(self, path: str, content: bytes) -> None:
        """Keep a file in the place of one of the same name, as the index is written again and again."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep others from listing files meanwhile, where that is possible; waits for one who does."""


@contextmanager
def place_to_push(address: str) -> Iterator[Target]:
    """The place of an address; a tar or an artifact is finished when the block ends without an error.

    Raises:
        SharingError: it cannot be written.
    """
    if address.startswith(WANDB):
        to_upload(address.removeprefix(WANDB))  # before much is copied
        with tempfile.TemporaryDirectory() as staged:
            yield _StagedPlace(Path(staged))
            upload_artifact(address.removeprefix(WANDB), Path(staged))
    elif "://" in address:
        yield UrlPlace(address)
    elif address.endswith(".tar"):
        with _new_tar(Path(address)) as place:
            yield place
    else:
        yield FolderPlace(Path(address))


@contextmanager
def place_to_pull(address: str) -> Iterator[Source]:
    """The place of an address, to read from.

    Raises:
        SharingError: it cannot be read.
    """
    if address.startswith(WANDB):
        with tempfile.TemporaryDirectory() as staged:
            place = FolderPlace(Path(staged))
            for name in download_artifact(address.removeprefix(WANDB), Path(staged), may_be_shared):
                place.refused[printable(name)] = NOT_SHARED
            yield place
    elif "://" in address:
        yield UrlPlace(address)
    elif Path(address).is_dir():
        yield FolderPlace(Path(address))
    elif Path(address).is_file():
        with Path(address).open("rb") as file:
            yield TarToPull(address, file)
    else:
        raise SharingError(f"{address}: there is no such folder or tar")


class FolderPlace:
    """A folder; links in it are not followed."""

    def __init__(self, root: Path):
        self._root = root
        self.refused: dict[str, str] = {}

    def __str__(self) -> str:
        return str(self._root)

    def read(self, path: str) -> bytes:
        target = self._root / path
        for folder in target.relative_to(self._root).parents:
            if (self._root / folder).is_symlink() and folder != Path():
                raise DamagedEntryError(f"{folder} is a link")
        return read_regular(target)

    def write(self, path: str, content: bytes) -> None:
        write_atomic(self._root / path, content)

    def alone(self) -> AbstractContextManager[None]:
        return locked(self._root / LOCKS, "index", INDEX)


class _StagedPlace(FolderPlace):
    """A folder that nobody else knows: a lock's file would be uploaded."""

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


@contextmanager
def _new_tar(path: Path) -> Iterator[Target]:
    if os.path.lexists(path):
        raise SharingError(f"{path} is there already: push to another name, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        with partial.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                place = _TarToPush(path, tar)
                yield place
                place.add_index()
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


class _TarToPush:
    """A tar that is being written; its bytes are the same whenever and by whomever it is made."""

    def __init__(self, path: Path, tar: tarfile.TarFile):
        self._path, self._tar = path, tar
        self._index: bytes | None = None

    def __str__(self) -> str:
        return str(self._path)

    def read(self, path: str) -> bytes:
        if path == INDEX and self._index is not None:
            return self._index
        raise FileNotFoundError(path)  # it is new

    def write(self, path: str, content: bytes) -> None:
        if path == INDEX:
            self._index = content  # a tar would hold each version
        else:
            self._add(path, content)

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def add_index(self) -> None:
        """Add the last version of the index, if there is any."""
        if self._index is not None:
            self._add(INDEX, self._index)

    def _add(self, path: str, content: bytes) -> None:
        member = tarfile.TarInfo(path)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


class TarToPull:
    """A tar, read without unpacking: only regular files with the names of a shared store are ever looked into.

    Links, devices, pipes, absolute names, names with ``..`` and bytes that belong to no file are refused.
    """

    def __init__(self, address: str, file: io.BufferedReader):
        self._address, self._file = address, file
        self._members: dict[str, tarfile.TarInfo] = {}
        self.refused: dict[str, str] = {}
        end = 0
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    self._sort_in(member)
                    self._check_unused(end, member.offset)
                    end = member.offset_data + (member.size if member.isreg() else 0)
        except (tarfile.TarError, OSError, ValueError) as error:
            self.refused[address] = f"is no tar, or cut or damaged ({error})"
        self._check_unused(end, file.seek(0, os.SEEK_END))

    def __str__(self) -> str:
        return self._address

    def _sort_in(self, member: tarfile.TarInfo) -> None:
        name = member.name
        if member.isdir() and ".." not in name.split("/"):
            return
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            self.refused[printable(name)] = "is no regular file"
        elif not may_be_shared(name):
            self.refused[printable(name)] = NOT_SHARED
        elif name in self._members:
            self.refused[name] = "is there twice"
        elif self._bytes(member.offset_data - BLOCK, BLOCK)[CHECKSUM_END] != b"\0 ":
            self.refused[name] = "has a damaged header"
        else:
            self._members[name] = member

    def _check_unused(self, start: int, end: int) -> None:
        """What lies between files is zeros."""
        while start < end:
            found = self._bytes(start, min(end - start, 1 << 20))
            if not found or any(found):
                self.refused[f"{self._address}, after byte {start}"] = "holds bytes that belong to no file"
                return
            start += len(found)

    def _bytes(self, start: int, count: int) -> bytes:
        before = self._file.tell()  # tarfile seeks itself, but from where it left off
        self._file.seek(start)
        content = self._file.read(count)
        self._file.seek(before)
        return content

    def read(self, path: str) -> bytes:
        member = self._members.get(path)
        if member is None:
            raise FileNotFoundError(f"{path} is not in the tar")
        content = self._bytes(member.offset_data, member.size)
        if len(content) < member.size:
            raise DamagedEntryError(f"{path} is cut")
        return content


class UrlPlace:
    """A folder below a URL: ``hf://datasets/me/store``, ``s3://bucket/store``, ``memory://store``."""

    def __init__(self, url: str):
        self._shown = without_passwords(url.rstrip("/"))
        self.refused: dict[str, str] = {}
        with self._faults():
            try:
                import fsspec

                self._files, self._root = fsspec.url_to_fs(url.rstrip("/"))
            except ImportError as error:
                raise SharingError(f"{error}. {EXTRA} brings what URLs need") from error

    def __str__(self) -> str:
        return self._shown

    def read(self, path: str) -> bytes:
        with self._faults():
            content: bytes = self._files.cat_file(f"{self._root}/{path}")
        return content

    def write(self, path: str, content: bytes) -> None:
        target = f"{self._root}/{path}"
        with self._faults():
            with suppress(NotImplementedError):  # object stores have no folders
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(target, content)

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()  # such services know no locks

    @contextmanager
    def _faults(self) -> Iterator[Any]:
        """Every service has errors of its own, in which its address may stand with a password."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(without_passwords(str(error))) from error
        except Exception as error:
            kind = "" if isinstance(error, SharingError | ValueError) else f"{type(error).__name__}: "
            raise SharingError(f"{self._shown}: {kind}{printable(without_passwords(str(error)))}") from error
