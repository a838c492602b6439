"""One run, from configuration to record: under a lock, in one process or one per device, whatever happens."""

from __future__ import annotations

import importlib
import logging
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsir_bench.config import Config, sweep_problems
from unsir_bench.errors import (
    ConfigError,
    DataError,
    Diverged,
    NotApplicable,
    UnrecordableError,
    UnsirBenchError,
)
from unsir_bench.evaluation.registry import registered
from unsir_bench.records import RunRecord, printable
from unsir_bench.references.record_folders import note_folder
from unsir_bench.runs.experiment import forget_and_evaluate, prepared
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.runs.record_of_run import blank_record, note_forget_set
from unsir_bench.runs.run_lock import recording
from unsir_bench.runtime.environment import environment
from unsir_bench.runtime.several_processes import result_of_first
from unsir_bench.runtime.stops import note_stops
from unsir_bench.tracking.run import RememberingTracker, Tracker, start_tracker

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG = logging.getLogger("unsir_bench")


def run(
    config: Config, command: str = "", recorded: Callable[[], object] = lambda: None, *, temporary: bool = False
) -> RunRecord:
    """The record of a run: done now and written to the run's folder, or read from there if the run is finished.

    An error is recorded (status ``failed`` or ``diverged``), not raised, so that a sweep continues. Only an
    interruption by the user leaves no record. A run that another process is doing is waited for.

    Args:
        config: the run.
        command: see ``RunRecord.command``.
        recorded: called once this process has written the record, before the tracker reports it.
        temporary: whether ``config.outputs`` will be removed, so that the store need not know of it.

    Raises:
        ConfigError: the sweep's name is no name of a folder, so that there is no place for a record; the tracker's
            address holds a password; or the run is finished, of other images (see ``finished_run``).
        NotRecordedError: the record cannot be written.
    """
    if wrong := [*sweep_problems(config.sweep), *config.tracker.password_problems()]:
        raise ConfigError(wrong)
    finished, store = _finished(config), Path(config.store.root)
    if not temporary and (finished is None or store.is_dir()):  # a finished run makes no store
        with suppress(OSError):  # nothing is ever pruned from a store that cannot be written
            note_folder(store, Path(config.outputs))
    if finished is not None:
        return finished
    folder = config.folder  # the id hashes files that may be written anew meanwhile
    with recording(folder):
        if (finished := _finished(config)) is not None:  # by another sweep, while this one waited
            return finished
        record, tracker = _recorded(config, folder, command)
    recorded()
    # The record is on the disk: nothing that the tracker does can lose it.
    tracker.report(record, folder)
    tracker.finish(failed=record.status == "failed")
    return record


def _finished(config: Config) -> RunRecord | None:
    finished = finished_run(config)
    if finished is not None:
        LOG.info("%s is finished (%s): skipped; remove its folder to run it again", config.run_id, finished.status)
    return finished


def _recorded(config: Config, folder: Path, command: str) -> tuple[RunRecord, Tracker]:
    """Do a run and write its record into its folder; the tracker has still to report it."""
    folder.mkdir(parents=True, exist_ok=True)
    record, tracker = replace(blank_record(config, command), run_id=folder.name), Tracker(None)
    try:
        try:
            note_forget_set(record, config)
            tracker = start_tracker(config.tracker, record, folder)
            _launched(config, tracker, record)
            _require_the_same_files(config, record.run_id)
        except (Exception, SystemExit) as error:  # a failed run is a result too, one that a library would end as well
            record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
            record.error = traceback.format_exc()
            log_failure(error, record.run_id)
        LOG.info("%s: %s", record.status, _written(record, folder))
    except BaseException:  # of the user, or of the disk
        tracker.finish(failed=True)
        raise
    return record, tracker


def _require_the_same_files(config: Config, run_id: str) -> None:
    """Refuse a run during which a file that its id hashes was written anew: its numbers may be of either content.

    Raises:
        DataError: one was; names all that it may be.
    """
    if config.run_id == run_id:
        return
    backbone = getattr(config.model, "backbone", None)
    named = {
        "forget.file": config.forget.file, "model.weights": config.model.weights,
        "model.backbone.weights": getattr(backbone, "weights", None), "dataset.root": config.dataset.root,
        "dataset.path": getattr(config.dataset, "path", None),
    }  # fmt: skip
    files = ", ".join(f"{key}={path}" for key, path in named.items() if path)
    raise DataError(f"{files}: changed while the run was waiting or working; leave it alone, and run it again")


def _written(record: RunRecord, folder: Path) -> Path:
    """The path of the record, written; one that no reader would take is written as failed, without its results."""
    try:
        return record.write(folder)
    except UnrecordableError as error:
        log_failure(error, record.run_id)
        record.status, record.reason, record.error = "failed", f"{type(error).__name__}: {error}", None
        record.metrics, record.details, record.metric_notes, record.guarantees = {}, {}, {}, {}
        return record.write(folder)


def _launched(config: Config, tracker: Tracker, record: RunRecord) -> None:
    """Do the experiment in this process on one device, or in one new process per device."""
    fabric = config.hardware.start(config.model.cpu_threads)
    if config.hardware.devices == 1:
        _experiment(fabric, config, tracker, record)
        return
    added = sorted({metric.compute.__module__ for metric in registered() if not metric.shipped})
    folder = Path(config.outputs) / config.sweep / record.run_id
    first = result_of_first(fabric, partial(_experiment_of_rank, config, record, added), folder)
    vars(record).update(first["record"])
    for point in first["points"]:
        tracker.log(*point)


def _experiment_of_rank(config: Config, record: RunRecord, metrics_of: Sequence[str], fabric: Fabric) -> dict[str, Any]:
    """The experiment in one of several processes; returns the record and the points of all curves.

    Args:
        config, record: of the run; they bring the modules of their own classes.
        metrics_of: modules that register metrics of other packages.
        fabric: of several devices.
    """
    for name in metrics_of:
        importlib.import_module(name)
    _begin_rank(config, fabric)
    tracker = RememberingTracker()
    _experiment(fabric, config, tracker, record)
    return {"record": asdict(record), "points": tracker.points}


def _begin_rank(config: Config, fabric: Fabric) -> None:
    """Give a new process the run's flags; the first one alone tells how it goes on."""
    config.hardware.set_flags(config.model.cpu_threads)
    logging.basicConfig(level=logging.INFO if fabric.is_global_zero else logging.ERROR)


def _experiment(fabric: Fabric, config: Config, tracker: Tracker, record: RunRecord) -> None:
    """Do the experiment and note how it ended; several processes share each loss, so they diverge together."""
    record.environment = environment(fabric.device)
    note_stops()
    try:
        forget_and_evaluate(prepared(fabric, config, tracker, record))
        record.status = "done"
    except Diverged as error:
        record.status, record.reason = "diverged", str(error)
    except NotApplicable as error:
        record.status, record.reason = "skipped", str(error)


def train_reference(config: Config, role: str) -> None:
    """Train the original or the retrained model of a run if the store lacks it, on one device or on several.

    Args:
        config: of the run; it must have no mistakes.
        role: ``original`` or ``retrain``.

    Raises:
        UnsirBenchError: it cannot be trained; several devices raise torch's own error, which quotes this one.
    """
    fabric = config.hardware.start(config.model.cpu_threads)
    if config.hardware.devices == 1:
        _train_reference(config, role, fabric)
        return
    with tempfile.TemporaryDirectory() as handed_over:
        result_of_first(fabric, partial(_train_reference_of_rank, config, role), Path(handed_over))


def _train_reference_of_rank(config: Config, role: str, fabric: Fabric) -> None:
    _begin_rank(config, fabric)
    _train_reference(config, role, fabric)


def _train_reference(config: Config, role: str, fabric: Fabric) -> None:
    record = blank_record(config)
    note_forget_set(record, config)
    note_stops()
    scene = prepared(fabric, config, RememberingTracker(), record)
    if role == "original":
        scene.references.original(scene.context)
    else:
        scene.references.retrained(scene.steps[-1].so_far, scene.context)


def log_failure(error: BaseException, title: str) -> None:
    """Log an error: a user's mistake, or a disk's refusal, as one message; anything else with its traceback."""
    if isinstance(error, UnsirBenchError | OSError):
        LOG.error("%s: %s", title, printable(str(error)))
    else:
        LOG.error("%s: %s: %s", title, type(error).__name__, error, exc_info=error)
