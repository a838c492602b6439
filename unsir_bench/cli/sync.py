"""`unsir-bench sync [FOLDER]`: upload finished offline runs to Weights & Biases."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from unsir_bench.records import printable
from unsir_bench.tracking.offline_runs import OfflineRuns, SyncOutcome, sync
from unsir_bench.tracking.run import LOGIN_HINT

FAILED, NOT_LOGGED_IN = 1, 2


def sync_command(argv: Sequence[str]) -> int:
    """Upload the offline runs below a folder and say what became of each.

    Args:
        argv: the words after ``sync``.

    Returns:
        Exit status: 0, 1 if an upload failed, 2 if there is no API key or no such folder.
    """
    given = _parser().parse_args(argv)
    if not given.folder.is_dir():
        print(f"{given.folder}: there is no such folder")
        return NOT_LOGGED_IN
    outcome = sync(given.folder, given.project, given.entity, note=print)
    _tell(outcome.runs)
    if outcome.problem is not None:
        print(f"Not logged in to Weights & Biases ({outcome.problem}): {LOGIN_HINT}, then run this again.")
        return NOT_LOGGED_IN
    return _told_failures(outcome)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unsir-bench sync", description="Upload finished offline runs.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("multirun_outputs"), metavar="FOLDER",
        help="of sweeps, of one sweep or of one run (default: multirun_outputs)",
    )  # fmt: skip
    parser.add_argument("--project", help="upload to this project (default: the one each run was logged for)")
    parser.add_argument("--entity", help="upload to this team or user (default: the one each run was logged for)")
    return parser


def _tell(runs: OfflineRuns) -> None:
    for folder in runs.unfinished:
        print(printable(f"left: {folder.parent.parent.name}: it has no finished record ({folder})"))
    for folder in runs.superseded:
        print(printable(f"left: {folder.parent.parent.name}: an attempt before the one that was recorded ({folder})"))
    print(
        f"{len(runs.waiting)} finished to upload, {len(runs.uploaded)} uploaded before, "
        f"{len(runs.unfinished)} unfinished, {len(runs.superseded)} superseded"
    )


def _told_failures(outcome: SyncOutcome) -> int:
    for folder, reason in outcome.failed.items():
        print(printable(f"failed: {folder.parent.parent.name}: {reason}\n        {folder}"))
    return FAILED if outcome.failed else 0
