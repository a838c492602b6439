"""Weights & Biases, offline unless asked otherwise; a fault of the tracker never costs a run.

What is logged where: docs/weights_and_biases.md. Nothing is sent while a clock runs: points of curves wait until it has
stopped. Of the machine only what the record says is logged: W&B's own look at host, code and git is switched off.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from unsir_bench.field_checks import choice, neutral
from unsir_bench.records import RunRecord, finished_record

LOG = logging.getLogger("unsir_bench")
Point = tuple[str, int, dict[str, float]]
CURVES = ("original", "retrain", "noise", "impair", "repair", "finetune", "train", "ascent", "log", "relearn", "layers")
MODELS = {"": "unlearned", "original_": "original", "retrain_": "retrain", "floor_": "second retrain"}
GRAD_CAM_FILE = "grad_cam.safetensors"
GRAD_CAM_MODELS = ("original", "retrain", "unlearned")
SMALLEST_SHOWN = 96  # pixels; smaller images are enlarged by a whole factor, since W&B shows them as they are
LONGEST_TAG = 64  # characters; W&B refuses longer ones
FINISH_SECONDS = 120.0  # for uploads at the end of an online run; what is left stays on disk
UPLOAD_SECONDS = 900  # for one offline run
# W&B's own default is to try for hours, at each run, when there is no network.
PATIENCE = {f"WANDB_X_{kind}_RETRY_MAX": "4" for kind in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")}
LOGIN_HINT = "run `wandb login` or set WANDB_API_KEY"


@dataclass
class TrackerConfig:
    """Whether and where runs are logged to Weights & Biases."""

    name: str = neutral("wandb_offline")
    mode: str = neutral(choice("offline", ("offline", "online", "none")))
    project: str = neutral("unsir-bench")
    entity: str | None = neutral(None)


class NotLoggedInError(Exception):
    """Weights & Biases has no API key here."""


class Tracker:
    """Logs one run. After the first fault of the tracker it warns once and falls silent.

    Points of curves are kept until no clock runs: they are sent when a method starts or stops, and at the end.
    """

    def __init__(self, run: Any | None):
        self._run = run
        self._waiting: list[Point] = []

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
            record: as it will be written.
            folder: the run's, where its Grad-CAM maps lie.
        """
        self._guarded(lambda run: self._waiting.extend(curves(record)))
        self._flush()
        self._guarded(lambda run: run.config.update(surroundings(record), allow_val_change=True))
        self._guarded(lambda run: run.summary.update(summary(record)))
        with _staged_in(folder):
            self._guarded(lambda run: _log_tables(run, tables(record)))
            self._guarded(lambda run: _log_maps(run, folder / GRAD_CAM_FILE, record))

    def finish(self, *, failed: bool) -> None:
        """End the run, so that the next one in this process is another."""
        self._flush()
        self._guarded(lambda run: run.finish(exit_code=int(failed)))
        self._run = None

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for phase, step, values in waiting:
            point = {f"{phase}/{name}": value for name, value in values.items()} | {f"{phase}/step": step}
            self._guarded(lambda run, point=point: run.log(point))  # type: ignore[misc]

    def _guarded(self, action: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # whatever the tracker does, the run goes on
            LOG.warning("Weights & Biases failed (%s: %s); the run goes on without it", type(error).__name__, error)
            run, self._run = self._run, None
            with suppress(Exception):
                run.finish(exit_code=1)  # what has been logged so far is kept


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
        folder: where offline files are kept.
    """
    modes = {"none": (), "offline": ("offline",), "online": ("online", "offline")}[config.mode]
    for mode in modes:
        try:
            return Tracker(_wandb_run(config, mode, record, folder))
        except Exception as error:  # whatever the tracker does, the run goes on
            rest = "without it" if mode == modes[-1] else "and is logged offline"
            LOG.warning(
                "Weights & Biases did not start %s (%s: %s); the run goes on %s",
                mode, type(error).__name__, error, rest,
            )  # fmt: skip
            if mode == "online" and not isinstance(error, NotLoggedInError):
                _end_service()
    return Tracker(None)


def _end_service() -> None:
    """For W&B's service the id of a run that did not start stays in use; the next run starts another service."""
    with suppress(Exception):
        import wandb

        wandb.teardown()


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
        settings=wandb.Settings(
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
        ),
    )
    for phase in CURVES:
        run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
    return run


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


def curves(record: RunRecord) -> Iterator[Point]:
    """What of the details is a curve, so that W&B can lay runs over each other.

    Yields:
        ``relearn``, batches: accuracy on forget test samples, of each model; ``layers``, depth of the layer: distances
        of the unlearned weights.
    """
    relearned: dict[int, dict[str, float]] = defaultdict(dict)
    for prefix in MODELS:
        for batches, accuracy in record.details.get(f"{prefix}relearn_curve", []):
            relearned[batches][f"{prefix}accuracy"] = accuracy
    layers: dict[int, dict[str, float]] = defaultdict(dict)
    for other in ("original", "retrain"):
        distances = record.details.get(f"weight_distance_to_{other}", {}).get("layers", {})
        for depth, distance in enumerate(distances.values()):
            layers[depth][f"distance_to_{other}"] = distance
    yield from (("relearn", batches, values) for batches, values in sorted(relearned.items()))
    yield from (("layers", depth, values) for depth, values in layers.items())


@dataclass
class TableRows:
    """A table to be.

    Attributes:
        columns: their names.
        rows: numbers, words or null.
        plot: columns of a line plot: x, y and what tells lines apart; of a bar plot: label and value.
    """

    columns: tuple[str, ...]
    plot: tuple[str, ...] = ()
    rows: list[list[Any]] = field(default_factory=list)


def tables(record: RunRecord) -> dict[str, TableRows]:
    """All that is in the details of a record, one table for each kind, the models below each other."""
    sorted_in = _Details(record)
    for key, value in record.details.items():
        prefix = next((each for each in MODELS if each and key.startswith(each)), "")
        sorted_in.add(key, key.removeprefix(prefix), MODELS[prefix], value)
    return {name: table for name, table in sorted_in.found.items() if table.rows}


class _Details:
    """Sorts the details of a record into tables."""

    def __init__(self, record: RunRecord):
        self.found = {
            "accuracy_by_class": TableRows(
                ("line", "model", "split", "class", "forgotten", "accuracy"), ("class", "accuracy", "line")
            ),
            "forget_predictions": TableRows(("model", "class", "share"), ("class", "share", "model")),
            "weight_distance": TableRows(
                ("line", "model", "to", "depth", "layer", "distance"), ("depth", "distance", "line")
            ),
            "batchnorm_distance": TableRows(("model", "to", "statistic", "distance")),
            "relearn_curve": TableRows(("model", "batches", "accuracy"), ("batches", "accuracy", "model")),
            "metric_seconds": TableRows(("group", "seconds"), ("group", "seconds")),
            "steps": TableRows(("step", "classes", "metric", "value")),
            "other_details": TableRows(("name", "value")),
        }
        self._forgotten = _forgotten_so_far(record)
        self._depth: dict[str, int] = {}

    def add(self, key: str, kind: str, model: str, value: Any) -> None:
        """Put one entry where it belongs; one that is unknown here is kept as it is."""
        rows = {name: table.rows for name, table in self.found.items()}
        match kind:
            case "accuracy_by_class":
                rows[kind] += self._accuracies(model, value)
            case "forget_predictions":
                classes = range(len(value) + len(self._forgotten))
                retained = [index for index in classes if index not in self._forgotten]
                rows[kind] += [[model, index, share] for index, share in zip(retained, value, strict=True)]
            case "weight_distance_to_original" | "weight_distance_to_retrain":
                other = kind.removeprefix("weight_distance_to_")
                rows["weight_distance"] += self._layers(model, other, value["layers"])
                rows["batchnorm_distance"] += [[model, other, *each] for each in value["batchnorm_statistics"].items()]
            case "relearn_curve":
                rows[kind] += [[model, *point] for point in value]
            case "metric_seconds":
                rows[kind] += [list(each) for each in value.items()]
            case "steps":
                rows[kind] += [row for place, step in enumerate(value, start=1) for row in _of_step(place, step)]
            case _:
                rows["other_details"].append([key, json.dumps(value)])

    def _accuracies(self, model: str, value: Mapping[str, list[float | None]]) -> Iterator[list[Any]]:
        for split, accuracies in value.items():
            for index, accuracy in enumerate(accuracies):
                yield [f"{model}, {split}", model, split, index, index in self._forgotten, accuracy]

    def _layers(self, model: str, other: str, distances: Mapping[str, float]) -> Iterator[list[Any]]:
        """Depths as the unlearned model's layers come first: those of the references are sorted by name."""
        for layer, distance in distances.items():
            depth = self._depth.setdefault(layer, len(self._depth))
            yield [f"{model} to {other}", model, other, depth, layer, distance]


def _forgotten_so_far(record: RunRecord) -> list[int]:
    """Classes that were forgotten when the details were made: of a sequence that ended early, not all."""
    asked = [index for group in record.forget_steps for index in group] or record.forget_classes
    accuracies, shares = (record.details.get(name) for name in ("accuracy_by_class", "forget_predictions"))
    return asked[: len(accuracies["test"]) - len(shares)] if accuracies and shares else asked


def _of_step(place: int, step: Mapping[str, Any]) -> Iterator[list[Any]]:
    classes = ", ".join(map(str, step["classes"]))
    for name, value in step["metrics"].items():
        yield [place, classes, name, value]


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


def _log_maps(run: Any, file: Path, record: RunRecord) -> None:
    import wandb

    if file.exists() and "unlearned" in (maps := load_file(file)):
        images = [wandb.Image(panel, caption=caption) for caption, panel in grad_cam_panels(maps, record)]
        run.log({"grad_cam": images})


def grad_cam_panels(maps: Mapping[str, NDArray[Any]], record: RunRecord) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """For each sample the image, and beside it the image under the map of each model.

    Args:
        maps: as in ``grad_cam.safetensors``: ``images`` (samples, channels, height, width), normalised; ``samples`` and
            ``labels`` (samples,); by model maps (samples, height, width) in [0, 1].
        record: whose configuration says how the images were normalised.

    Yields:
        A caption, and pixels (height, width, 3), uint8.
    """
    # Brings matplotlib and OpenCV, which whoever made the maps has imported already.
    from pytorch_grad_cam.utils.image import show_cam_on_image

    models = [name for name in GRAD_CAM_MODELS if name in maps]
    pixels = _pixels(maps["images"], record.config.get("dataset", {}))
    for place, image in enumerate(pixels):
        shown = [np.uint8(255 * image)] + [show_cam_on_image(image, maps[name][place], use_rgb=True) for name in models]
        panel = np.concatenate(shown, axis=1)
        factor = -(-SMALLEST_SHOWN // min(image.shape[:2]))
        caption = f"test sample {maps['samples'][place]}, class {maps['labels'][place]}"
        yield f"{caption}: {', '.join(['image', *models])}", panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _pixels(images: NDArray[Any], dataset: Mapping[str, Any]) -> NDArray[np.float32]:
    """Normalised images as (samples, height, width, 3) in [0, 1]."""
    shape = (1, -1, 1, 1)
    mean, std = (np.asarray(dataset.get(name, default)).reshape(shape) for name, default in (("mean", 0), ("std", 1)))
    coloured = np.broadcast_to(images * std + mean, (len(images), 3, *images.shape[2:]))
    return coloured.clip(0, 1).transpose(0, 2, 3, 1).astype(np.float32)


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
        for wandb_folder in sorted(outputs.glob("*/" * depth + "wandb")):
            attempts = sorted(wandb_folder.glob("offline-run-*"))  # their names begin with the time
            for attempt in attempts:
                _kind(found, attempt, newest=attempt == attempts[-1]).append(attempt)
    return found


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
    return next((line for line in reversed([*lines]) if "ERROR" in line or "panic:" in line), "")
