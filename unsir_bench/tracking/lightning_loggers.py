"""MLflow and TensorBoard, through Lightning's loggers: curves, configuration, metrics, and how the run ended.

Tables and Grad-CAM maps are not logged there; the record has them.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.runtime.locks import locked
from unsir_bench.runtime.time_limit import within
from unsir_bench.tracking.run import LOG, LONGEST_CALL, Tracker, surroundings
from unsir_bench.tracking.tables import Point, curves
from unsir_bench.tracking.tracker_config import TrackerConfig, without_passwords

SERVER = "MLFLOW_TRACKING_URI"
LONGEST_TAG = 5000  # characters of a value that MLflow takes
# Before its import: MLflow reports its use to its makers otherwise.
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true"}


class LoggerTracker(Tracker, ABC):
    """Logs one run through one of Lightning's loggers; points wait while a clock runs, faults cost no run."""

    def report(self, record: RunRecord, folder: Path) -> None:
        self._guarded(lambda _: self._waiting.extend(curves(record)))
        self._flush()
        self._guarded(lambda logger: self._results(logger, record))

    @abstractmethod
    def _results(self, logger: Any, record: RunRecord) -> None:
        """Log what the record says."""

    def _send(self, run: Any, points: Sequence[Point]) -> None:
        for phase, step, values in points:
            run.log_metrics({f"{phase}/{name}": value for name, value in values.items()}, step)
        run.save()

    def _end(self, run: Any, *, failed: bool) -> None:
        run.finalize("failed" if failed else "success")

    def _give_up(self, run: Any, error: BaseException) -> None:
        if not isinstance(error, TimeoutError):
            with suppress(Exception, SystemExit):  # what has been logged so far is kept
                within(LONGEST_CALL, partial(self._end, run, failed=True))


class MLflowTracker(LoggerTracker):
    """A run of MLflow: its name is the run id, its experiment the project."""

    service = "MLflow"

    def _results(self, logger: Any, record: RunRecord) -> None:
        logger.log_hyperparams(_settings(record))
        logger.log_metrics(_numbers(record))
        for name, value in _ending(record).items():
            logger.experiment.set_tag(logger.run_id, name, value[:LONGEST_TAG])


class TensorBoardTracker(LoggerTracker):
    """Event files in the run's folder, one subfolder for each attempt."""

    service = "TensorBoard"

    def _results(self, logger: Any, record: RunRecord) -> None:
        # Without a metric TensorBoard shows no settings: those of a failed run.
        logger.log_hyperparams(_settings(record), {"finished": float(record.status == "done"), **_numbers(record)})
        for name, value in _ending(record).items():
            logger.experiment.add_text(name, value)
        logger.save()


def start_logger(config: TrackerConfig, record: RunRecord, folder: Path) -> Tracker:
    """Begin logging a run; one that cannot be logged goes on without.

    Args:
        config: mode, project and address.
        record: of the run: its id, sweep, method, data set and model.
        folder: the run's, ``OUTPUTS/SWEEP/RUN_ID``.
    """
    start, tracker = {
        "mlflow": (_mlflow, MLflowTracker),
        "tensorboard": (_tensorboard, TensorBoardTracker),
    }[config.mode]
    try:
        return tracker(within(LONGEST_CALL, partial(start, config, record, folder)))
    except (Exception, SystemExit) as error:  # whatever the tracker does, the run goes on
        LOG.warning(
            "%s did not start (%s: %s); the run goes on without it",
            tracker.service, type(error).__name__, without_passwords(str(error)),
        )  # fmt: skip
    return Tracker(None)


def _mlflow(config: TrackerConfig, record: RunRecord, folder: Path) -> Any:
    os.environ.update({name: value for name, value in NO_TELEMETRY.items() if name not in os.environ})
    from pytorch_lightning.loggers import MLFlowLogger

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri, outputs = config.uri or os.environ.get(SERVER), folder.parents[1].absolute()
    # Runs that begin at the same time would each make the tables of a new store, and fail.
    with nullcontext() if uri else locked(outputs / ".locks", "mlflow", "MLflow's store"):
        logger = MLFlowLogger(
            config.project,
            run_name=record.run_id,
            tracking_uri=uri or f"sqlite:///{outputs / 'mlflow.db'}",
            artifact_location=None if uri else (outputs / "mlflow_artifacts").as_uri(),
            # MLflow would note the path of the program, and who is logged in.
            tags={**_words(record), "mlflow.source.name": "unsir-bench", "mlflow.user": ""},
        )
        _ = logger.run_id  # makes the run, and what is still absent of the store
    return logger


def _tensorboard(_config: TrackerConfig, _record: RunRecord, folder: Path) -> Any:
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    logger = TensorBoardLogger(folder, name="tensorboard")
    _ = logger.experiment  # makes the file
    return logger


def _words(record: RunRecord) -> dict[str, str]:
    named = ("sweep", "method", "dataset", "model", "forget_set")
    return {name: value for name in named if (value := getattr(record, name))}


def _settings(record: RunRecord) -> dict[str, Any]:
    return {**record.config, **surroundings(record)}


def _numbers(record: RunRecord) -> dict[str, float]:
    """The metrics that have a value."""
    return {name: float(value) for name, value in record.metrics.items() if isinstance(value, int | float)}


def _ending(record: RunRecord) -> dict[str, str]:
    return {"status": record.status, **({"reason": record.reason} if record.reason else {})}
