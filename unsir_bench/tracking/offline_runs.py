"""Offline runs of Weights & Biases: which wait for their upload, and the upload.

Each is uploaded by the command `wandb sync`, in a process of its own.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from unsir_bench.records import finished_record
from unsir_bench.tracking.run import PATIENCE, login_problem
from unsir_bench.tracking.tracker_config import without_passwords

LOG = logging.getLogger("unsir_bench")
UPLOAD_SECONDS = 900  # for one run


@dataclass
class OfflineRuns:
    """The offline runs below a folder, by what is to be done with them.

    Attributes:
        waiting: of finished runs, not uploaded.
        uploaded: before now.
        unfinished: of runs that have no finished record.
        superseded: of earlier attempts at a run that was done again.
    """

    waiting: list[Path] = field(default_factory=list)
    uploaded: list[Path] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    superseded: list[Path] = field(default_factory=list)


def offline_runs(outputs: Path) -> OfflineRuns:
    """Look for offline runs in a folder of sweeps, of one sweep or of one run."""
    found = OfflineRuns()
    for depth in range(4):
        for wandb_folder in sorted(outputs.absolute().glob("*/" * depth + "wandb")):
            attempts = sorted(wandb_folder.glob("offline-run-*"), key=_written)
            for attempt in attempts:
                _kind(found, attempt, newest=attempt == attempts[-1]).append(attempt)
    return found


def _written(attempt: Path) -> float:
    """When its file was last written; its folder is named by the local time, which is set back in autumn."""
    return max((file.stat().st_mtime for file in attempt.glob("run-*.wandb")), default=0.0)


def _kind(found: OfflineRuns, attempt: Path, *, newest: bool) -> list[Path]:
    file = next(attempt.glob("run-*.wandb"), None)
    record = finished_record(attempt.parent.parent)
    if file is not None and _marker(file).exists():
        return found.uploaded
    if file is None or record is None:
        return found.unfinished
    # An older file is of an attempt before the record's, which was then logged online or not at all.
    current = newest and file.stat().st_mtime >= datetime.fromisoformat(record.started).timestamp()
    return found.waiting if current else found.superseded


def _marker(file: Path) -> Path:
    """What `wandb sync` leaves beside a file that has been uploaded whole."""
    return file.with_name(f"{file.name}.synced")


@dataclass
class SyncOutcome:
    """What `sync` found and did.

    Attributes:
        runs: as found before.
        problem: why nothing was tried: no API key, or one that cannot be one; else None.
        failed: why an upload failed, by its folder.
    """

    runs: OfflineRuns
    problem: str | None = None
    failed: dict[Path, str] = field(default_factory=dict)


def sync(
    outputs: Path,
    project: str | None = None,
    entity: str | None = None,
    note: Callable[[str], None] = LOG.info,
) -> SyncOutcome:
    """Upload the offline runs of finished records that have not been uploaded; one that fails stops no other.

    Args:
        outputs: folder of sweeps, of one sweep or of one run.
        project: to upload to; None: the one each run was logged for.
        entity: likewise; None: each run's, or your default.
        note: called with a line for each upload.
    """
    outcome = SyncOutcome(offline_runs(outputs), login_problem())
    if outcome.problem is not None:
        return outcome
    for place, run in enumerate(outcome.runs.waiting, start=1):
        reason = _upload(run, project, entity)
        if reason is not None:
            outcome.failed[run] = reason
        words = "uploaded" if reason is None else f"failed ({reason})"
        note(f"[{place}/{len(outcome.runs.waiting)}] {run.parent.parent.name}: {words}")
    return outcome


def _upload(run: Path, project: str | None, entity: str | None) -> str | None:
    """Upload one run in a process of its own, since a fault ends W&B's; why it failed, or None."""
    given = {"--project": project, "--entity": entity}
    options = [word for name, value in given.items() if value for word in (name, value)]
    command = [sys.executable, "-m", "wandb", "sync", *options, str(run.absolute())]
    # A mode of "offline" is meant for runs, and a service that uploads share would end with the fault of one.
    kept = {name: value for name, value in os.environ.items() if name not in ("WANDB_MODE", "WANDB_SERVICE")}
    surrounding = PATIENCE | kept
    try:
        done = subprocess.run(  # noqa: S603
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=UPLOAD_SECONDS,
            env=surrounding,
            cwd=run.parent.parent,  # a log of the command is written into its folder `wandb`
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    # `wandb sync` ends with status 0 whatever the server says; its marker alone tells.
    if any(_marker(file).exists() for file in run.glob("run-*.wandb")):
        return None
    return _last_error(done.stdout + done.stderr) or f"`wandb sync` ended with status {done.returncode}"


def _last_error(output: str) -> str:
    """The last line in which wandb itself speaks of an error, without its prefix."""
    lines: Iterable[str] = (line.removeprefix("wandb: ").strip() for line in output.splitlines())
    return without_passwords(next((line for line in reversed([*lines]) if "ERROR" in line or "panic:" in line), ""))
