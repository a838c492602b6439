"""Writes the leaderboard: one page that opens from disk and asks the network for nothing, and the records beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from unsir_bench.records import FINISHED, RunRecord
from unsir_bench.report.folders import Sweep, texts_of
from unsir_bench.report.leaderboard.boards import boards
from unsir_bench.report.leaderboard.ranking import RULE
from unsir_bench.runtime.files import write_atomic

PAGE = "index.html"
RECORDS = "records"
PACKAGE = "unsir_bench.report.leaderboard"


class Site(NamedTuple):
    """What was written: the page, how many boards, and how many records."""

    page: Path
    boards: int
    records: int


def write_site(sweeps: Sequence[Sweep], output: Path) -> Site:
    """Write ``index.html`` and ``records/``; of several records of one run the one written last counts.

    A failed run has no file: it is counted beside those that finished.

    Args:
        sweeps: whatever was read.
        output: a folder.

    Raises:
        ValueError: no finished run of a method is among them.
    """
    everything = newest_of_each_run(found for sweep in sweeps for found in sweep.found)
    newest = [(path, record) for path, record in everything if record.status in FINISHED]
    shown = boards([record for _, record in everything])
    if not shown:
        raise ValueError("no finished run of a method is among these records")
    files = {record.run_id: file_of(record) for _, record in newest}
    (output / RECORDS).mkdir(parents=True, exist_ok=True)
    for (_, record), text in zip(newest, texts_of(path for path, _ in newest), strict=True):
        content = json.loads(text)
        write_atomic(output / RECORDS / files[record.run_id], json.dumps(content, indent=2) + "\n")
    unreadable = sum(len(sweep.unreadable) for sweep in sweeps)
    last = max(record.written_last for _, record in newest)[:10]
    page = _environment().get_template("leaderboard.html.j2").render(
        boards=shown, rule=RULE, folder=RECORDS, files=files, runs=len(newest), newest=last, unreadable=unreadable,
        script=_script(), script_hash=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
    )  # fmt: skip
    write_atomic(output / PAGE, page)
    return Site(output / PAGE, len(shown), len(newest))


def newest_of_each_run(found: Iterable[tuple[Path, RunRecord]]) -> list[tuple[Path, RunRecord]]:
    """Each run once: the record that was finished, or evaluated, last; a failed one only where none finished."""
    newest: dict[str, tuple[Path, RunRecord]] = {}
    for path, record in found:
        known = newest.get(record.run_id)
        if known is None or _rank(record) > _rank(known[1]):
            newest[record.run_id] = (path, record)
    return list(newest.values())


def _rank(record: RunRecord) -> tuple[bool, str]:
    return record.status in FINISHED, record.written_last


def file_of(record: RunRecord) -> str:
    """A name that says which run it is, and that no run id can lead out of the folder or make another's."""
    shown = re.sub(r"[^\w-]", "_", record.run_id, flags=re.ASCII)[:120]
    return f"{shown}.{hashlib.sha256(record.run_id.encode()).hexdigest()[:8]}.json"


def _environment() -> Environment:
    return Environment(loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def _script() -> str:
    """The page's script, which holds no text of any record: its hash is all that the page's policy allows to run."""
    source, _, _ = _environment().loader.get_source(_environment(), "leaderboard.js.j2")  # type: ignore[union-attr]
    return source
