"""Every metric of models made elsewhere: their state dicts stand for the store's models in a run's evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor, nn

from unsir_bench.config import Config
from unsir_bench.config_fields import identity
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.forget_split import ForgetSplit
from unsir_bench.errors import ConfigError, Diverged
from unsir_bench.evaluation.evaluate import Evaluation, Measurements, MetricsConfig
from unsir_bench.models.checkpoint_files import Checkpoint, CheckpointError, rename_problem
from unsir_bench.models.model import state_to_cpu
from unsir_bench.records import RunRecord, finished_record
from unsir_bench.references.record_folders import note_folder
from unsir_bench.references.store import all_finite, content_key, weights_hash
from unsir_bench.references.trained_models import TrainedModel
from unsir_bench.runs.experiment import ABSENT_WITHOUT_RETRAIN, Experiment, keep_grad_cam, prepared
from unsir_bench.runs.finished_runs import recorded_metrics
from unsir_bench.runs.record_of_run import blank_record, note_forget_set, note_models
from unsir_bench.runs.run_lock import recording
from unsir_bench.runtime.environment import environment
from unsir_bench.tracking.run import RememberingTracker
from unsir_bench.training.context import RunContext
from unsir_bench.training.inference import predict_splits
from unsir_bench.unlearning.method import all_methods

ORIGINAL, UNLEARNED, RETRAIN = "original", "unlearned", "retrain"
UNKNOWN = "the model was made elsewhere: what it cost is not known"
UNKNOWN_COSTS = ("unlearn_seconds", "retrain_seconds", "speedup_vs_retrain", "peak_memory_bytes")


def score_checkpoints(
    config: Config, name: str, files: Mapping[str, Path], renames: Sequence[str] = (), command: str = ""
) -> tuple[RunRecord, Path]:
    """The record of an unlearned model made elsewhere, and its path.

    The gaps' floor, shadow models and a bank are left out: they would be trained by another recipe than the maker's.

    Args:
        config: data, network, forget set and metrics; ``train`` says how relearning trains. The method takes no part.
        name: of the method, for tables.
        files: by role: ``original`` and ``unlearned``, and ``retrain`` if there is one.
        renames: see ``Checkpoint.fitted``; they hold for every file.
        command: see ``RunRecord.command``.

    Raises:
        ConfigError: a setting is wrong.
        CheckpointError: a file is not of this network; all such files are named. Or a logit is NaN or infinite.
        NotRecordedError: the record cannot be written; nothing is measured where that shows before.
    """
    [does_nothing] = [cls for cls in all_methods() if cls.name == ORIGINAL]  # any forget set may be its
    metrics = replace(config.metrics, floor=False, lira_shadows=0, bank_size=0)
    config = replace(
        config, method=does_nothing(name, settings="none"), metrics=metrics, retrain_reference=False, withheld=[]
    )
    record = blank_record(config, command)
    record.config["method"], record.access, record.settings = {"name": name}, {}, ""
    note_forget_set(record, config)
    if config.hardware.devices != 1:
        raise ConfigError([f"hardware.devices={config.hardware.devices}: checkpoints are scored on one device"])
    scene = prepared(config.hardware.start(config.model.cpu_threads), config, RememberingTracker(), record)
    split = scene.steps[-1].so_far
    scene.context.forget_classes = split.classes
    checkpoints, weights = _fitted(files, renames, scene.context)
    _describe(record, config, split, checkpoints, weights)
    folder = config.folder.with_name(record.run_id)
    with suppress(OSError):  # nothing is ever pruned from a store that cannot be written
        note_folder(Path(config.store.root), Path(config.outputs))
    with recording(folder):
        if (earlier := finished_record(folder)) is not None:  # none of its metrics is lost
            metrics = recorded_metrics(earlier).joined(metrics)
            record.config["metrics"] = asdict(metrics)
        _measure(scene, metrics, weights, folder)
        path = record.write(folder)
    return record, path


def _measure(
    scene: Experiment, metrics: MetricsConfig, weights: Mapping[str, Mapping[str, Tensor]], folder: Path
) -> None:
    """Fill in the scene's record; ``folder`` is to hold what lies beside it."""
    config, record, split = scene.config, scene.record, scene.steps[-1].so_far
    original = _as_trained(weights[ORIGINAL], ORIGINAL, config, scene.data, scene.context)
    has_retrain = RETRAIN in weights
    retrained = _as_trained(weights[RETRAIN], RETRAIN, config, scene.data, scene.context) if has_retrain else None
    evaluation = Evaluation(metrics, scene.data, split, scene.context, scene.references, original, retrained)
    model = scene.context.network_with(weights[UNLEARNED])
    try:
        _note(record, evaluation.of(model))
    except Diverged as error:
        raise _not_finite(UNLEARNED) from error
    unlearned = record.checkpoints[UNLEARNED]["weights"]
    note_models(record, scene.data.fingerprint, split.fingerprint, original, retrained, unlearned)
    record.environment, record.status = environment(scene.context.device), "done"
    if metrics.grad_cam_samples:
        keep_grad_cam(evaluation, model, record, folder)


def _as_trained(
    weights: Mapping[str, Tensor], role: str, config: Config, data: DeviceData, context: RunContext
) -> TrainedModel:
    """The weights as the evaluation takes a reference model; its key is that of the weights, not of a training.

    What is kept of its scores also depends on the normalisation, and on the recipe, by which it relearns.
    """
    about = {
        "checkpoint": weights_hash(weights), "model": identity(config.model), "data": data.fingerprint,
        "normalisation": [data.normalisation.mean, data.normalisation.std], "recipe": identity(config.train),
        "numerics": config.numerics,
    }  # fmt: skip
    network = context.network_with(weights)
    logits = predict_splits(network, data, context, role)
    if not all_finite(logits):
        raise _not_finite(role)
    return TrainedModel(content_key(about), state_to_cpu(network), logits, {})


def _not_finite(role: str) -> CheckpointError:
    return CheckpointError(
        f"{role}: some logits of this model are NaN or infinite, so that it has no accuracy; look at dataset.mean, "
        "dataset.std and whether the file is of this network"
    )


def _note(record: RunRecord, measured: Measurements) -> None:
    unknown = dict.fromkeys(UNKNOWN_COSTS)
    seconds = {"evaluation_seconds": sum(measured.seconds.values())}
    record.metrics = dict.fromkeys(ABSENT_WITHOUT_RETRAIN) | measured.values | unknown | seconds
    record.metric_notes = measured.notes | dict.fromkeys(UNKNOWN_COSTS, UNKNOWN)
    record.details = {**measured.details, "metric_seconds": measured.seconds}


def _fitted(
    files: Mapping[str, Path], renames: Sequence[str], context: RunContext
) -> tuple[dict[str, Checkpoint], dict[str, dict[str, Tensor]]]:
    """Every file and its weights under the network's names; raises one ``CheckpointError`` for all that is wrong."""
    wrong = [problem for rename in renames if (problem := rename_problem(rename))]
    network = context.initial_network()
    own = {name: value.cpu() for name, value in network.state_dict().items()}
    head = _name_of(context.architecture.head(network), network)
    checkpoints, weights = {}, {}
    for role, path in files.items() if not wrong else ():
        try:
            checkpoints[role] = Checkpoint.read(path)
            weights[role] = checkpoints[role].fitted(own, renames, head)
        except CheckpointError as problem:
            wrong.append(str(problem))
    if wrong:
        raise CheckpointError("\n".join(wrong))
    return checkpoints, weights


def _name_of(module: nn.Module, network: nn.Module) -> str:
    return str(next(name for name, each in network.named_modules() if each is module))


def _describe(
    record: RunRecord,
    config: Config,
    split: ForgetSplit,
    checkpoints: Mapping[str, Checkpoint],
    weights: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Say which files the record is of; its id depends on their weights, and on no metrics."""
    hashes = {role: weights_hash(state) for role, state in weights.items()}
    record.checkpoints = {
        role: {"file": checkpoint.path.name, "sha256": checkpoint.sha256, "weights": hashes[role]}
        for role, checkpoint in checkpoints.items()
    }
    if RETRAIN in record.checkpoints:
        record.checkpoints[RETRAIN]["verified"] = False
    parts = {name: identity(getattr(config, name)) for name in ("dataset", "model", "train")}
    about = {"checkpoints": hashes, **parts, "split": split.fingerprint, "seed": config.seed}
    record.run_id = config.name_with(content_key({**about, "numerics": config.numerics}))


def sanity(record: RunRecord) -> str:
    """What the original scores on the test images, for its maker to compare with what is known of it."""
    known = [share for share in record.details["original_accuracy_by_class"]["test"] if share is not None]
    mean, classes = sum(known) / len(known), len(record.details["original_accuracy_by_class"]["test"])
    verdict = f"hardly more than by chance (1 of {classes})" if mean < 2 / classes else "averaged over classes"
    return (
        f"sanity: the original is right on {100 * mean:.2f} % of the test images, {verdict}. If it should be another "
        "number, look at dataset.mean, dataset.std, dataset.image_size, the order of the classes and --rename"
    )
