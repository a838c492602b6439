"""The record of a run before anything is done: its configuration, its checks and its forget classes."""

from __future__ import annotations

from unsir_bench.config import Config, validate
from unsir_bench.records import RunRecord
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
        access={"declared": access_names(config.method)},
        command=command,
    )


def note_forget_set(record: RunRecord, config: Config) -> None:
    """Check the configuration and fill in the record's forget classes.

    Raises:
        ConfigError: at least one setting is wrong.
    """
    class_names = validate(config)
    record.forget_classes = list(config.forget.resolve(class_names, config.seed))
    record.forget_names = [class_names[index] for index in record.forget_classes]
    record.forget_steps = [list(group) for group in config.forget.steps(class_names, config.seed)]
