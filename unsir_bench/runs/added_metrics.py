"""Further metrics for a finished run, from the unlearned weights that the store kept: nothing is unlearned again."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.errors import UnsirBenchError
from unsir_bench.evaluation.evaluate import Evaluation, Measurements, MetricsConfig
from unsir_bench.records import RunRecord, utc_now
from unsir_bench.references.store import Store
from unsir_bench.references.trained_models import TrainedModel
from unsir_bench.references.unlearned_models import is_trained, unlearned_weights
from unsir_bench.runs.experiment import keep_grad_cam, prepared, retrained_of, summed, with_other_seeds
from unsir_bench.runs.record_of_run import note_models
from unsir_bench.runtime.environment import provenance
from unsir_bench.tracking.run import RememberingTracker
from unsir_bench.versions import EVALUATION_VERSION

LOG = logging.getLogger("unsir_bench")
Metrics = dict[str, float | int | None]


class CannotEvaluateError(UnsirBenchError):
    """A run whose record cannot be given further metrics; the message says why, and what to do."""


def add_metrics(record: RunRecord, config: Config, wanted: MetricsConfig, folder: Path) -> list[str]:
    """Measure what the record of a done run lacks of ``wanted``, and write the record anew.

    The values are those that the run would have had with these metrics, bit for bit on the same kind of machine. A
    metric that was measured with other settings is measured again with the new ones.

    Args:
        record: changed in place.
        config: of the run; ``metrics`` is what the record has by now.
        wanted: what it shall have.
        folder: of the record.

    Returns:
        Names of the metrics that were added or replaced; the record is not touched where there are none.

    Raises:
        CannotEvaluateError: the unlearned weights were not kept, or the models and data here are not the run's.
        WeightsMissingError: the store does not have them.
    """
    before, after = config.metrics, config.metrics.joined(wanted)
    _refuse(record, config, after)
    if not _lacks(record, before, after):
        return []
    stale = {name for metric in after.turned_on() if (old := before.setting(metric)) and old != after.setting(metric)
             for name in metric.fields}  # fmt: skip
    known = {name: value for name, value in record.metrics.items() if name not in stale}
    _measure(
        record, replace(config, metrics=after), stale, folder, maps=before.grad_cam_samples != after.grad_cam_samples
    )
    return [name for name in record.metrics if name not in known and name != "evaluation_seconds"]


def _refuse(record: RunRecord, config: Config, wanted: MetricsConfig) -> None:
    then = (record.environment.get("versions") or {}).get("EVALUATION_VERSION", EVALUATION_VERSION)
    if then != EVALUATION_VERSION:
        raise CannotEvaluateError(
            f"its metrics are of EVALUATION_VERSION {then}, and this code's of {EVALUATION_VERSION}: remove the run's "
            "folder and run it again"
        )
    if wanted.bank_size and config.forget.sequence is not None:
        raise CannotEvaluateError("it forgets in sequence, and a bank is of one request")
    if wanted.bank_size and not config.retrain_reference:
        raise CannotEvaluateError("a bank needs retrained models, and it ran with retrain_reference=false")
    if config.hardware.devices != 1:
        raise CannotEvaluateError(f"it ran with hardware.devices={config.hardware.devices}; one device is supported")
    if len(record.unlearned) != len(record.forget_steps):
        raise CannotEvaluateError(
            "its unlearned weights were not kept (save_model=false, or an earlier release): remove the run's folder "
            "and run it again"
        )


def _lacks(record: RunRecord, before: MetricsConfig, after: MetricsConfig) -> bool:
    """Whether anything is to be measured; the metric of a plug-in may be newer than the run."""
    plugged = [metric for metric in after.turned_on() if not (metric.shipped or metric.summary or metric.relative_to)]
    unmeasured = [metric for metric in plugged if metric.fields and record.metrics.keys().isdisjoint(metric.fields)]
    return bool(unmeasured) or replace(before, name="") != replace(after, name="")


def _measure(record: RunRecord, config: Config, stale: set[str], folder: Path, *, maps: bool) -> None:
    """Measure each step's weights; the record is written at the end, in one go."""
    _require_weights(record, config)
    fabric = config.hardware.start(config.model.cpu_threads)
    scene = prepared(fabric, config, RememberingTracker(), record)
    original = scene.references.original(scene.context)
    several, spent = len(scene.steps) > 1, dict[str, float]()
    for step, kept in zip(scene.steps, record.unlearned, strict=True):
        scene.context.forget_classes, scene.context.forgotten_before = step.split.classes, step.split.gone
        scene.context.forget_superclasses = step.split.superclasses
        retrained = retrained_of(step, scene)
        if step is scene.steps[-1]:
            _require_the_same(record, scene.data.fingerprint, step.so_far.fingerprint, original, retrained)
        model = scene.context.network_with(unlearned_weights(scene.references.store, kept))
        evaluation = Evaluation(
            config.metrics, scene.data, step.so_far, scene.context, scene.references, original, retrained,
            with_other_seeds(step, scene), config.retrain_reference,
        )  # fmt: skip
        metrics = record.details["steps"][step.number]["metrics"] if several else record.metrics
        known = {name: value for name, value in metrics.items() if name not in stale}
        measured = evaluation.of(model, known)
        spent = summed(spent, measured.seconds)
        _note(metrics, measured, sum(spent.values()))
    if several:
        record.metrics = dict(metrics)
    unchanged = {name: why for name, why in record.metric_notes.items() if measured.values.get(name) is None}
    record.metric_notes = unchanged | measured.notes
    seconds = summed(record.details.get("metric_seconds", {}), spent)
    record.details |= {**measured.details, "metric_seconds": seconds}
    if maps:
        keep_grad_cam(evaluation, model, record, folder)
    note_models(
        record, scene.data.fingerprint, step.so_far.fingerprint, original, retrained, record.unlearned[-1]["weights"]
    )
    record.evaluated.append({
        "metrics": asdict(config.metrics), "added": sorted(measured.values.keys() - known.keys()),
        "measured_in": provenance(fabric.device), "finished": utc_now(),
    })  # fmt: skip
    record.write(folder)


def _require_weights(record: RunRecord, config: Config) -> None:
    """Refuse a run whose unlearned weights are gone before anything is trained.

    Raises:
        WeightsMissingError: the store does not have them.
    """
    for number, kept in enumerate(record.unlearned):
        made_by = {"method": identity(config.method), "unlearning": kept["unlearning"], "step": number}
        if not is_trained(kept, made_by):
            unlearned_weights(Store(Path(config.store.root)), kept)


def _note(metrics: Metrics, measured: Measurements, spent: float) -> None:
    """Add what was measured; ``spent`` are the seconds of all steps so far."""
    earlier = metrics.get("evaluation_seconds") or 0.0
    metrics |= {**measured.values, "evaluation_seconds": earlier + spent}


def _require_the_same(
    record: RunRecord, data: str, split: str, original: TrainedModel, retrained: TrainedModel | None
) -> None:
    """Metrics are added only where the models and the data are those that the others were measured with.

    Raises:
        CannotEvaluateError: one of them is another.
    """
    now: dict[str, Any] = {"data": data, "split": split}
    then = {name: record.fingerprints.get(name) for name in now}
    for role, model in (("original", original), ("retrain", retrained)):
        then[f"weights of the {role} model"] = (record.references.get(role) or {}).get("weights")
        now[f"weights of the {role} model"] = model.provenance["weights"] if model else None
    for name, old in then.items():
        if old and old != now[name]:
            raise CannotEvaluateError(
                f"{name}: {old} in the record, {now[name]} here: added metrics would not be of the run's own models "
                "and data; give the run's store by store.root=FOLDER"
            )
