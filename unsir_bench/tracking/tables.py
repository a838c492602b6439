"""The details of a record as tables and curves: what is no single number, model below model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unsir_bench.records import RunRecord

Point = tuple[str, int, dict[str, float]]
MODELS = {"": "unlearned", "original_": "original", "retrain_": "retrain", "floor_": "second retrain"}


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
