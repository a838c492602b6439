"""The records in the folders of sweeps."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from unsir_bench.records import RECORD_FILE, RunRecord, printable, read_records
from unsir_bench.runtime.files import PACKED, read_lines, read_regular

if TYPE_CHECKING:
    import pandas as pd

LOG = logging.getLogger("unsir_bench")
NO_SWEEPS = ("store", "report")
LINES_FILE = "records.jsonl"  # a sweep's records, one on each line, as `unsir-report gather` writes them
PACKED_FILE = f"{LINES_FILE}{PACKED}"  # the same as `gather --xz` writes them: a twentieth of the size
LINES_FILES = (LINES_FILE, PACKED_FILE)
Found = list[tuple[Path, RunRecord]]


@dataclass(frozen=True)
class Sweep:
    """The records in a folder.

    Attributes:
        found: path and record of every run, in order of run id; of a record in ``records.jsonl`` or
            ``records.jsonl.xz`` the path ends in its line, as ``unsir-bench reproduce`` takes it.
        unreadable: path of each record that cannot be read, and why.
    """

    folder: Path
    found: Found
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def records(self) -> list[RunRecord]:
        """Every record that can be read."""
        return [record for _, record in self.found]


def load_records(folder: Path | str) -> pd.DataFrame:
    """The records of a sweep, one row a run, for a notebook: ``load_records("multirun_outputs/mine")``.

    Args:
        folder: of the sweep: of its runs' folders, of a ``records.jsonl`` or ``records.jsonl.xz``.

    Returns:
        The frame; ``frame.attrs["units"]`` holds the unit of each column of numbers.

    Raises:
        ValueError: there is no record in the folder that can be read.
    """
    from unsir_bench.report.data import run_table
    from unsir_bench.report.units import units

    sweep = read_sweep(Path(folder))
    if not sweep.found:
        whys = "; ".join(why for _, why in sweep.unreadable[:1])
        raise ValueError(f"{folder}: no record that can be read{f' ({whys})' if whys else ''}; give a sweep's folder")
    frame = run_table(sweep.records)
    frame.attrs["units"] = units(frame)
    return frame


def sweep_folders(folder: Path) -> list[Path]:
    """The folder itself or those below it, at any depth, that hold records; store and report apart."""
    sweeps = {path.parent.parent for path in folder.rglob(f"*/{RECORD_FILE}")}
    sweeps |= {path.parent for name in LINES_FILES for path in folder.rglob(name)}
    return sorted(sweep for sweep in sweeps if not set(sweep.relative_to(folder).parts) & set(NO_SWEEPS))


def read_sweep(folder: Path) -> Sweep:
    """Every record of a sweep, in a run's folder or on a line; those that cannot be read are named with the reason.

    Of a run that lies there several times, as after gathering the sweep into its own folder, the record in the run's
    folder counts, else that of the file which has the one written last. Two that differ within one file are both kept,
    so that ``unsir-bench verify`` complains of them.
    """
    own, bad = read_records(folder)
    files = []
    for name in LINES_FILES:
        in_lines, bad_lines = _in_lines(folder / name)
        files.append(in_lines)
        bad = [*bad, *bad_lines]
    once: dict[tuple[str, str], tuple[Path, RunRecord]] = {}
    for path, record in [*own, *_newest(files, {record.run_id for _, record in own})]:
        once.setdefault((record.run_id, record.digest or str(path)), (path, record))  # older ones have no digest
    return Sweep(folder, list(once.values()), bad)


def _newest(files: Sequence[Found], known: set[str]) -> Found:
    """The records of runs that are not ``known``, those of each run from the file with the one written last."""
    best: dict[str, tuple[str, int]] = {}
    for place, found in enumerate(files):
        for _, record in found:
            told = best.get(record.run_id)
            if record.run_id not in known and (told is None or record.written_last > told[0]):
                best[record.run_id] = (record.written_last, place)
    return [
        (path, record)
        for place, found in enumerate(files)
        for path, record in found
        if record.run_id in best and best[record.run_id][1] == place
    ]


def _in_lines(path: Path) -> tuple[Found, list[tuple[Path, str]]]:
    """Records of a file that holds one on each line, and lines that hold none with the reason; warns of these."""
    if not os.path.lexists(path):
        return [], []
    try:
        lines = read_lines(path)
    except OSError as error:
        return [], [_left_out(path, str(error.strerror or error))]
    found, bad = [], []
    for number, line in enumerate(lines, start=1):
        place = path.with_name(f"{path.name}:{number}")
        try:
            found.append((place, RunRecord.parsed(line)))
        except (ValueError, RecursionError) as error:
            bad.append(_left_out(place, printable(str(error))))
    return found, bad


def _left_out(path: Path, why: str) -> tuple[Path, str]:
    LOG.warning("%s cannot be read and is left out: %s", printable(str(path)), why)
    return path, why


def gathered(sweep: Sweep) -> str:
    """The records of a sweep, one on each line, in order of run id; each keeps its digest."""
    contents = [json.loads(text) for text in texts_of(path for path, _ in sweep.found)]
    return "".join(f"{json.dumps(content, separators=(',', ':'))}\n" for content in contents)


def counted(count: int, word: str) -> str:
    """Such as ``1 run`` or ``2 runs``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def texts_of(paths: Iterable[Path]) -> Iterator[bytes]:
    """The JSON of each record as it was written; paths as in ``Sweep.found``."""
    lines_of = cache(read_lines)
    for path in paths:
        name, _, line = path.name.rpartition(":")
        yield lines_of(path.with_name(name))[int(line) - 1] if name else read_regular(path)
