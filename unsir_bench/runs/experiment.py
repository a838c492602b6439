"""The experiment of one run: load the data, get the original, forget under the clock, evaluate, step by step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from torch import nn

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.dataset import ImageData, load_cached
from unsir_bench.data.device_data import SPLITS, DeviceData
from unsir_bench.data.forget_requests import splits_of
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import (
    Diverged,
    MetricUnavailable,
    NotApplicable,
)
from unsir_bench.evaluation.costs import costs, not_comparable, stopped_meanwhile
from unsir_bench.evaluation.evaluate import Evaluation
from unsir_bench.evaluation.stages import Stages
from unsir_bench.models.model import has_finite_weights, state_to_cpu
from unsir_bench.records import GRAD_CAM_FILE, RunRecord
from unsir_bench.references.bank_models import UnlearnedModels
from unsir_bench.references.frozen_heads import StoredFeatures, reference_models
from unsir_bench.references.precomputation import StoredPrecomputation
from unsir_bench.references.store import Store, weights_hash
from unsir_bench.references.trained_models import ReferenceModels, TrainedModel
from unsir_bench.references.unlearned_models import keep_unlearned
from unsir_bench.runs.record_of_run import note_models
from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.peak_memory import PeakMemory
from unsir_bench.runtime.progress import Progress
from unsir_bench.tracking.run import Tracker
from unsir_bench.training.context import RunContext
from unsir_bench.training.privacy import check_divisor
from unsir_bench.training.warm_up import warm_up
from unsir_bench.unlearning.method import Access, UnlearningData, access_names

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG = logging.getLogger("unsir_bench")
ONE_VALUE = "Expected more than 1 value per channel when training"  # torch's words
# Null rather than absent where there is no retrained model: tables read these metrics of every run.
ABSENT_WITHOUT_RETRAIN = tuple(f"retrain_acc_{kind}_{split}" for split in SPLITS for kind in ("retain", "forget"))


@dataclass(frozen=True)
class Step:
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
class Experiment:
    """What the steps of one experiment share.

    ``measured`` names the metrics of the last step; ``retrainings`` are the manifests of the models retrained for the
    steps so far.
    """

    config: Config
    data: DeviceData
    steps: list[Step]
    context: RunContext
    references: ReferenceModels
    tracker: Tracker
    record: RunRecord
    stages: Stages
    measured: set[str] = field(default_factory=set)
    retrainings: list[Mapping[str, Any] | None] = field(default_factory=list)


def prepared(fabric: Fabric, config: Config, tracker: Tracker, record: RunRecord) -> Experiment:
    """Load the data and build what the experiment needs.

    Raises:
        NotApplicable: the method cannot work on this model, on so many devices, or with this access.
        ConfigError: the forget set, or the divisor of a private training, does not fit the data.
    """
    if (reason := why_unsuitable(config)) is not None:
        raise NotApplicable(reason)
    progress = Progress()
    images = load_cached(config.dataset, progress)
    check_divisor(config.train, len(images.train.labels))
    data = DeviceData(images, config.dataset, config.hardware, fabric.device, config.channels_last)
    steps = _steps(config, images, data)
    store = Store(Path(config.store.root), record.store_entries)
    never_forgotten = steps[-1].so_far.retain_train
    references = reference_models(store, config.train, data, config.numerics, config.model, never_forgotten)
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
        backbone_features=StoredFeatures(store, data.fingerprint, config.numerics),
        compiled=config.hardware.compile,
        channels_last=config.channels_last,
    )
    stages = Stages(data, context, steps[0].so_far)
    context.at_stage = stages.measure
    return Experiment(config, data, steps, context, references, tracker, record, stages)


def why_unsuitable(config: Config) -> str | None:
    """Why the method cannot work on the run's model or devices; None if it can."""
    if config.method.needs_whole_batches and config.hardware.devices > 1:
        return (
            f"method '{config.method.name}' needs whole batches, which hardware.devices={config.hardware.devices} "
            "shares among processes; set hardware.devices=1"
        )
    return config.method.unsuitable(config.model)


def _steps(config: Config, images: ImageData, data: DeviceData) -> list[Step]:
    """One `Step` per forgetting request; reads are counted across all."""
    steps: list[Step] = []
    for now, so_far in splits_of(config.forget, images, config.dataset, config.seed):
        usage = steps[0].allowed.usage if steps else None
        allowed = UnlearningData(data, now, config.method, config.method_seed, config.withheld, usage, len(steps))
        steps.append(Step(len(steps), now, so_far, allowed))
    return steps


def forget_and_evaluate(scene: Experiment) -> None:
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


def _unlearned_under_the_clock(model: nn.Module, step: Step, scene: Experiment) -> nn.Module:
    """The model after the method; peak memory and access counts go into the record, even after an error."""
    method, context, record = scene.config.method, scene.context, scene.record
    context.forget_classes, context.forgotten_before = step.split.classes, step.split.gone
    context.forget_superclasses = step.split.superclasses
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
    except ValueError as error:
        if ONE_VALUE not in str(error):
            raise
        raise NotApplicable(
            f"method '{method.name}' trains on a batch of a single image here, which batch normalisation cannot do "
            "where its map is 1x1; forget more samples, or choose model.norm=group"
        ) from error
    finally:
        earlier = record.metrics.get("peak_memory_bytes") or 0
        record.metrics["peak_memory_bytes"] = max(memory.read(), context.stored_peak_bytes, earlier)
        record.access = {"declared": access_names(method), **step.allowed.access_counts()}
        _write_kept(scene)
    if not has_finite_weights(model):
        raise Diverged(method.name, sum(context.steps.values()), float("nan"))
    record.guarantees = dict(context.guarantees)
    return model


def _write_kept(scene: Experiment) -> None:
    """Save the tensors passed to `context.keep`, even after an error."""
    if scene.context.fabric.is_global_zero:
        for name, tensors in scene.context.kept.items():
            write_atomic(scene.config.folder / f"{name}.safetensors", save(tensors))


def _keep_weights(model: nn.Module, step: Step, trained: list[TrainedModel | None], scene: Experiment) -> None:
    """Keep what the method made in the store, and its address in the record."""
    weights, config = state_to_cpu(model), scene.config
    of = {"method": identity(config.method), "unlearning": config.unlearning_id, "step": step.number}
    known = [model for model in trained if model is not None]
    kept = keep_unlearned(scene.references.store, weights, of, config.run_id, known, scene.context.fabric)
    scene.record.unlearned.append(kept)


def retrained_of(step: Step, scene: Experiment) -> TrainedModel | None:
    """The retrained model; None if no retain sample is left, or if it is neither wanted nor in the store."""
    if len(step.so_far.retain_train) == 0:
        return None
    references = scene.references
    wanted = references.retrained if scene.config.retrain_reference else references.retrained_if_present
    return wanted(step.so_far, scene.context)


def _evaluate(
    model: nn.Module, original: TrainedModel, retrained: TrainedModel | None, step: Step, scene: Experiment
) -> None:
    """Measure what the preset asks for; the record keeps the last step's metrics at the top, all steps' in details."""
    config, record = scene.config, scene.record
    evaluation = Evaluation(
        config.metrics, scene.data, step.so_far, scene.context, scene.references, original, retrained,
        with_other_seeds(step, scene), config.retrain_reference,
    )  # fmt: skip
    measured = evaluation.of(model)
    for name in scene.measured:  # an earlier step may have measured more, for example with a retrained model
        record.metrics.pop(name, None)
    scene.measured = set(measured.values)
    missing = {name: None for name in ABSENT_WITHOUT_RETRAIN if name not in measured.values}
    scene.retrainings.append(retrained.manifest if retrained is not None else None)
    spent = costs(scene.context, step.so_far, record.access, scene.retrainings)
    not_timed = not_comparable(scene.context, scene.retrainings)
    record.metrics |= missing | measured.values | spent | dict.fromkeys(not_timed)
    seconds = summed(record.details.get("metric_seconds", {}), measured.seconds)
    if scene.stages.found:
        measured.details["stages"] = scene.stages.found
        seconds["stages"] = scene.stages.seconds
    record.metrics["evaluation_seconds"] = sum(seconds.values())
    earlier = record.details.get("steps", [])
    cautions = stopped_meanwhile(scene.context, scene.retrainings)
    record.details = {**measured.details, **cautions, "metric_seconds": seconds}
    if len(scene.steps) > 1:
        request = config.forget.requests()[step.number].words
        samples = {"request": request, "samples": len(step.split.forget_train)}
        done = {"classes": list(step.split.classes), **samples, "metrics": dict(record.metrics)}
        record.details["steps"] = [*earlier, done]
    record.metric_notes = measured.notes | not_timed
    _warn_of_nulls(record)
    for name, reason in record.cautions.items():
        LOG.warning("%s: read %s with care: %s", record.run_id, name, reason)
    if config.metrics.grad_cam_samples and step is scene.steps[-1]:
        keep_grad_cam(evaluation, model, record, config.folder)


def summed(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Seconds by group, of both together."""
    return {name: before.get(name, 0.0) + now.get(name, 0.0) for name in {**before, **now}}


def _warn_of_nulls(record: RunRecord) -> None:
    """Name the metrics that are null, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in record.metric_notes.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        LOG.warning("%s: null because %s: %s", record.run_id, reason, ", ".join(names))


def with_other_seeds(step: Step, scene: Experiment) -> UnlearnedModels:
    """The method on originals of other training seeds, for the bank of models; none is made before it is asked for."""
    config, references = scene.config, scene.references

    def unlearn(network: nn.Module, original: TrainedModel, context: RunContext) -> nn.Module:
        allowed = UnlearningData(scene.data, step.split, config.method, context.seed, config.withheld)
        if Access.TRAIN_HISTORY in config.method.requires:
            allowed.training_log = references.training_log(original, step.split, context)
        with context.without_training_data(kept=Access.INITIAL_WEIGHTS in config.method.requires):
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
