"""`unsir-bench evaluate`: further metrics for finished runs, and all metrics for checkpoints made elsewhere."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from unsir_bench.cli.bootstrap import bootstrap, compose
from unsir_bench.cli.moved_paths import MOVABLE, is_moved_path, moved_paths
from unsir_bench.cli.recorded_config import config_of
from unsir_bench.cli.terminal import log_to_terminal
from unsir_bench.config import Config
from unsir_bench.config_fields import problems
from unsir_bench.errors import ConfigError, UnsirBenchError
from unsir_bench.evaluation.evaluate import MetricsConfig
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record, printable, record_paths
from unsir_bench.references.record_folders import note_folder
from unsir_bench.references.store import StoreConfig
from unsir_bench.report.forget_words import forgotten_words
from unsir_bench.report.tables.text import job_rows, print_rows
from unsir_bench.runner import log_failure
from unsir_bench.runs.added_metrics import CannotEvaluateError, add_metrics
from unsir_bench.runs.checkpoint_scores import ORIGINAL, RETRAIN, UNLEARNED, sanity, score_checkpoints
from unsir_bench.runs.finished_runs import recorded_metrics
from unsir_bench.runs.run_lock import run_lock

NOT_EVALUATED, WRONG = 1, 2
KEYS_OF_FINISHED = ("metrics", "store.root", *MOVABLE)


def evaluate_command(argv: Sequence[str]) -> int:
    """Add metrics to finished runs, or score checkpoints.

    Args:
        argv: the words after ``evaluate``.

    Returns:
        Exit status: 0, 1 if a run could not be evaluated, 2 if the command is wrong.
    """
    given = _parser().parse_intermixed_args(argv)
    log_to_terminal()
    settings = [word for word in given.words if "=" in word and not os.path.lexists(word)]
    folders = [Path(word) for word in given.words if word not in settings]
    bootstrap()
    try:
        if given.original or given.unlearned or given.retrained:
            return _of_checkpoints(given, folders, settings, argv)
        return _of_finished(folders, settings)
    except (UnsirBenchError, HydraException) as error:
        print(printable(str(error)))
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unsir-bench evaluate",
        description="Add to finished runs the metrics that they lack, without unlearning again; or, with --original "
        "and --unlearned, measure models made elsewhere (docs/evaluate.md).",
    )
    parser.add_argument(
        "words", nargs="*", metavar="FOLDER|KEY=VALUE",
        help="folders of sweeps or runs, with metrics=, store.root= and the paths of moved files; or what the "
        "checkpoints are of",
    )  # fmt: skip
    for role, words in (
        ("original", "before unlearning"),
        ("unlearned", "after"),
        ("retrained", "without the classes"),
    ):
        parser.add_argument(f"--{role}", type=Path, metavar="FILE", help=f"the state dict of the model {words}")
    parser.add_argument("--name", help="the method's name in tables (default: the name of the unlearned file)")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="THEIRS=OURS",
        help="names of tensors, such as 'linear.*=fc.*'; may be given several times",
    )  # fmt: skip
    return parser


def _of_checkpoints(
    given: argparse.Namespace, folders: Sequence[Path], settings: Sequence[str], argv: Sequence[str]
) -> int:
    if folders or not (given.original and given.unlearned):
        print("give --original FILE and --unlearned FILE, the model before and after, and KEY=VALUE; no folder")
        return WRONG
    files = {ORIGINAL: given.original, UNLEARNED: given.unlearned}
    files |= {RETRAIN: given.retrained} if given.retrained else {}
    name = given.name or given.unlearned.stem
    command = shlex.join(["unsir-bench", "evaluate", *argv])
    record, path = score_checkpoints(compose(["method=original", *settings]), name, files, given.rename, command)
    print_rows(list(job_rows(record)), f"{record.run_id}: forgetting {forgotten_words(record)}")
    print(sanity(record))
    print(f"record: {path}")
    return 0


def _of_finished(folders: Sequence[Path], settings: Sequence[str]) -> int:
    for word in settings:
        if not word.startswith(KEYS_OF_FINISHED):
            print(f"{word}: for finished runs, only {', '.join(KEYS_OF_FINISHED)} can be given")
            return WRONG
    found = {folder: _runs(folder.absolute()) for folder in folders}
    empty = [str(folder) for folder, below in found.items() if not below]
    if empty or not folders:
        print(f"{' '.join(empty) or 'no folder'}: there is no record; give the folder of a sweep or a run")
        return WRONG
    runs = [run for below in found.values() for run in below]
    asked = _asked(settings)
    status = 0
    for run in runs:
        try:
            print(f"{run.name}: {_added(run, settings, *asked)}")
        except (UnsirBenchError, ValueError, OSError) as reason:
            print(f"{printable(str(run))}: not evaluated: {printable(str(reason))}")
            status = NOT_EVALUATED
        except Exception as error:  # of a metric, or of the machine: the other runs go on
            log_failure(error, f"{printable(str(run))}: not evaluated")
            status = NOT_EVALUATED
    return status


def _asked(settings: Sequence[str]) -> tuple[Config, StoreConfig | None, Mapping[str, Any]]:
    """What is to be measured, from which store (None: from the one that the record names), and paths by their key."""
    asked = compose([word for word in settings if not is_moved_path(word)])
    if wrong := list(problems(asked.metrics, "metrics")):
        raise ConfigError(wrong)
    store = asked.store if any(word.startswith("store.root=") for word in settings) else None
    return asked, store, moved_paths([word for word in settings if is_moved_path(word)])


def evaluate(folder: Path | str, settings: Sequence[str] = ()) -> RunRecord:
    """Add metrics to a finished run without unlearning again, for a notebook: ``evaluate(folder, ["metrics=full"])``.

    Args:
        folder: of the run, such as ``config.folder``.
        settings: ``metrics=``, ``store.root=`` and the paths of moved files, as the command takes them.

    Returns:
        The record as it is now.

    Raises:
        ConfigError: a setting is wrong.
        UnsirBenchError: the run cannot be evaluated; says why.
    """
    place = Path(folder).absolute()
    _added(place, settings, *_asked(settings))
    return RunRecord.read(place / RECORD_FILE)


def _runs(folder: Path) -> list[Path]:
    """The run folders of a run or of a sweep."""
    return [folder] if (folder / RECORD_FILE).is_file() else [path.parent for path in record_paths(folder)]


def _added(
    folder: Path, settings: Sequence[str], asked: Config, store: StoreConfig | None, moved: Mapping[str, Any]
) -> str:
    """Add what the run lacks, one process at a time; returns what was done, in words."""
    at = store or StoreConfig(str((_finished(folder).config.get("store") or {}).get("root", StoreConfig().root)))
    if Path(at.root).is_dir():
        with suppress(OSError):  # nothing is ever pruned from a store that cannot be written
            note_folder(Path(at.root), folder.parent.parent)
    with run_lock(folder):
        record = _finished(folder)
        if record.status != "done":
            return f"{record.status}: there is nothing to measure"
        own = recorded_metrics(record)
        config = replace(config_of(record, moved), store=at, metrics=own)
        added = add_metrics(record, config, _wanted(own, asked.metrics, settings), folder)
    return f"{len(added)} metrics added" if added else "nothing is missing"


def _wanted(own: MetricsConfig, asked: MetricsConfig, settings: Sequence[str]) -> MetricsConfig:
    """The metrics asked for: single keys without a preset change the record's own settings alone."""
    given = [word.partition("=")[0].split(".")[1:] for word in settings if word.startswith("metrics.")]
    if not given or any(word.startswith("metrics=") for word in settings):
        return asked
    relearn = {key[1]: getattr(asked.relearn, key[1]) for key in given if len(key) > 1}
    switches = {key[0]: getattr(asked, key[0]) for key in given if len(key) == 1}
    return replace(own, **{"relearn": replace(own.relearn, **relearn), **switches})


def _finished(folder: Path) -> RunRecord:
    record = finished_record(folder)
    if record is None:
        raise CannotEvaluateError("it has no finished record")
    return record
