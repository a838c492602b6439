"""One run, from configuration to record: data, original, forgetting under the clock, retrain, evaluation."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save
from torch import nn

from unsir_bench.config import Config, validate
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import DatasetConfig, ImageData
from unsir_bench.data.device_data import SPLITS, DeviceData
from unsir_bench.data.forget_split import ForgetSplit, splits_in_turn
from unsir_bench.errors import Diverged, MetricUnavailable, NotApplicable, UnsirBenchError
from unsir_bench.evaluation.evaluate import Evaluation
from unsir_bench.models.model import has_finite_weights, state_to_cpu
from unsir_bench.records import GRAD_CAM_FILE, RunRecord, finished_record
from unsir_bench.references.precomputation import StoredPrecomputation
from unsir_bench.references.store import Store, weights_hash
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.runtime.environment import environment
from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.runtime.progress import Progress
from unsir_bench.tracking.run import RememberingTracker, Tracker, start_tracker
from unsir_bench.training.context import RunContext
from unsir_bench.unlearning.method import Access, UnlearningData, access_names

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG = logging.getLogger("unsir_bench")
HANDED_OVER_FILE = "handed_over.json"  # from the first of several processes to the one that started them
# Null, not absent, where there is no retrained model: tables read them of every run.
ABSENT_WITHOUT_RETRAIN = tuple(f"retrain_acc_{kind}_{split}" for split in SPLITS for kind in ("retain", "forget"))


def run(config: Config, command: str = "") -> RunRecord:
    """Do a run and write its record, or return the record of the same run done before.

    Whatever goes wrong is recorded (status ``failed`` or ``diverged``), not raised, so that a sweep goes on; only an
    interruption by the user leaves no record.

    Args:
        config: the run.
        command: see ``RunRecord.command``.
    """
    finished = finished_record(config.folder)
    if finished is not None:
        LOG.info("%s is finished (%s): skipped; remove its folder to run it again", config.run_id, finished.status)
        return finished
    config.folder.mkdir(parents=True, exist_ok=True)
    record = blank_record(config, command)
    try:
        note_forget_set(record, config)
        with _tracked(config, record) as tracker:
            _launched(config, tracker, record)
    except Exception as error:  # a failed run is a result too: it is recorded and shown
        record.status, record.reason = "failed", f"{type(error).__name__}: {error}"
        record.error = traceback.format_exc()
        log_failure(error, record.run_id)
    LOG.info("%s: %s", record.status, record.write(config.folder))
    return record


@contextmanager
def _tracked(config: Config, record: RunRecord) -> Iterator[Tracker]:
    """A tracker that ends with all that the run has found, whatever ends the run."""
    tracker = start_tracker(config.tracker, record, config.folder)
    try:
        yield tracker
    except Exception as error:
        record.reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        tracker.report(record, config.folder)
        tracker.finish(failed=record.status == "failed")


def _launched(config: Config, tracker: Tracker, record: RunRecord) -> None:
    """Do the experiment here on one device, or in one new process for each of several."""
    fabric = config.hardware.start(config.model.cpu_threads)
    if config.hardware.devices == 1:
        _experiment(fabric, config, tracker, record)
        return
    handed_over = config.folder / HANDED_OVER_FILE
    fabric.launch(_experiment_of_rank, config, record)  # type: ignore[arg-type]
    content = json.loads(handed_over.read_text(encoding="utf-8"))
    handed_over.unlink()
    vars(record).update(content["record"])
    for point in content["points"]:
        tracker.log(*point)


def _experiment_of_rank(fabric: Fabric, config: Config, record: RunRecord) -> None:
    """The experiment in one of several processes.

    The first one leaves a file with what was found: through the launcher's pipe, which is read only when all processes
    have ended, nothing larger than the pipe may be returned.
    """
    config.hardware.set_flags(config.model.cpu_threads)
    logging.basicConfig(level=logging.INFO if fabric.is_global_zero else logging.ERROR)
    tracker = RememberingTracker()
    _experiment(fabric, config, tracker, record)
    if fabric.is_global_zero:
        content = {"record": asdict(record), "points": tracker.points}
        write_atomic(config.folder / HANDED_OVER_FILE, json.dumps(content))


def _experiment(fabric: Fabric, config: Config, tracker: Tracker, record: RunRecord) -> None:
    """The experiment, its divergence caught: several processes agree on a loss, and so diverge together."""
    record.environment = environment(fabric.device)
    try:
        _forget_and_evaluate(_prepared(fabric, config, tracker, record))
        record.status = "done"
    except Diverged as error:
        record.status, record.reason = "diverged", str(error)
    except NotApplicable as error:
        record.status, record.reason = "skipped", str(error)


@dataclass(frozen=True)
class _Step:
    """One request to forget: a run has one, or several in sequence.

    Attributes:
        split: of what is to be forgotten now; earlier steps' samples are gone.
        so_far: of all that has been forgotten when it is done: what is evaluated.
        allowed: the data as the method may see it.
    """

    split: ForgetSplit
    so_far: ForgetSplit
    allowed: UnlearningData


@dataclass
class _Experiment:
    """All that the steps of one experiment share; ``measured`` names the metrics of the last one."""

    config: Config
    data: DeviceData
    steps: list[_Step]
    context: RunContext
    references: ReferenceModels
    tracker: Tracker
    record: RunRecord
    measured: set[str] = field(default_factory=set)


def _prepared(fabric: Fabric, config: Config, tracker: Tracker, record: RunRecord) -> _Experiment:
    """Load the data and set the scene."""
    progress = Progress()
    images = _loaded(config.dataset, progress)
    data = DeviceData(images, config.dataset, config.hardware, fabric.device, config.channels_last)
    steps = _steps(config, data, record.forget_steps)
    store = Store(Path(config.store.root))
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
    return _Experiment(config, data, steps, context, references, tracker, record)


def _steps(config: Config, data: DeviceData, groups: list[list[int]]) -> list[_Step]:
    """The requests in turn; what the method reads is counted over all of them."""
    steps: list[_Step] = []
    for now, so_far in splits_in_turn(data.labels("train"), data.labels("test"), groups, data.num_classes):
        usage = steps[0].allowed.usage if steps else None
        allowed = UnlearningData(data, now, config.method, config.seed, config.withheld, usage)
        steps.append(_Step(now, so_far, allowed))
    return steps


def _forget_and_evaluate(scene: _Experiment) -> None:
    """The experiment itself; fills the record as it goes."""
    config, references, record = scene.config, scene.references, scene.record
    original = references.original(scene.context)
    model = references.network(original, scene.context)
    scene.context.warm_up(model, config.dataset.batch_size)
    for step in scene.steps:
        if Access.TRAIN_HISTORY in config.method.requires:
            step.allowed.training_log = references.training_log(original, step.split, scene.context)
        model = _unlearned_under_the_clock(model, step, scene)
        retrained = _retrained(step, scene)
        _evaluate(model, original, retrained, step, scene)
    record.fingerprints = {
        "data": scene.data.fingerprint,
        "split": step.so_far.fingerprint,
        "original": original.key,
        "retrain": retrained.key if retrained else None,
        "weights": weights_hash(state_to_cpu(model)),
    }
    if config.save_model and scene.context.fabric.is_global_zero:
        write_atomic(config.folder / "unlearned.safetensors", save(state_to_cpu(model)))


def _unlearned_under_the_clock(model: nn.Module, step: _Step, scene: _Experiment) -> nn.Module:
    """Apply the method to the run's own copy of the model; books peak memory and access on the record."""
    method, context, record = scene.config.method, scene.context, scene.record
    context.forget_classes, context.forgotten_before = step.split.classes, step.split.gone
    memory = PeakMemory(context.device)
    LOG.info("forgetting classes %s with %s", [scene.data.class_names[c] for c in step.split.classes], method.name)
    memory.reset()
    try:
        with scene.tracker.holding(), context.clock.running():
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
    """Write what the method handed over until now, also where it ended in an error."""
    if scene.context.fabric.is_global_zero:
        for name, tensors in scene.context.kept.items():
            write_atomic(scene.config.folder / f"{name}.safetensors", save(tensors))


def _retrained(step: _Step, scene: _Experiment) -> TrainedModel | None:
    """The gold standard; None where it is not wanted and not there, or there is nothing to train it on."""
    if len(step.so_far.retain_train) == 0:
        return None
    references = scene.references
    wanted = references.retrained if scene.config.retrain_reference else references.retrained_if_present
    return wanted(step.so_far, scene.context)


def _evaluate(
    model: nn.Module, original: TrainedModel, retrained: TrainedModel | None, step: _Step, scene: _Experiment
) -> None:
    """Measure everything that the preset asks for; the record holds the last step's metrics, and those of each."""
    config, record = scene.config, scene.record
    evaluation = Evaluation(
        config.metrics, scene.data, step.so_far, scene.context, scene.references, original, retrained
    )
    measured = evaluation.of(model)
    for name in scene.measured:  # an earlier step may have measured more: with a retrained model, say
        record.metrics.pop(name, None)
    scene.measured = set(measured.values)
    missing = {name: None for name in ABSENT_WITHOUT_RETRAIN if name not in measured.values}
    not_timed = _not_timed_here(retrained, scene.context)
    record.metrics |= missing | measured.values | _costs(step, retrained, scene) | dict.fromkeys(not_timed)
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
        _keep_grad_cam(evaluation, model, scene)


def _keep_grad_cam(evaluation: Evaluation, model: nn.Module, scene: _Experiment) -> None:
    """Write the maps beside the record; a model that has none costs the run nothing else."""
    try:
        maps = evaluation.grad_cam_maps(model)
    except MetricUnavailable as reason:
        scene.record.metric_notes["grad_cam"] = str(reason)
        LOG.warning("%s: no Grad-CAM maps: %s", scene.record.run_id, reason)
        return
    if scene.context.fabric.is_global_zero:
        write_atomic(scene.config.folder / GRAD_CAM_FILE, save(maps))


def _costs(step: _Step, retrained: TrainedModel | None, scene: _Experiment) -> dict[str, float | int | None]:
    """What the method has cost so far; passes are over the samples that are retained and forgotten by now."""
    context, access = scene.context, scene.record.access
    seconds = context.clock.total
    sizes = {"retain": len(step.so_far.retain_train), "forget": len(step.so_far.forget_train)}
    return {
        "unlearn_seconds": seconds,
        "retrain_seconds": retrained.seconds if retrained else None,
        "speedup_vs_retrain": retrained.seconds / seconds if retrained and context.clock.phases else None,
        **{f"{kind}_samples_touched": access[kind]["samples"] for kind in sizes},
        **{f"{kind}_passes": access[kind]["reads"] / size if size else None for kind, size in sizes.items()},
        **{f"{phase}_seconds": value for phase, value in context.clock.phases.items()},
        **{f"{phase}_steps": count for phase, count in context.steps.items()},
    }


def _not_timed_here(retrained: TrainedModel | None, context: RunContext) -> dict[str, str]:
    """By name the costs that are null, since the store has seconds of another machine or number of threads, and why."""
    why = {f"{phase}_seconds": reason for phase, reason in context.timed_elsewhere.items()}
    if why:
        why["unlearn_seconds"] = next(iter(why.values()))
    if retrained is not None and (reason := context.why_not_timed_here(retrained.manifest)) is not None:
        why["retrain_seconds"] = reason
    return why | ({"speedup_vs_retrain": next(iter(why.values()))} if why else {})


def blank_record(config: Config, command: str = "") -> RunRecord:
    """The record of a run of which nothing is known but what it was to be."""
    return RunRecord(
        run_id=config.run_id,
        sweep=config.sweep,
        method=config.method.name,
        dataset=config.dataset.name,
        model=config.model.name,
        seed=config.seed,
        forget_set=config.forget.title,
        config=config.as_plain(),
        access={"declared": access_names(config.method)},
        command=command,
    )


def note_forget_set(record: RunRecord, config: Config) -> None:
    """Check the configuration, and write the classes to forget on the record.

    Raises:
        ConfigError: at least one setting is wrong.
    """
    class_names = validate(config)
    record.forget_classes = list(config.forget.resolve(class_names, config.seed))
    record.forget_names = [class_names[index] for index in record.forget_classes]
    record.forget_steps = [list(group) for group in config.forget.steps(class_names, config.seed)]


def log_failure(error: Exception, title: str) -> None:
    """Show a mistake of the user as one message, anything else with its traceback."""
    if isinstance(error, UnsirBenchError):
        LOG.error("%s: %s", title, error)
    else:
        LOG.error("%s: %s: %s", title, type(error).__name__, error, exc_info=error)


_LAST_LOADED: dict[str, ImageData] = {}


def _loaded(dataset: DatasetConfig, progress: Progress) -> ImageData:
    """The loaded set, kept for the next run of a sweep in this process, which most often uses the same."""
    key = repr((identity(dataset), dataset.root))
    if key not in _LAST_LOADED:
        _LAST_LOADED.clear()
        _LAST_LOADED[key] = dataset.load(progress)
    return _LAST_LOADED[key]
