"""Classes as users write them: an integer is an index, a word is a name, and what could be either is refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import yaml

from unsir_bench.config_fields import nearest


def listed_problems(key: str, entries: Sequence[Any], class_names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each entry that is no class, could be two, is there twice, or leaves no class to retain."""
    for entry in entries:
        complaint = _complaint(key, entry, class_names)
        if complaint:
            yield _one_line(f"{key}: {complaint}")
    indices = [index for entry in entries if (index := _index_of(entry, class_names)) is not None]
    for index in sorted({index for index in indices if indices.count(index) > 1}):
        yield _one_line(f"{key}={list(entries)}: class {index} ({class_names[index]}) is given twice")
    if len(set(indices)) == len(class_names):
        yield _one_line(f"{key}={list(entries)}: forgets all {len(class_names)} classes; leave at least one to retain")


def indices_of(entries: Sequence[Any], class_names: Sequence[str]) -> tuple[int, ...]:
    """The indices of entries in ascending order; those that are no class are left out."""
    indices = (_index_of(entry, class_names) for entry in entries)
    return tuple(sorted(index for index in indices if index is not None))


def _index_of(entry: Any, class_names: Sequence[str]) -> int | None:
    if type(entry) is int:
        return entry if 0 <= entry < len(class_names) else None
    if not isinstance(entry, str):
        return None
    if entry in class_names:
        return class_names.index(entry)
    # One file system composes letters with their accents, another takes them apart.
    composed = [unicodedata.normalize("NFC", name) for name in class_names]
    wanted = unicodedata.normalize("NFC", entry)
    return composed.index(wanted) if composed.count(wanted) == 1 else None


def _complaint(key: str, entry: Any, class_names: Sequence[str]) -> str | None:
    """What is wrong with one entry."""
    index = _index_of(entry, class_names)
    if isinstance(entry, str):
        return None if index is not None else f"{entry!r} is no class; {_known(entry, class_names)}"
    if index is not None and class_names[index] == str(entry):
        return None
    named = [place for place, name in enumerate(class_names) if place != index and read_as(name, entry)]
    if index is not None and named:
        return (
            f"{entry} can be an index or the class named {class_names[named[0]]!r}; write "
            f"{_written(key, named[0], class_names)} for that class, "
            f"or {_written(key, index, class_names)} for the class of index {entry}"
        )
    if index is not None:
        return None
    if named:
        name = class_names[named[0]]
        return f"{entry!r} is no class; write {_written(key, named[0], class_names)} for the class named {name!r}"
    return f"{entry!r} is no class; {_known(entry, class_names)}"


def _known(entry: Any, class_names: Sequence[str]) -> str:
    if isinstance(entry, int):
        return f"indices go from 0 to {len(class_names) - 1}"
    return f"did you mean {nearest(str(entry), class_names)}? (an index from 0 to {len(class_names) - 1} also does)"


def read_as(name: str, entry: Any) -> bool:
    """Whether a name written without quotes is this value, on a command line or in YAML."""
    return repr(entry) in _values(name)  # not by ==: nan differs from itself


@lru_cache(maxsize=4096)
def _values(name: str) -> frozenset[str]:
    values = set()
    for read in (yaml.safe_load, int, float):
        try:
            values.add(repr(read(name)))
        except (ValueError, yaml.YAMLError):
            continue
    return frozenset(values)


def _written(key: str, index: int, class_names: Sequence[str]) -> str:
    """The words of a command line that mean the class, whatever the shell; its index if quotes would not do."""
    name, group = class_names[index], "[[{}]]" if key.endswith("sequence") else "[{}]"
    if not name.isprintable() or set(name) & set("$`\\\"'!"):
        return f"{key}={group.format(index)}"
    return f'"{key}={group.format(repr(name))}"'


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
