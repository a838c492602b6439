"""``attributes.csv`` beside a folder's images: what is known of each file, a column each.

The column ``file`` holds a path below the folder, with forward slashes (``train/cat/003.png``); the others are free.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unsir_bench.data.folder_listing import ImageFile
from unsir_bench.data.picture import as_text, printable
from unsir_bench.errors import DataError
from unsir_bench.runtime.files import read_regular

ATTRIBUTES = "attributes.csv"
FILE = "file"
Rows = Sequence[Mapping[str, str]]


def attribute_columns(root: Path) -> tuple[str, ...]:
    """The columns of a folder's file, ``file`` left out; none where there is no file.

    Raises:
        DataError: it cannot be read.
    """
    path = root / ATTRIBUTES
    return tuple(name for name in _read(path)[0] if name != FILE) if path.exists() else ()


def attribute_of_files(root: Path, column: str, files: Mapping[str, Sequence[ImageFile]]) -> dict[str, Sequence[str]]:
    """What a column says of each file, by split, in the order of ``files``.

    Args:
        root: the folder that ``files`` and the CSV's paths start from.
        column: of the CSV.
        files: of each split.

    Raises:
        DataError: the CSV is absent or unreadable, has no such column, or its rows are not the files: all is named.
    """
    path = root / ATTRIBUTES
    columns, rows = _read(path)
    names = {split: [as_text(file.path) for file in each] for split, each in files.items()}
    problems = list(_problems(columns, rows, column, [name for each in names.values() for name in each]))
    if problems:
        raise DataError("\n".join(f"{printable(str(path))}: {problem}" for problem in problems))
    known = {row[FILE]: row[column] for row in rows}
    return {split: [known[name] for name in each] for split, each in names.items()}


def _read(path: Path) -> tuple[Sequence[str], Rows]:
    try:
        table = csv.DictReader(io.StringIO(read_regular(path.resolve()).decode("utf-8-sig"), newline=""), strict=True)
        rows = list(table)
    except (OSError, RuntimeError, ValueError, csv.Error) as error:  # a RuntimeError of a link to itself
        raise DataError(f"{printable(str(path))}: cannot be read as a CSV in UTF-8 ({error})") from error
    return tuple(table.fieldnames or ()), rows


def _problems(columns: Sequence[str], rows: Rows, column: str, files: Sequence[str]) -> Iterator[str]:
    missing = [name for name in dict.fromkeys((FILE, column)) if name not in columns]
    if missing:
        yield f"has no column {' or '.join(map(_shown, missing))}; it has {', '.join(map(_shown, columns))}"
        return
    for name in dict.fromkeys((FILE, column)):
        if columns.count(name) > 1:
            yield f"has {columns.count(name)} columns named {_shown(name)}; rename all but one"
    uneven = [place for place, row in enumerate(rows, start=2) if None in row or None in row.values()]
    if uneven:
        yield f"row {uneven[0]} has more or fewer cells than the first ({len(uneven)} such rows)"
    named, known = Counter(row[FILE] for row in rows), set(files)
    for words, found in (
        ("names a file twice", [name for name, count in named.items() if count > 1]),
        ("names a file that is no image of the data set", [name for name in named if name not in known]),
        ("has no row for an image", [name for name in files if name not in named]),
    ):
        if found:
            yield f"{words}: {_shown(str(found[0]))} ({len(found)} such)"


def _shown(text: str) -> str:
    """A name in letters that can be written as UTF-8, as ``printable`` shows a path."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
