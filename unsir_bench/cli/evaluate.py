"""`unsir-bench evaluate`: further metrics for finished runs, and all metrics for checkpoints made elsewhere."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.errors import HydraException

from unsir_bench.added_metrics import CannotEvaluateError, add_metrics
from unsir_bench.cli.bootstrap import bootstrap, compose
from unsir_bench.cli.reproduce import config_of, recorded_metrics
from unsir_bench.config import Config
from unsir_bench.errors import UnsirBenchError
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record, printable, record_paths
from unsir_bench.references.store import Store, StoreConfig

NOT_EVALUATED, WRONG = 1, 2
KEYS_OF_FINISHED = ("metrics", "store.root", "dataset.root")


def evaluate_command(argv: Sequence[str]) -> int:
    """Add metrics to finished runs, or score checkpoints.

    Args:
        argv: the words after ``evaluate``.

    Returns:
        Exit status: 0, 1 if a run could not be evaluated, 2 if the command is wrong.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s")
    settings = [word for word in given.words if "=" in word]
    folders = [Path(word) for word in given.words if "=" not in word]
    bootstrap()
    try:
        return _of_finished(folders, settings)
    except (UnsirBenchError, HydraException) as error:
        print(printable(str(error)))
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unsir-bench evaluate",
        description="Add to finished runs the metrics that they lack, without unlearning again.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="FOLDER|KEY=VALUE",
        help="folders of sweeps or of runs; metrics=full and the like, store.root=, dataset.root=",
    )  # fmt: skip
    return parser


def _of_finished(folders: Sequence[Path], settings: Sequence[str]) -> int:
    for word in settings:
        if not word.startswith(KEYS_OF_FINISHED):
            print(f"{word}: for finished runs, only {', '.join(KEYS_OF_FINISHED)} can be given")
            return WRONG
    runs = [run for folder in folders for run in _runs(folder)]
    if not runs:
        print(f"{' '.join(map(str, folders)) or 'no folder'}: there is no record; give the folder of a sweep or a run")
        return WRONG
    asked = compose(settings)
    # What the command does not name is as the record says.
    store = asked.store if any(word.startswith("store.root=") for word in settings) else None
    status = 0
    for run in runs:
        try:
            print(f"{run.name}: {_added(run, asked, store)}")
        except (UnsirBenchError, ValueError) as reason:
            print(f"{printable(str(run))}: not evaluated: {printable(str(reason))}")
            status = NOT_EVALUATED
    return status


def _runs(folder: Path) -> list[Path]:
    """The run folders of a run or of a sweep."""
    return [folder] if (folder / RECORD_FILE).is_file() else [path.parent for path in record_paths(folder)]


def _added(folder: Path, asked: Config, store: StoreConfig | None) -> str:
    """Add what the run lacks, one process at a time; returns what was done, in words."""
    at = store or StoreConfig(**_finished(folder).config.get("store", {}))
    with Store(Path(at.root)).lock(f"record-{folder.name}", f"metrics of {folder.name}"):
        record = _finished(folder)
        if record.status != "done":
            return f"{record.status}: there is nothing to measure"
        config = replace(config_of(record, asked.dataset.root), store=at, metrics=recorded_metrics(record))
        added = add_metrics(record, config, asked.metrics, folder)
    return f"{len(added)} metrics added" if added else "nothing is missing"


def _finished(folder: Path) -> RunRecord:
    record = finished_record(folder)
    if record is None:
        raise CannotEvaluateError("it has no finished record")
    return record
