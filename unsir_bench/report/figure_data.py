"""What figures are drawn from: the runs of one data set, model and forget set, never of several."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from unsir_bench.records import RunRecord
from unsir_bench.report.html_plots import REFERENCE_PREFIX, Place, Run, Series, series_label, series_of
from unsir_bench.report.statistics import MeanInterval
from unsir_bench.report.table import GROUP, frame, position, with_references

PERCENT = 100.0
EVERY_PRESET = "every metrics preset (metrics=fast, standard and full) records it for runs that finish"
NOT_FAST = "metrics=standard (the default) and metrics=full record it, metrics=fast does not"


@dataclass(frozen=True)
class Scene:
    """The runs of a sweep that may stand in one figure.

    Attributes:
        records: all of them, unfinished ones too.
        series: the finished ones with their references, in the order of the tables.
        runs: the finished ones, in the same order.
    """

    sweep: str
    place: Place
    records: list[RunRecord]
    series: list[Series]
    runs: list[Run]

    def title(self, counts: Sequence[int], *notes: str) -> str:
        """What a figure is of: data set, model, forget set, seeds and scale.

        Args:
            counts: for each method shown, its number of seeds.
            notes: what else must be said.
        """
        least, most = min(counts), max(counts)
        seeds = "n = 1 seed" if most == 1 else f"n = {most} seeds" if least == most else f"n = {least} to {most} seeds"
        scales = sorted({str(scale) for one in self.records if (scale := one.config.get("at_scale"))})
        return ", ".join([str(self.place), seeds, *(f"scale {scale}" for scale in scales), *filter(None, notes)])


@dataclass(frozen=True)
class Drawing:
    """A figure, the numbers in it, and the first part of its files' name."""

    name: str
    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        name: of its files.
        draw: yields nothing where the records hold no data for it.
        absent: what would have to be recorded, for that case.
    """

    name: str
    draw: Callable[[Scene], Iterator[Drawing]]
    absent: str


@dataclass(frozen=True)
class Entry:
    """What one run holds of one model: ``prefix`` is that of the model's fields in the record."""

    method: str
    seed: int
    value: Any
    record: RunRecord
    prefix: str


def scenes(sweep: str, records: Sequence[RunRecord]) -> list[Scene]:
    """The records of a sweep by data set, model and forget set, in the order of the tables.

    Args:
        sweep: its name.
        records: in order of run id.
    """
    if not records:
        return []
    values = frame(records)
    rows = sorted(
        zip(values[GROUP].itertuples(index=False, name=None), records, strict=True),
        key=lambda row: (*position(row[0]), row[1].seed, row[1].run_id),
    )
    series = series_of(with_references(values))
    groups: dict[Place, list[Run]] = defaultdict(list)
    for (dataset, model, forget, method, setting), record in rows:
        place = Place(dataset, model, forget)
        groups[place].append(Run(record, place, series_label(method, setting), link=""))
    return [
        Scene(
            sweep,
            place,
            [run.record for run in runs],
            [one for one in series if one.place == place],
            [run for run in runs if run.record.status == "done"],
        )
        for place, runs in groups.items()
    ]


def entries(scene: Scene, key: str) -> dict[str, list[Entry]]:
    """``details[key]`` of every model by its label, references first and once per seed, whichever run measured them."""
    found: dict[str, dict[object, Entry]] = {label: {} for label in REFERENCE_PREFIX}
    for run in scene.runs:
        for label, prefix in ((run.label, ""), *REFERENCE_PREFIX.items()):
            value = run.record.details.get(prefix + key)
            if value:
                once = run.record.seed if label in REFERENCE_PREFIX else run.record.run_id
                method = label if prefix else run.record.method
                found.setdefault(label, {}).setdefault(once, Entry(method, run.record.seed, value, run.record, prefix))
    return {label: list(models.values()) for label, models in found.items() if models}


def values_of(one: Series, column: str, scale: float = 1.0) -> list[float]:
    """The finite numbers of a series in a column, times ``scale``; none where it lacks the column."""
    if column not in one.values:
        return []
    return [scale * float(value) for value in one.values[column].dropna() if math.isfinite(value)]


def over_seeds(counts: Sequence[int]) -> str:
    """What figures of means say of them: nothing where no method has a second seed."""
    return "means with 95 % intervals" if max(counts) > 1 else ""


def half_width(interval: MeanInterval) -> float:
    """Half the interval's width as a figure draws it: 0 where a single seed gives none."""
    return interval.half_width if math.isfinite(interval.half_width) else 0.0
