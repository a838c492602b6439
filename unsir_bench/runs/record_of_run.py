"""What a record says before anything is measured: the configuration, the classes, and the models compared."""

from __future__ import annotations

from unsir_bench.config import Config, validate
from unsir_bench.data.class_entries import indices_of
from unsir_bench.records import RunRecord
from unsir_bench.references.trained_models import TrainedModel
from unsir_bench.unlearning.method import access_names


def blank_record(config: Config, command: str = "") -> RunRecord:
    """An empty record: only the configuration is filled in."""
    return RunRecord(
        run_id=config.run_id,
        sweep=config.sweep,
        method=config.method.name,
        dataset=config.dataset.name,
        model=config.model.name,
        seed=config.seed,
        forget_set=config.forget.title,
        config=config.as_plain(),
        settings=config.method.settings,
        study=config.method.study,
        access={"declared": access_names(config.method)},
        fingerprints={"initial_weights": content} if (content := config.model.content_identity()) else {},
        command=command,
        store_entries=[],
    )


def note_forget_set(record: RunRecord, config: Config) -> None:
    """Check the configuration and fill in the record's forget classes, or the names of sub-classes to forget.

    Raises:
        ConfigError: at least one setting is wrong.
    """
    class_names = validate(config)
    record.forget_classes = list(config.forget.resolve(class_names, config.seed))
    record.forget_names = [class_names[index] for index in record.forget_classes]
    if config.forget.subclasses is not None:
        names = config.dataset.subclass_names()
        record.forget_names = [names[index] for index in indices_of(config.forget.subclasses, names)]
    record.forget_steps = [list(group) for group in config.forget.steps(class_names, config.seed)]


def note_models(
    record: RunRecord,
    data: str,
    split: str,
    original: TrainedModel,
    retrained: TrainedModel | None,
    weights: str,
) -> None:
    """Note what the numbers of a record are of.

    Args:
        record: to be changed.
        data, split: fingerprints.
        original, retrained: what the unlearned model is compared with.
        weights: hash of the unlearned ones.
    """
    record.fingerprints |= {
        "data": data,
        "split": split,
        "original": original.key,
        "retrain": retrained.key if retrained else None,
        "weights": weights,
    }
    models = {"original": original, "retrain": retrained}
    record.references = {name: model.provenance for name, model in models.items() if model is not None}
