"""What the JSON of a record must be, beyond its digest: the types of its fields, and what no run writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

from unsir_bench.guarantees import impossible_guarantees

if TYPE_CHECKING:
    from unsir_bench.records import RunRecord

ACCURACY = re.compile(r"(original_|retrain_|floor_)?acc_(forget|retain)_(train|test)")


def impossible(record: RunRecord) -> Iterator[str]:
    """What no run writes, though its type is right; reports rely on these."""
    steps = record.details.get("steps", [])
    if not isinstance(steps, list) or not all(_is_step(step) for step in steps):
        yield "details.steps is no list of classes and metrics"
        return
    stages = record.details.get("stages", [])
    if not isinstance(stages, list) or not all(map(_is_stage, stages)):
        yield "details.stages is no list of stages with their step and accuracies"
    for metrics in (record.metrics, *(step["metrics"] for step in steps)):
        for name, value in metrics.items():
            if value is not None and ACCURACY.fullmatch(name) and not 0 <= value <= 1:
                yield f"{name}={value} is not in [0, 1]"
    yield from impossible_guarantees(record.guarantees)
    try:
        datetime.fromisoformat(record.started).timestamp()
    except (ValueError, OverflowError):
        yield f"started={record.started} is no time in ISO 8601"
    if not fits(record.access.get("declared", []), list[str]):
        yield "access.declared is no list of words"
    for name in ("forget", "retain"):
        if not fits(record.access.get(name, {}), dict[str, int]):
            yield f"access.{name} holds no counts"
    if not all(isinstance(each.get("metrics"), dict) for each in record.evaluated):
        yield "evaluated holds no settings of metrics"
    for name in ("dataset", "model", "method", "train", "forget", "metrics", "hardware", "tracker"):
        if not isinstance(record.config.get(name, {}), dict):
            yield f"config.{name} is no section"


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, dict)
        and fits(step.get("classes"), list[int])
        and (fits(step.get("metrics"), dict[str, float | int | None]))
    )


def _is_stage(stage: Any) -> bool:
    if not isinstance(stage, dict) or not isinstance(stage.get("stage"), str) or type(stage.get("step")) is not int:
        return False
    accuracies = [value for name, value in stage.items() if ACCURACY.fullmatch(name) and value is not None]
    return stage["step"] >= 0 and all(fits(value, float | int) and 0 <= value <= 1 for value in accuracies)


def fits(value: object, kind: Any) -> bool:
    """Whether a value from JSON has a field's type."""
    parts, origin = get_args(kind), get_origin(kind)
    if origin is UnionType:
        return any(fits(value, part) for part in parts)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, parts[1]) for one in value.values())
    if origin is list:
        return isinstance(value, list) and all(fits(one, parts[0]) for one in value)
    return kind is Any or isinstance(value, kind)
