"""Metrics register themselves here: one function each, with a card beside it that says how to read what it gives.

A package of the user's registers its own in the same way; naming the package in ``UNSIR_BENCH_PLUGINS`` imports it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from unsir_bench.evaluation.metric_inputs import MetricInputs

__all__ = ["RETRAIN", "Metric", "MetricCard", "MetricInputs", "Scores", "cards", "metric", "registered"]

RETRAIN = "retrain's"
SHIPPED = "unsir_bench.evaluation.metrics"
OF_REFERENCES = ("original_", "retrain_", "floor_")
RESERVED_DETAILS = frozenset((
    # Of the run itself; the rest are our metrics', which reports read.
    "steps", "stages", "metric_seconds", "seconds_caution",
    "accuracy_by_class", "forget_predictions", "forgetting_epsilons", "forgetting_null", "layer_information",
    "layer_probe_auc", "lira_caution", "mia_loss_caution", "mia_samples_per_side", "nearest", "relearn_curve",
    "retention_training_samples", "rmia_caution", "samples", "true_floor", "verification",
    "weight_distance_to_original", "weight_distance_to_retrain",
))  # fmt: skip

# Fields that the run itself writes, and the beginnings of those that it makes of a metric's.
COSTS = frozenset((
    "unlearn_seconds", "speedup_vs_retrain", "peak_memory_bytes", "evaluation_seconds", "forget_samples_touched",
    "retain_samples_touched", "forget_passes", "retain_passes",
))  # fmt: skip
RESERVED_PREFIXES = ("gap_", *OF_REFERENCES)

Switch = Literal[
    "always", "outputs", "weights", "membership", "features", "collateral", "verification", "lira_shadows", "bank_size",
    "relearn",
]  # fmt: skip
Scores = Mapping[str, Any]
MetricFunction = Callable[[MetricInputs], float | Scores]


@dataclass(frozen=True)
class MetricCard:
    """How to read one field of a record.

    For nearly every metric the ideal is what retraining gives, not zero or one: a model that is *worse* than a
    retrained one on forgotten samples has been damaged in a way that can itself be told, and attacked.

    Attributes:
        field: its name in the record.
        title: for table heads.
        source: the paper that defines it, or "defined here".
        ideal: the best value, in words.
        range: the smallest and the largest value, in the record's unit.
        compared: whether the record gives the difference to the retrained model's value, as ``gap_<field>``.
        minimum_margin: the smallest gap to retrain, in the record's unit, that anybody would call a gap; 0: the verdict
            table leaves the field out.
        overshoot: what a value that lies beyond the ideal means; empty where that cannot happen.
        overshoots: -1 where values below retrain's overshoot, +1 where values above do, 0 where neither.
        scale: from the record's unit to the table's.
        why_null: what it means where the metric gives None.
    """

    field: str
    title: str
    source: str
    ideal: str = RETRAIN
    range: tuple[float, float] = (0.0, 1.0)
    compared: bool = False
    minimum_margin: float = 0.0
    overshoot: str = ""
    overshoots: int = 0
    scale: float = 100.0
    why_null: str = "there is no such sample"


@dataclass(frozen=True)
class Metric:
    """A registered function; ``metric`` explains the attributes."""

    compute: MetricFunction
    cards: tuple[MetricCard, ...]
    when: Switch
    relative_to: str | None
    group: str
    summary: bool

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the record's fields."""
        return tuple(card.field for card in self.cards)

    @property
    def shipped(self) -> bool:
        """Whether it is this project's own, whose changes raise ``EVALUATION_VERSION``."""
        return self.compute.__module__.startswith(SHIPPED)

    def taken_detail(self, names: Iterable[str], given: Container[str]) -> str | None:
        """The first of a metric's details that has a name of the run's own, of our metrics or of those ``given``."""
        if self.shipped:
            return None
        details = (name for name in names if name not in self.fields)
        return next((name for name in details if name in given or _bare(name) in RESERVED_DETAILS), None)


def _bare(name: str) -> str:
    prefix = next(filter(name.startswith, OF_REFERENCES), "")
    return name.removeprefix(prefix)


_METRICS: dict[str, Metric] = {}  # by module and name of the function, so that a module imported again replaces its own


def metric(
    *cards: MetricCard,
    when: Switch = "always",
    relative_to: Literal["original", "retrain"] | None = None,
    group: str = "",
    summary: bool = False,
) -> Callable[[MetricFunction], MetricFunction]:
    """Register a function from ``MetricInputs`` to a number, or to a mapping of numbers and details by name.

    The function is called for the unlearned model and for each reference. Of a mapping, a name that has a card becomes
    a field of the record; any other becomes a detail, which may hold what is no single number. Where the function
    raises ``MetricUnavailable``, all its fields are null, with the reason in the record's notes. So they are where a
    detail has a name that is taken already: ``RESERVED_DETAILS``, or another metric's.

    A metric of another package is computed in every run of a process that has imported the package, unless ``when``
    leaves it out. Run ids do not depend on it: to measure a finished run again, remove its folder. The store does not
    keep what it gives for references, since nobody would know when its code has changed.

    Args:
        cards: one for each field of the record.
        when: the key of ``metrics`` that turns it on; "always": every preset has it, ``metrics=fast`` too.
        relative_to: the model that it compares with; it is left out for that model itself, and where there is none.
        group: under which its seconds are booked; the function's name by default.
        summary: computed once, at the end, from ``MetricInputs.values``.

    Raises:
        ValueError: there is no such key of ``metrics``, another metric has the field already, or the run writes it.
    """
    if when not in get_args(Switch):
        raise ValueError(f"when={when!r}: must be one of {', '.join(get_args(Switch))}")

    def register(function: MetricFunction) -> MetricFunction:
        key = f"{function.__module__}.{function.__qualname__}"
        taken = {field: name for name, other in _METRICS.items() if name != key for field in other.fields}
        for card in cards:
            if card.field in taken:
                raise ValueError(f"{key}: the field {card.field} is {taken[card.field]}'s; choose another name")
            if card.field in COSTS or card.field.startswith(RESERVED_PREFIXES):
                raise ValueError(
                    f"{key}: the field {card.field} is one that runs write themselves (costs, and all that begins with "
                    f"{', '.join(RESERVED_PREFIXES)}); choose another name"
                )
        named = group or function.__name__.replace("_", " ")
        _METRICS[key] = Metric(function, cards, when, relative_to, named, summary)
        return function

    return register


def registered() -> list[Metric]:
    """Every metric: this project's by module, then those of other packages as they were imported."""
    package = importlib.import_module(SHIPPED)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{SHIPPED}.{module.name}")
    return sorted(_METRICS.values(), key=lambda each: each.compute.__module__ if each.shipped else "~")


def cards() -> list[MetricCard]:
    """The card of every field."""
    return [card for each in registered() for card in each.cards]
