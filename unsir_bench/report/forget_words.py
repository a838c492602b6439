"""The forget set of a run in words: what tables, figures and pages call it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import as_key, data_of

DRAWN = ("random_k", "share", "count")  # choices that differ from seed to seed
READ = ("file", "column")  # choices whose content lies in a file, of which the label has the name alone


def forget_labels(records: Sequence[RunRecord]) -> list[str]:
    """``forget_label`` of each record, with the content of its files where another record's differ under their names.

    The content is told by the split: it is that of the samples chosen, and no seed changes it unless samples are drawn.
    A run that ended before it knew its classes is named as another one of the same configuration that knows them.
    """
    labels = _labels(records)
    keys = [as_key({"label": label, "data": data_of(record)}) for label, record in zip(labels, records, strict=True)]
    splits = [record.fingerprints.get("split") if _from_files(record) else None for record in records]
    known: dict[str, set[str]] = defaultdict(set)
    for key, split in zip(keys, splits, strict=True):
        known[key] |= {split} if split else set()
    return [
        f"{label} content={split[:8]}" if split and len(known[key]) > 1 else label
        for label, key, split in zip(labels, keys, splits, strict=True)
    ]


def _labels(records: Sequence[RunRecord]) -> list[str]:
    own = list(map(forget_label, records))
    asked = [as_key({"data": data_of(record)[:2], "forget": record.config.get("forget")}) for record in records]
    known = {key: label for record, key, label in zip(records, asked, own, strict=True) if _knows_classes(record)}
    return [
        label if _knows_classes(record) else known.get(key, label)
        for record, key, label in zip(records, asked, own, strict=True)
    ]


def _knows_classes(record: RunRecord) -> bool:
    return bool(record.forget_classes or record.forget_steps)


def is_drawn(record: RunRecord) -> bool:
    """Whether each seed draws what it forgets, all of it or a request of a sequence: other seeds have other samples."""
    return bool(_choices(record) & set(DRAWN))


def forgets_classes(record: RunRecord) -> bool:
    """Whether classes are forgotten as such; of a run that ended before it knew them, whether it was to forget any."""
    asked = any(isinstance(each, list) for each in _requests(record)) or _choices(record) & {"classes", "random_k"}
    return bool(record.forget_classes) or (record.status != "done" and bool(asked))


def _from_files(record: RunRecord) -> bool:
    """Whether files decide what is forgotten, and no draw does."""
    named = any(isinstance(each, str) for each in _requests(record))
    return (named or bool(_choices(record) & set(READ))) and not is_drawn(record)


def _requests(record: RunRecord) -> Sequence[Any]:
    given = record.config.get("forget") or {}
    return given.get("sequence") or [given]


def _choices(record: RunRecord) -> set[str]:
    """The names of the options by which requests choose."""
    requests = [each for each in _requests(record) if isinstance(each, dict)]
    return {name for each in requests for name, value in each.items() if value is not None}


def forget_label(record: RunRecord) -> str:
    """The forget set in words; classes drawn anew for each seed are one set of their number.

    A sequence is named by the classes of each step, since the order of steps matters; that of classes within one does
    not. A run that ended before it knew its classes is named by those of its configuration.
    """
    given = record.config.get("forget", {})
    for drawn in DRAWN:
        if given.get(drawn):
            return f"{record.forget_set} ({given[drawn]:g}, drawn by seed)"
    if given.get("file"):
        return f"{record.forget_set} ({PurePath(given['file']).name})"
    if given.get("subclasses"):
        return f"{record.forget_set} ({', '.join(map(str, given['subclasses']))})"
    if given.get("column"):
        return f"{record.forget_set} ({given['column']}={given['value']})"
    if any(not isinstance(entry, list) for entry in given.get("sequence") or []):
        return f"{record.forget_set} {', '.join(map(_request_words, given['sequence']))}"
    groups = record.forget_steps if len(record.forget_steps) > 1 else [record.forget_classes]
    if not _knows_classes(record):
        groups = given.get("sequence") or [given.get("classes") or []]
    return f"{record.forget_set} {', '.join(map(_request_words, groups))}"


def forgotten_words(record: RunRecord) -> str:
    """The names of what is forgotten; where it has none, as ``forget_label``."""
    return ", ".join(record.forget_names) or forget_label(record)


def _request_words(entry: Any) -> str:
    """A request of a sequence as a command line would say it, files by their names alone."""
    if isinstance(entry, str):
        return PurePath(entry).name
    if isinstance(entry, list):
        return f"{{{', '.join(map(str, sorted(entry, key=str)))}}}"
    return ", ".join(f"{key} {PurePath(value).name if key == 'file' else value}" for key, value in entry.items())
