"""Which records use which entries of the store."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsir_bench.records import RECORD_FILE, RunRecord, printable
from unsir_bench.references.store import Store


@dataclass
class KeptRecords:
    """The records below a folder.

    Attributes:
        readable: by their path.
        unreadable: why a record cannot be read, or a folder cannot be listed, by its path; the reason names it, too.
    """

    readable: dict[Path, RunRecord] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)

    def add(self, others: KeptRecords) -> None:
        """Take those of another folder, in place, but for those that are here under another path."""
        known = {path.resolve() for path in (*self.readable, *self.unreadable)}
        self.readable.update({path: it for path, it in others.readable.items() if path.resolve() not in known})
        self.unreadable.update({path: why for path, why in others.unreadable.items() if path.resolve() not in known})


def kept_records(outputs: Path) -> KeptRecords:
    """All records of a folder of sweeps, or of one sweep."""
    found = KeptRecords()
    for folder in [outputs, *_folders_of(outputs, found)]:
        for path in (run / RECORD_FILE for run in _folders_of(folder, found)):
            try:
                found.readable[path] = RunRecord.read(path)
            except ValueError as reason:
                if not isinstance(reason.__cause__, FileNotFoundError):
                    found.unreadable[path] = str(reason)
    return found


def _folders_of(folder: Path, found: KeptRecords) -> list[Path]:
    """The folders in a folder, in order of name; one that cannot be listed is noted in ``found``."""
    try:
        with os.scandir(folder) as inside:
            return sorted(Path(each.path) for each in inside if each.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:  # which pathlib's glob takes for an empty folder
        found.unreadable[folder] = f"{printable(str(folder))}: {error.strerror or error}"
        return []


def users_of_entries(store: Store, records: Iterable[RunRecord]) -> dict[str, list[str]]:
    """The ids of the runs that use an entry, by the entry's key.

    A record lists the keys of what its run used. One that was written before records did so counts as a user of every
    entry of its data set, and of all that was derived from these.
    """
    users: dict[str, list[str]] = defaultdict(list)
    descriptions = {entry.folder.name: entry.manifest.get("description") or {} for entry in store.entries()}
    for record in records:
        keys = record.store_entries
        for key in _entries_of_data(record, descriptions) if keys is None else keys:
            users[key].append(record.run_id)
    return users


def _entries_of_data(record: RunRecord, descriptions: Mapping[str, Mapping[str, Any]]) -> set[str]:
    data = record.fingerprints.get("data")
    keys = {record.fingerprints.get(name) for name in ("original", "retrain")} - {None}
    keys |= {key for key, about in descriptions.items() if data is not None and about.get("data") == data}
    before = -1
    while len(keys) > before:
        before = len(keys)
        keys |= {key for key, about in descriptions.items() if not keys.isdisjoint(_words(about))}
    return {key for key in keys if key is not None}


def _words(content: Any) -> Iterator[str]:
    """Every text among plain values; a description names the entries that it was derived from by their keys."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _words(value)
    elif isinstance(content, list):
        for value in content:
            yield from _words(value)
