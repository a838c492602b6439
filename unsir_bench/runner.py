"""One run, from configuration to record: load data, get the original, forget under the clock, evaluate, record."""

from __future__ import annotations

import logging
import traceback
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from torch import nn

from unsir_bench.config import Config, sweep_problems
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import load_cached
from unsir_bench.data.device_data import SPLITS, DeviceData
from unsir_bench.data.forget_split import ForgetSplit, splits_of
from unsir_bench.errors import (
    ConfigError,
    Diverged,
    MetricUnavailable,
    NotApplicable,
    NotRecordedError,
    UnsirBenchError,
)
from unsir_bench.evaluation.costs import costs, not_comparable
from unsir_bench.evaluation.evaluate import Evaluation
from unsir_bench.evaluation.stages import Stages
from unsir_bench.finished_runs import finished_run
from unsir_bench.models.model import has_finite_weights, state_to_cpu
from unsir_bench.record_of_run import blank_record, note_forget_set, note_models
from unsir_bench.records import GRAD_CAM_FILE, RunRecord, printable
from unsir_bench.references.bank_models import UnlearnedModels
from unsir_bench.references.precomputation import StoredPrecomputation
from unsir_bench.references.store import Store, weights_hash
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.references.unlearned_models import keep_unlearned
from unsir_bench.runtime.environment import environment
from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.locks import locked
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.runtime.progress import Progress
from unsir_bench.runtime.several_processes import result_of_first
from unsir_bench.tracking.run import RememberingTracker, Tracker, start_tracker
from unsir_bench.training.context import RunContext
from unsir_bench.training.warm_up import warm_up
from unsir_bench.unlearning.method import Access, UnlearningData, access_names

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG = logging.getLogger("unsir_bench")
LOCKS = ".locks"  # the folder of a sweep's locks
# Null rather than absent where there is no retrained model: tables read these metrics of every run.
ABSENT_WITHOUT_RETRAIN = tuple(f"retrain_acc_{kind}_{split}" for split in SPLITS for kind in ("retain", "forget"))


def run(config: Config, command: str = "") -> RunRecord:
    """The record of a run: done now and written to the run's folder, or read from there if the run is finished.

    An error is recorded (status ``failed`` or ``diverged``), not raised, so that a sweep continues. Only an
    interruption by the user leaves no record. A run that another process is doing is waited for.

    Args:
        config: the run.
        command: see ``RunRecord.command``.

    Raises:
        ConfigError: the sweep's name is no name of a folder, so that there is no place for a record; or the run is
            finished, of other images (see ``finished_run``).
        NotRecordedError: the record cannot be written.
    """
    if wrong := list(sweep_problems(config.sweep)):
        raise ConfigError(wrong)
    if (finished := _finished(config)) is not None:
        return finished
    try:
        with run_lock(config):
            if (finished := _finished(config)) is not None:  # by another sweep, while this one waited
                return finished
            record, tracker = _recorded(config, command)
    except OSError as error:
        raise NotRecordedError(
            f"{config.run_id} cannot be recorded: {error}; make room, or choose another folder by outputs=FOLDER, and "
            "give the same command again"
        ) from error
    # The record is on the disk: nothing that the tracker does can lose it.
    tracker.report(record, config.folder)
    tracker.finish(failed=record.status == "failed")
    return record


def run_lock(config: Config, *, wait: bool = True) -> AbstractContextManager[None]:
    """The lock of a run, which two sweeps may both want to do; raises as ``locked``."""
    return locked(config.folder.parent / LOCKS, config.run_id, config.run_id, wait=wait)


def _finished(config: Config) -> RunRecord | None:
    finished = finished_run(config)
    if finished is not None:
        LOG.info("%s is finished (%s): skipped; remove its folder to run it again", config.run_id, finished.status)
    return finished


def _recorded(config: Config, command: str) -> tuple[RunRecord, Tracker]:
    """Do a run and write its record; the tracker has still to report it."""
    config.folder.mkdir(parents=True, exist_ok=True)
    record, tracker = blank_record(config, command), Tracker(None)
    try:
        try:
            note_forget_set(record, config)
            tracker = start_tracker(config.tracker, record, config.folder)
            _launched(config, tracker, record)
        except Exception as error:  # a failed run is a result too
            record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
            record.error = traceback.format_exc()
            log_failure(error, record.run_id)
        LOG.info("%s: %s", record.status, record.write(config.folder))
    except BaseException:  # of the user, or of the disk
        tracker.finish(failed=True)
        raise
    return record, tracker


def _launched(config: Config, tracker: Tracker, record: RunRecord) -> None:
    """Do the experiment in this process on one device, or in one new process per device."""
    fabric = config.hardware.start(config.model.cpu_threads)
    if config.hardware.devices == 1:
        _experiment(fabric, config, tracker, record)
        return
    first = result_of_first(fabric, partial(_experiment_of_rank, config, record), config.folder)
    vars(record).update(first["record"])
    for point in first["points"]:
        tracker.log(*point)


def _experiment_of_rank(config: Config, record: RunRecord, fabric: Fabric) -> dict[str, Any]:
    """The experiment in one of several processes; returns the record and the points of all curves."""
    config.hardware.set_flags(config.model.cpu_threads)
    logging.basicConfig(level=logging.INFO if fabric.is_global_zero else logging.ERROR)
    tracker = RememberingTracker()
    _experiment(fabric, config, tracker, record)
    return {"record": asdict(record), "points": tracker.points}


def _experiment(fabric: Fabric, config: Config, tracker: Tracker, record: RunRecord) -> None:
    """Do the experiment and note how it ended; several processes share each loss, so they diverge together."""
    record.environment = environment(fabric.device)
    try:
        _forget_and_evaluate(prepared(fabric, config, tracker, record))
        record.status = "done"
    except Diverged as error:
        record.status, record.reason = "diverged", str(error)
    except NotApplicable as error:
        record.status, record.reason = "skipped", str(error)


@dataclass(frozen=True)
class _Step:
    """One forgetting request; a run has one, or several in sequence.

    Attributes:
        number: from 0.
        split: what to forget in this step; samples forgotten by earlier steps are in no index set.
        so_far: what all steps up to this one forget; the evaluation uses it.
        allowed: the data as the method may see it.
    """

    number: int
    split: ForgetSplit
    so_far: ForgetSplit
    allowed: UnlearningData


@dataclass
class _Experiment:
    """What the steps of one experiment share; ``measured`` names the metrics of the last step."""

    config: Config
    data: DeviceData
    steps: list[_Step]
    context: RunContext
    references: ReferenceModels
    tracker: Tracker
    record: RunRecord
    stages: Stages
    measured: set[str] = field(default_factory=set)


def prepared(fabric: Fabric, config: Config, tracker: Tracker, record: RunRecord) -> _Experiment:
    """Load the data and build what the experiment needs."""
    progress = Progress()
    images = load_cached(config.dataset, progress)
    data = DeviceData(images, config.dataset, config.hardware, fabric.device, config.channels_last)
    steps = _steps(config, data)
    store = Store(Path(config.store.root), record.store_entries)
    references = ReferenceModels(store, config.train, data, config.numerics)
    context = RunContext(
        fabric=fabric,
        seed=config.seed,
        architecture=config.model,
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        forget_classes=steps[0].split.classes,
        progress=progress,
        log=tracker.log,
        scratch_trainer=references,
        precomputation=StoredPrecomputation(store, data.fingerprint, config.numerics),
        compiled=config.hardware.compile,
        channels_last=config.channels_last,
    )
    stages = Stages(data, context, steps[0].so_far)
    context.at_stage = stages.measure
    return _Experiment(config, data, steps, context, references, tracker, record, stages)


def train_reference(config: Config, role: str) -> TrainedModel:
    """The original or the retrained model of a run, trained if the store lacks it.

    Args:
        config: of the run; it must have no mistakes.
        role: ``original`` or ``retrain``.
    """
    record = blank_record(config)
    note_forget_set(record, config)
    fabric = config.hardware.start(config.model.cpu_threads)
    scene = prepared(fabric, config, RememberingTracker(), record)
    if role == "original":
        return scene.references.original(scene.context)
    return scene.references.retrained(scene.steps[-1].so_far, scene.context)


def _steps(config: Config, data: DeviceData) -> list[_Step]:
    """One `_Step` per forgetting request; reads are counted across all."""
    steps: list[_Step] = []
    labels = {name: data.labels(name) for name in SPLITS}
    for now, so_far in splits_of(config.forget, labels, data.class_names, config.seed, data.fingerprint):
        usage = steps[0].allowed.usage if steps else None
        allowed = UnlearningData(data, now, config.method, config.method_seed, config.withheld, usage, len(steps))
        steps.append(_Step(len(steps), now, so_far, allowed))
    return steps


def _forget_and_evaluate(scene: _Experiment) -> None:
    """Get the original, then forget and evaluate step by step, filling the record."""
    config, references, record = scene.config, scene.references, scene.record
    original = references.original(scene.context)
    model = references.network(original, scene.context)
    warm_up(model, config.dataset.batch_size, scene.context)
    for step in scene.steps:
        if Access.TRAIN_HISTORY in config.method.requires:
            step.allowed.training_log = references.training_log(original, step.split, scene.context)
        model = _unlearned_under_the_clock(model, step, scene)
        retrained = retrained_of(step, scene)
        if config.save_model:
            _keep_weights(model, step, [original, retrained], scene)
        _evaluate(model, original, retrained, step, scene)
    split, weights = step.so_far.fingerprint, weights_hash(state_to_cpu(model))
    note_models(record, scene.data.fingerprint, split, original, retrained, weights)


def _unlearned_under_the_clock(model: nn.Module, step: _Step, scene: _Experiment) -> nn.Module:
    """The model after the method; peak memory and access counts go into the record, even after an error."""
    method, context, record = scene.config.method, scene.context, scene.record
    context.forget_classes, context.forgotten_before = step.split.classes, step.split.gone
    scene.stages.split = step.so_far
    memory = PeakMemory(context.device)
    names = [scene.data.class_names[index] for index in step.split.classes]
    LOG.info("forgetting %s with %s", f"classes {names}" if names else step.split.samples_in_words, method.name)
    memory.reset()
    try:
        with (
            scene.tracker.holding(),
            context.clock.running(),
            context.in_step(step.number, scene.config.method_seed),
            context.without_training_data(kept=Access.INITIAL_WEIGHTS in method.requires),
        ):
            model = method.unlearn(model, step.allowed, context)
    finally:
        earlier = record.metrics.get("peak_memory_bytes") or 0
        record.metrics["peak_memory_bytes"] = max(memory.read(), context.stored_peak_bytes, earlier)
        record.access = {"declared": access_names(method), **step.allowed.access_counts()}
        _write_kept(scene)
    if not has_finite_weights(model):
        raise Diverged(method.name, sum(context.steps.values()), float("nan"))
    return model


def _write_kept(scene: _Experiment) -> None:
    """Save the tensors passed to `context.keep`, even after an error."""
    if scene.context.fabric.is_global_zero:
        for name, tensors in scene.context.kept.items():
            write_atomic(scene.config.folder / f"{name}.safetensors", save(tensors))


def _keep_weights(model: nn.Module, step: _Step, trained: list[TrainedModel | None], scene: _Experiment) -> None:
    """Keep what the method made in the store, and its address in the record."""
    weights, config = state_to_cpu(model), scene.config
    of = {"method": identity(config.method), "unlearning": config.unlearning_id, "step": step.number}
    known = [model for model in trained if model is not None]
    kept = keep_unlearned(scene.references.store, weights, of, config.run_id, known, scene.context.fabric)
    scene.record.unlearned.append(kept)


def retrained_of(step: _Step, scene: _Experiment) -> TrainedModel | None:
    """The retrained model; None if no retain sample is left, or if it is neither wanted nor in the store."""
    if len(step.so_far.retain_train) == 0:
        return None
    references = scene.references
    wanted = references.retrained if scene.config.retrain_reference else references.retrained_if_present
    return wanted(step.so_far, scene.context)


def _evaluate(
    model: nn.Module, original: TrainedModel, retrained: TrainedModel | None, step: _Step, scene: _Experiment
) -> None:
    """Measure what the preset asks for; the record keeps the last step's metrics at the top, all steps' in details."""
    config, record = scene.config, scene.record
    evaluation = Evaluation(
        config.metrics, scene.data, step.so_far, scene.context, scene.references, original, retrained,
        _with_other_seeds(step, scene),
    )  # fmt: skip
    measured = evaluation.of(model)
    for name in scene.measured:  # an earlier step may have measured more, for example with a retrained model
        record.metrics.pop(name, None)
    scene.measured = set(measured.values)
    missing = {name: None for name in ABSENT_WITHOUT_RETRAIN if name not in measured.values}
    spent = costs(scene.context, step.so_far, record.access, retrained)
    not_timed = not_comparable(scene.context, retrained)
    record.metrics |= missing | measured.values | spent | dict.fromkeys(not_timed)
    if scene.stages.found:
        measured.details["stages"] = scene.stages.found
        measured.seconds["stages"] = scene.stages.seconds
    record.metrics["evaluation_seconds"] = sum(measured.seconds.values())
    earlier = record.details.get("steps", [])
    record.details = {**measured.details, "metric_seconds": measured.seconds}
    if len(scene.steps) > 1:
        done = {"classes": list(step.split.classes), "metrics": dict(record.metrics)}
        record.details["steps"] = [*earlier, done]
    record.metric_notes = measured.notes | not_timed
    for name, reason in record.metric_notes.items():
        LOG.warning("%s: %s is null: %s", record.run_id, name, reason)
    if config.metrics.grad_cam_samples and step is scene.steps[-1]:
        keep_grad_cam(evaluation, model, record, config.folder)


def _with_other_seeds(step: _Step, scene: _Experiment) -> UnlearnedModels:
    """The method on originals of other training seeds, for the bank of models; none is made before it is asked for."""
    config, references = scene.config, scene.references

    def unlearn(network: nn.Module, original: TrainedModel, context: RunContext) -> nn.Module:
        allowed = UnlearningData(scene.data, step.split, config.method, context.seed, config.withheld)
        if Access.TRAIN_HISTORY in config.method.requires:
            allowed.training_log = references.training_log(original, step.split, context)
        return config.method.unlearn(network, allowed, context)

    seconds = scene.context.clock.total
    return UnlearnedModels(identity(config.method), unlearn, step.so_far, references, scene.context, seconds)


def keep_grad_cam(evaluation: Evaluation, model: nn.Module, record: RunRecord, folder: Path) -> None:
    """Write the Grad-CAM maps beside the record, in ``folder``; if the model allows none, note why and go on."""
    try:
        maps = evaluation.grad_cam_maps(model)
    except MetricUnavailable as reason:
        record.metric_notes["grad_cam"] = str(reason)
        LOG.warning("%s: no Grad-CAM maps: %s", record.run_id, reason)
        return
    if evaluation.context.fabric.is_global_zero:
        write_atomic(folder / GRAD_CAM_FILE, save(maps))


def log_failure(error: Exception, title: str) -> None:
    """Log an error: a user's mistake, or a disk's refusal, as one message; anything else with its traceback."""
    if isinstance(error, UnsirBenchError | OSError):
        LOG.error("%s: %s", title, printable(str(error)))
    else:
        LOG.error("%s: %s: %s", title, type(error).__name__, error, exc_info=error)
