"""The records in the folders of sweeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unsir_bench.records import RECORD_FILE, RunRecord, printable, record_paths, records_below

if TYPE_CHECKING:
    import pandas as pd

NO_SWEEPS = ("store", "report")


@dataclass(frozen=True)
class Sweep:
    """The records in a folder.

    Attributes:
        found: path and record of every run, in order of run id.
        unreadable: path of each record that cannot be read, and why.
    """

    folder: Path
    found: list[tuple[Path, RunRecord]]
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def records(self) -> list[RunRecord]:
        """Every record that can be read."""
        return [record for _, record in self.found]


def load_records(folder: Path | str) -> pd.DataFrame:
    """The records of a sweep, one row a run, for a notebook: ``load_records("multirun_outputs/mine")``."""
    from unsir_bench.report.data import run_table

    return run_table(read_sweep(Path(folder)).records)


def sweep_folders(folder: Path) -> list[Path]:
    """The folder itself or those below it, at any depth, that hold run folders with records; store and report apart."""
    sweeps = {path.parent.parent for path in folder.rglob(f"*/{RECORD_FILE}")}
    return sorted(sweep for sweep in sweeps if not set(sweep.relative_to(folder).parts) & set(NO_SWEEPS))


def read_sweep(folder: Path) -> Sweep:
    """Every record in the run folders of a sweep; those that cannot be read are named with the reason."""
    found = list(records_below(folder))
    read = {path for path, _ in found}
    missing = [path for path in record_paths(folder) if path not in read]
    return Sweep(folder, found, [(path, _why_unreadable(path)) for path in missing])


def _why_unreadable(path: Path) -> str:
    try:
        RunRecord.read(path)
    except ValueError as error:
        return str(error).removeprefix(f"{printable(str(path))}: ")
    return "it changed while the page was made"
