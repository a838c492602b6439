"""Entries of the store and records, pushed to a shared place and pulled from it.

What is pulled is verified before it is put in place; nothing in it is executed. What is finished is never replaced, on
neither side. Hashes detect damage. They are no signature: pull from people whose numbers you would believe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import Timeout

from unsir_bench.config import sweep_problems
from unsir_bench.errors import DamagedEntryError, SharingError, UnreadableError
from unsir_bench.records import FINISHED, LARGEST, RECORD_FILE, RunRecord, printable
from unsir_bench.references.store import Entry, Store
from unsir_bench.runs.run_lock import run_lock
from unsir_bench.runtime.files import MANIFEST, MANIFEST_HASH, read_regular, sha256, sync_files, write_atomic
from unsir_bench.sharing.index import INDEX, NOT_SHARED, Index
from unsir_bench.sharing.places import Source, Target
from unsir_bench.versions import SCHEMA_VERSION

MOST_TRIES = 5  # to list files where others push at the same time
FOLDER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")  # of sweeps and runs


@dataclass
class Transfer:
    """What became of the entries and records.

    Attributes:
        entries, records: keys and run ids that were copied.
        present: that were there already, and stay as they are.
        refused: why something was not taken, by its name.
        size: bytes copied.
    """

    entries: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    size: int = 0


def push(
    store: Store, records: Mapping[Path, RunRecord], place: Target, keys: Collection[str] | None = None
) -> Transfer:
    """Copy entries and finished records to a place; an entry that is damaged here is refused.

    What is not listed in the place's index is not there. Each entry is listed once all of it has arrived, records at
    the end, so that an interrupted push keeps what it has done; what another one lists meanwhile stays listed.

    Args:
        store: whose entries are copied.
        records: by their path; those that are not finished are left out.
        place: to copy to.
        keys: of the entries to copy; None: all.

    Raises:
        SharingError: the place cannot be written, or its index is damaged.
    """
    done, index = Transfer(), _index_to_extend(place)
    try:
        for folder in store.folders():
            if keys is None or folder.name in keys:
                _push_entry(folder, place, index, done)
        for path, record in records.items():
            if record.status in FINISHED and record.schema_version == SCHEMA_VERSION:
                _push_record(path, record.run_id, place, index, done)
    except BaseException:
        with suppress(SharingError):  # the first error tells more
            _list(place, index, {})
        raise
    _list(place, index, {})
    return done


def _push_entry(folder: Path, place: Target, index: Index, done: Transfer) -> None:
    key = folder.name
    if f"entries/{key}/{MANIFEST}" in index.files:
        done.present.append(key)
        return
    try:
        files = _files_of(folder)
    except (DamagedEntryError, UnreadableError, OSError) as reason:
        done.refused[key] = printable(str(reason))
        return
    _list(place, index, _send(place, done, files))
    done.entries.append(key)


def _push_record(path: Path, run_id: str, place: Target, index: Index, done: Transfer) -> None:
    try:
        content = read_regular(path, LARGEST)
    except OSError as reason:  # it was there a moment ago
        done.refused[run_id] = printable(str(reason))
        return
    name = f"records/{sha256(content)}.json"
    if name in index.files:
        done.present.append(run_id)
        return
    index.files |= _send(place, done, {name: content})
    done.records.append(run_id)


def _index_to_extend(place: Target) -> Index:
    try:
        return Index.parsed(place.read(INDEX))
    except FileNotFoundError:
        return Index()
    except DamagedEntryError as reason:
        raise SharingError(f"{place}: {reason}; remove it and push again, or push to another place") from reason


def _files_of(folder: Path) -> dict[str, bytes]:
    """The content of an entry's files by the path they are shared under.

    Raises:
        DamagedEntryError: the entry is not what was written.
    """
    entry = _described(Entry.opened(folder).verify())
    names = [*(f"{name}.safetensors" for name in entry.hashes), MANIFEST_HASH, MANIFEST]
    return {f"entries/{folder.name}/{name}": read_regular(folder / name) for name in names}


def _described(entry: Entry) -> Entry:
    if "description" not in entry.manifest:
        raise DamagedEntryError("it has no description that its key could be held against")
    return entry


def _send(place: Target, done: Transfer, files: Mapping[str, bytes]) -> dict[str, str]:
    """Copy files to a place; returns the hash of each."""
    for path, content in files.items():
        with _writing(place, path):
            place.write(path, content)
        done.size += len(content)
    return {path: sha256(content) for path, content in files.items()}


def _list(place: Target, index: Index, new: Mapping[str, str]) -> None:
    """Write the index with new files, and with those that others have listed since it was read.

    Where no lock keeps others away, another's index may replace this one: it is read again, and written again.
    """
    for _ in range(MOST_TRIES):
        with _writing(place, INDEX), place.alone():
            index.files |= _index_to_extend(place).files | dict(new)
            place.write(INDEX, index.content())
            if index.files.keys() <= _index_to_extend(place).files.keys():
                return
    raise SharingError(
        f"{place}: {INDEX} lost what was listed in it {MOST_TRIES} times: others push to it, too; push again when they "
        "are done"
    )


@contextmanager
def _writing(place: Target, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SharingError(f"{place}: {path} cannot be written: {error}") from error


def pull(place: Source, store: Store, outputs: Path | None) -> Transfer:
    """Copy what a place holds and is not here; what is damaged there is refused by name, and the rest is taken.

    Args:
        place: to copy from.
        store: where entries go.
        outputs: the folder of sweeps, where records go; None: none are taken.

    Raises:
        SharingError: the place's index is missing or damaged.
    """
    try:
        index = Index.parsed(place.read(INDEX))
    except FileNotFoundError as reason:
        hint = "; ".join(f"{name} {why}" for name, why in place.refused.items()) or "`unsir-bench store push` makes it"
        raise SharingError(f"{place}: nothing is pulled: it holds no {INDEX} ({hint})") from reason
    except (DamagedEntryError, OSError) as reason:
        raise SharingError(f"{place}: nothing is pulled: {reason}") from reason
    done = Transfer(refused=dict(place.refused))
    for name in index.strange:
        done.refused[printable(name)] = NOT_SHARED
    for key, paths in index.entries().items():
        try:
            _take_entry(place, store, key, paths, index, done)
        except Timeout:
            done.refused[key] = "it is being made here by another process"
        except (DamagedEntryError, UnreadableError, SharingError, OSError) as reason:
            done.refused[key] = printable(str(reason))
    if outputs is not None:
        for target, content in _newest_records(place, store.root, outputs, index, done).items():
            try:
                _take_record(target, content, done)
            except Timeout:
                done.refused[target.parent.name] = "it is being done here by another process"
            except OSError as reason:
                done.refused[target.parent.name] = printable(str(reason))
    return done


def _read(place: Source, path: str, index: Index) -> bytes:
    content = place.read(path)
    if sha256(content) != index.files[path]:
        raise DamagedEntryError(f"{path} does not match its hash")
    return content


def _take_entry(place: Source, store: Store, key: str, paths: Mapping[str, str], index: Index, done: Transfer) -> None:
    if store.find(key) is not None:
        done.present.append(key)
        return
    with store.lock(key, "an entry that is pulled", wait=False):
        if store.find(key) is not None:  # it was finished meanwhile
            done.present.append(key)
            return
        with store.building(key) as folder:
            size = _copied(place, folder, key, paths, index)
    done.entries.append(key)
    done.size += size


def _copied(place: Source, folder: Path, key: str, paths: Mapping[str, str], index: Index) -> int:
    """Copy an entry's files, verified, into a folder; returns their bytes.

    Raises:
        DamagedEntryError: they are not what was written under the key.
    """
    size = sum((folder / name).write_bytes(_read(place, path, index)) for name, path in paths.items())
    entry = _described(Entry.opened(folder, key))
    named = {f"{name}.safetensors" for name in entry.hashes} | {MANIFEST, MANIFEST_HASH}
    if named != paths.keys():
        raise DamagedEntryError(f"its manifest names other files: {printable(str(sorted(named ^ paths.keys())))}")
    entry.verify()
    sync_files(folder)
    return size


def _newest_records(place: Source, store_root: Path, outputs: Path, index: Index, done: Transfer) -> dict[Path, bytes]:
    """The records of a place by where they go here: of one that was pushed again with more metrics the last version."""
    found: dict[Path, tuple[str, bytes]] = {}
    for path in index.records():
        try:
            content = _read(place, path, index)
            record = _shared_record(content)
            if (outputs / record.sweep).resolve().is_relative_to(store_root.resolve()):
                raise ValueError(f"sweep {record.sweep!r}: its folder here is the store {store_root}")
        except (OSError, ValueError, RecursionError, DamagedEntryError, SharingError) as reason:
            done.refused[path] = printable(str(reason))
            continue
        target = outputs / record.sweep / record.run_id / RECORD_FILE
        found[target] = max(found.get(target, ("", b"")), (record.written_last, content))
    return {target: content for target, (_, content) in found.items()}


def _shared_record(content: bytes) -> RunRecord:
    """A record that may be taken.

    Raises:
        ValueError: it may not; says why.
    """
    if len(content) > LARGEST:
        raise ValueError(f"is larger than {LARGEST} bytes")
    record = RunRecord.parsed(content)
    if record.schema_version != SCHEMA_VERSION or record.status not in FINISHED:
        raise ValueError(f"{record.run_id} is not finished, or of schema version {record.schema_version}")
    if not FOLDER_NAME.fullmatch(record.sweep) or not FOLDER_NAME.fullmatch(record.run_id):
        raise ValueError(f"sweep {record.sweep!r}, run {record.run_id!r}: cannot be folders of sweeps")
    for problem in sweep_problems(record.sweep):
        raise ValueError(problem)
    return record


def _take_record(target: Path, content: bytes, done: Transfer) -> None:
    if os.path.lexists(target):  # before its folder is touched
        done.present.append(target.parent.name)
        return
    with run_lock(target.parent, wait=False):
        if os.path.lexists(target):  # it was finished meanwhile
            done.present.append(target.parent.name)
            return
        write_atomic(target, content)
    done.records.append(target.parent.name)
    done.size += len(content)
