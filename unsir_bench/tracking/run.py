"""Weights & Biases, offline unless asked otherwise; a fault of the tracker never costs a run.

What is logged where: docs/weights_and_biases.md. Nothing is sent while a clock runs: points of curves wait until it has
stopped. Of the machine only what the record says is logged: W&B's own look at host, code and git is switched off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from unsir_bench.records import GRAD_CAM_FILE, RunRecord
from unsir_bench.runtime.time_limit import within
from unsir_bench.tracking.grad_cam import log_maps
from unsir_bench.tracking.tables import Point, TableRows, curves, tables
from unsir_bench.tracking.tracker_config import LOGGERS, TrackerConfig, without_passwords

LOG = logging.getLogger("unsir_bench")
CURVES = ("original", "retrain", "noise", "impair", "repair", "finetune", "train", "ascent", "log", "relearn", "layers")
LONGEST_TAG = 64  # characters; W&B refuses longer ones
FINISH_SECONDS = 120.0  # for uploads at the end of an online run; what is left stays on disk
LONGEST_CALL = FINISH_SECONDS + 30  # seconds; a service that has been stopped answers nothing, ever
# An environment variable, so that the processes of a sweep's later runs have it too: why W&B is not tried online again.
UNREACHABLE = "UNSIR_BENCH_WANDB_UNREACHABLE"
# W&B's own default is to try for hours, at each run, when there is no network.
PATIENCE = {f"WANDB_X_{kind}_RETRY_MAX": "4" for kind in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")}
WANDB_MODE = "WANDB_MODE"  # of the environment: W&B itself never asks it where a mode is given
LOGIN_HINT = "run `wandb login` or set WANDB_API_KEY"


class NotLoggedInError(Exception):
    """Weights & Biases has no API key here."""


class Tracker:
    """Logs one run. After the first fault of the tracker it warns once and falls silent.

    Points of curves are kept until no clock runs: they are sent when a method starts or stops, and at the end.
    """

    service = "Weights & Biases"

    def __init__(self, run: Any | None, *, online: bool = False):
        self._run = run
        self._online = online
        self._waiting: list[Point] = []
        self._defined = set(CURVES)

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Note a point of the curves of ``phase``; training is timed too, so that it is sent later."""
        if self._run is not None:
            self._waiting.append((phase, step, values))

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Send what waits before and after a clock runs, and nothing meanwhile."""
        self._flush()
        try:
            yield
        finally:
            self._flush()

    def report(self, record: RunRecord, folder: Path) -> None:
        """Log all that a run has found: its metrics, tables, Grad-CAM maps and surroundings.

        Args:
            record: as it was written.
            folder: the run's, where its Grad-CAM maps lie.
        """
        self._guarded(lambda run: self._waiting.extend(curves(record)))
        self._flush()
        self._guarded(lambda run: run.config.update(surroundings(record), allow_val_change=True))
        self._guarded(lambda run: run.summary.update(summary(record)))
        with _staged_in(folder):
            self._guarded(lambda run: _log_tables(run, tables(record)))
            self._guarded(lambda run: log_maps(run, folder / GRAD_CAM_FILE, record))

    def finish(self, *, failed: bool) -> None:
        """End the run, so that the next one in this process is another."""
        self._flush()
        self._guarded(lambda run: self._end(run, failed=failed))
        self._run = None

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._guarded(lambda run: self._send(run, waiting))

    def _send(self, run: Any, points: Sequence[Point]) -> None:
        for phase in dict.fromkeys(phase for phase, _, _ in points if phase not in self._defined):
            _define(run, phase)
            self._defined.add(phase)
        for phase, step, values in points:
            run.log({f"{phase}/{name}": value for name, value in values.items()} | {f"{phase}/step": step})

    def _guarded(self, action: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            within(LONGEST_CALL, partial(action, self._run))
        except (Exception, SystemExit) as error:  # whatever the tracker does, the run goes on
            LOG.warning(
                "%s failed (%s: %s); the run goes on without it",
                self.service, type(error).__name__, without_passwords(str(error)),
            )  # fmt: skip
            run, self._run = self._run, None
            self._give_up(run, error)

    def _end(self, run: Any, *, failed: bool) -> None:
        run.finish(exit_code=int(failed))

    def _give_up(self, run: Any, error: BaseException) -> None:
        if self._online:
            _remember(error)
        if isinstance(error, TimeoutError):
            _kill_service()
            return
        with suppress(Exception, SystemExit):  # what has been logged so far is kept
            within(LONGEST_CALL, partial(self._end, run, failed=True))


class RememberingTracker(Tracker):
    """Keeps points for another process to log: those of a run on several devices have no tracker of their own."""

    def __init__(self) -> None:
        super().__init__(None)
        self.points: list[Point] = []

    def log(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Keep a point."""
        self.points.append((phase, step, values))


def start_tracker(config: TrackerConfig, record: RunRecord, folder: Path) -> Tracker:
    """Begin logging a run; one that cannot be logged online is logged offline.

    Args:
        config: mode, project and entity.
        record: of the run: its id, sweep (the group), method (the job type), configuration.
        folder: the run's, where offline files are kept.
    """
    if config.mode in LOGGERS:
        from unsir_bench.tracking.lightning_loggers import start_logger

        return start_logger(config, record, folder)
    modes = {"none": (), "offline": ("offline",), "online": ("online", "offline")}[config.mode]
    if config.mode == "online" and (reason := os.environ.get(UNREACHABLE)):
        LOG.info("Weights & Biases failed in an earlier run (%s); this run is logged offline", reason)
        modes = ("offline",)
    if os.environ.get(WANDB_MODE) == "disabled":
        modes = ()
    for mode in modes:
        try:
            run = within(LONGEST_CALL, partial(_wandb_run, config, mode, record, folder))
            return Tracker(run, online=mode == "online")
        except (Exception, SystemExit) as error:  # whatever the tracker does, the run goes on
            rest = "without it" if mode == modes[-1] else "and is logged offline"
            LOG.warning(
                "Weights & Biases did not start %s (%s: %s); the run goes on %s",
                mode, type(error).__name__, without_passwords(str(error)), rest,
            )  # fmt: skip
            tried = mode == "online" and not isinstance(error, NotLoggedInError)
            if tried:
                _remember(error)
            if isinstance(error, TimeoutError):
                _kill_service()
            elif tried:
                _end_service()
    return Tracker(None)


def _remember(error: BaseException) -> None:
    """Later runs of this process, and of those that it starts, do not wait for W&B again."""
    os.environ[UNREACHABLE] = without_passwords(f"{type(error).__name__}: {error}".splitlines()[0])


def _end_service() -> None:
    """For W&B's service the id of a run that did not start stays in use; the next run starts another service."""
    with suppress(Exception, SystemExit):
        import wandb

        within(LONGEST_CALL, wandb.teardown)


def _kill_service() -> None:
    """W&B's service answers nothing: at its exit, this process would wait for it for ever."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.name() == "wandb-core":
                child.kill()
    _end_service()


def _wandb_run(config: TrackerConfig, mode: str, record: RunRecord, folder: Path) -> Any:
    import wandb  # a second's import that `tracker=none` need not pay

    if mode == "online" and (problem := login_problem()) is not None:
        raise NotLoggedInError(f"{problem}: {LOGIN_HINT}")  # W&B would ask, and a sweep wait for the answer
    folder.mkdir(parents=True, exist_ok=True)  # wandb warns of one that is missing
    run = wandb.init(
        mode=mode,  # type: ignore[arg-type]
        project=config.project,
        entity=config.entity,
        dir=folder,
        # No `resume`: a run that is done again starts anew and replaces what W&B has under its id. "allow" would append
        # its curves to those of the failed attempt; offline it has no effect.
        id=record.run_id,
        name=record.run_id,
        group=record.sweep,
        job_type=record.method,
        tags=tags(record),
        config=record.config,
        reinit="create_new",
        settings=quiet_settings(),
    )
    for phase in CURVES:
        _define(run, phase)
    return run


def quiet_settings() -> Any:
    """Settings under which W&B neither prints nor looks at the host, the code, git or the machine."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        host="",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,  # it samples the machine all the time, inside timed sections too
        x_save_requirements=False,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )


def _define(run: Any, phase: str) -> None:
    """Draw a phase's curves against its own steps."""
    run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")


def login_problem() -> str | None:
    """Why W&B has no credentials here (environment, netrc or settings), or None; asks neither user nor network."""
    import wandb
    from wandb.sdk.lib import wbauth  # wandb.Api() would ask the network, wandb.login() the user

    host = wandb.setup().settings.base_url
    try:
        known = wbauth.authenticate_session(host=host, source="unsir-bench", prompt=False, update_session=False)
    except wandb.errors.AuthenticationError as error:
        return str(error)
    return None if known else "no API key"


def tags(record: RunRecord) -> list[str]:
    """Data set, model, forget set, and the scale of presets that have one."""
    words = [record.dataset, record.model, record.forget_set, record.config.get("at_scale")]
    return list(dict.fromkeys(word[:LONGEST_TAG] for word in words if word))


def summary(record: RunRecord) -> dict[str, Any]:
    """Every metric under its own name, and how the run ended."""
    return {
        **record.metrics,
        "status": record.status,
        "reason": record.reason,
        "access": record.access,
        "metric_notes": record.metric_notes,
    }


def surroundings(record: RunRecord) -> dict[str, Any]:
    """What the run adds to its configuration: what it was computed with, and what was forgotten."""
    return {
        "environment": record.environment,
        "fingerprints": record.fingerprints,
        "forget_classes": record.forget_classes,
        "forget_names": record.forget_names,
        "forget_steps": record.forget_steps,
        "schema_version": record.schema_version,
    }


def _log_tables(run: Any, found: Mapping[str, TableRows]) -> None:
    """Log each table; one with a plot is logged as ``<name>_table``, beside the plot ``<name>``."""
    import wandb

    logged: dict[str, Any] = {}
    for name, each in found.items():
        table = wandb.Table(columns=list(each.columns), data=[*each.rows])
        title = name.replace("_", " ")
        if len(each.plot) == 3:
            x, y, lines = each.plot
            logged[name] = wandb.plot.line(table, x, y, stroke=lines, title=title)
        elif each.plot:
            label, value = each.plot
            logged[name] = wandb.plot.bar(table, label, value, title=title)
        else:
            logged[f"{name}_table"] = table
    if logged:
        run.log(logged)


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Copies of tables that wait for their upload lie beside the run, not in the user's home."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str((folder / "wandb").absolute())
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]
