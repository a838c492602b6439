"""What figures are drawn from: the runs of one data set, model and forget set, never of several."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from unsir_bench.records import RunRecord
from unsir_bench.report.run_series import REFERENCE_PREFIX, Place, Run, Series, series_label, series_of
from unsir_bench.report.statistics import MeanInterval
from unsir_bench.report.tables.table import GROUP, frame, position, retrain_gaps, with_references

PERCENT = 100.0
EVERY_PRESET = "every metrics preset (metrics=fast, standard and full) records it for runs that finish"
NOT_FAST = "metrics=standard (the default) and metrics=full record it, metrics=fast does not"

Arrays = Mapping[str, NDArray[Any]]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Scene:
    """The runs of a sweep that may stand in one figure.

    Attributes:
        records: all of them, unfinished ones too.
        series: the finished ones with their references, in the order of the tables.
        runs: the finished ones, in the same order.
        unfinished: the others, likewise.
        folders: by run id, where the files beside each record lie.
        complaints: what is wrong with files beside records, in words; figures add to it as they read them.
    """

    sweep: str
    place: Place
    records: list[RunRecord]
    series: list[Series]
    runs: list[Run]
    unfinished: list[Run] = field(default_factory=list)
    folders: Mapping[str, Path] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @property
    def gaps(self) -> list[str]:
        """What the figures do not show for want of a result: runs that are not done, and a retrained model."""
        statuses = sorted(Counter(run.record.status for run in self.unfinished).items())
        absent = [f"{count} {status}" for status, count in statuses]
        gaps = [f"not shown: {', '.join(absent)}"] if absent else []
        return [*gaps, *retrain_gaps(self.records).values()]

    def beside(self, file: str, parse: Callable[[Run, Arrays], Parsed]) -> list[tuple[Run, Parsed]]:
        """What finished runs keep in a safetensors file beside their record; one that cannot be read is complained of.

        Args:
            file: its name.
            parse: makes of a run and its arrays what is wanted; a ``ValueError`` says what is wrong with them.
        """
        found = []
        for run in self.runs:
            path = self.folders.get(run.record.run_id, Path()) / file
            if run.record.run_id in self.folders and path.exists():
                try:
                    found.append((run, parse(run, load_file(path))))
                except (OSError, ValueError, SafetensorError) as error:
                    self.complaints.append(f"{path} cannot be read and is left out: {error}")
        return found

    def title(self, counts: Sequence[int], *notes: str) -> str:
        """What a figure is of: data set, model, forget set, seeds and scale.

        Args:
            counts: for each method shown, its number of seeds.
            notes: what else must be said.
        """
        least, most = min(counts), max(counts)
        seeds = "n = 1 seed" if most == 1 else f"n = {most} seeds" if least == most else f"n = {least} to {most} seeds"
        scales = sorted({str(scale) for one in self.records if (scale := one.config.get("at_scale"))})
        words = [str(self.place), seeds, *(f"scale {scale}" for scale in scales), *notes, *self.gaps]
        return ", ".join(filter(None, words))


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


def scenes(sweep: str, records: Sequence[RunRecord], folders: Mapping[str, Path] | None = None) -> list[Scene]:
    """The records of a sweep by data set, model and forget set, in the order of the tables.

    Args:
        sweep: its name.
        records: in order of run id.
        folders: see ``Scene``.
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
            [run for run in runs if run.record.status != "done"],
            folders or {},
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


def require(arrays: Arrays, shapes: Mapping[str, tuple[int | None, ...]]) -> int:
    """Check that a file holds finite arrays of these shapes (None: any size above 0), all of one length.

    Returns:
        That length.

    Raises:
        ValueError: an array is missing, has another shape, or holds NaN or infinity.
    """
    lengths = set()
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None:
            raise ValueError(f"it holds no {name!r}")
        fits = len(array.shape) == len(shape) and all(
            size > 0 if wanted is None else size == wanted for size, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{name!r} has shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name!r} holds NaN or infinity")
        lengths.add(len(array))
    if len(lengths) != 1:
        raise ValueError(f"arrays of different lengths: {sorted(lengths)}")
    return lengths.pop()


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
