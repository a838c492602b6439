"""What figures are drawn from: the runs of one data set, model and forget set, never of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from unsir_bench.records import RunRecord
from unsir_bench.report.controls import control_mark_of
from unsir_bench.report.data import Place, Series, model_table, retrain_gaps, series_of, timed_on
from unsir_bench.report.plots.parts import places
from unsir_bench.report.samples import SHARES, ShareInterval, samples_of, share_interval

TIMED_APART = "seconds not all taken on the same machine and threads"
ALL_FORGET_SETS = "all forget sets"
Arrays = Mapping[str, NDArray[Any]]
Parsed = TypeVar("Parsed")


class Run(NamedTuple):
    """A run, and how figures name it: the method, with the setting that sets it apart from other runs of it, if any.

    ``experiment`` is equal for runs whose references are the same seed by seed: conditions in words, and the origin of
    models made elsewhere, else an empty word.
    """

    record: RunRecord
    label: str
    experiment: tuple[str, str]


@dataclass(frozen=True)
class Scene:
    """The runs of a sweep that may stand in one figure.

    Attributes:
        models: their rows of the sweep's ``model_table``, in the order of the tables.
        folders: by run id, where the files beside each record lie.
        complaints: what is wrong with files beside records, in words; figures add to it as they read them.
    """

    sweep: str
    place: Place
    models: pd.DataFrame
    folders: Mapping[str, Path] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @cached_property
    def series(self) -> list[Series]:
        """The finished models, references among them, in the order of the tables."""
        return series_of(self.models)

    @cached_property
    def controls(self) -> dict[str, str]:
        """By label of the series that are controls, what they are in a few words."""
        return {one.label: mark for one in self.series if (mark := control_mark_of(one.values))}

    def marked(self, label: str) -> str:
        """A series' label, with a dagger where it is a control; ``control_note`` explains it."""
        return f"{label} †" if label in self.controls else label

    @property
    def across(self) -> bool:
        """Whether it joins all forget sets of a data set and model."""
        return self.place.forget == ALL_FORGET_SETS

    @property
    def control_note(self) -> str:
        """What the dagger means; empty where nothing bears one."""
        marks = sorted(set(self.controls.values()), reverse=True)
        return f"† control: {', or '.join(marks)}" if marks else ""

    @cached_property
    def samples(self) -> dict[str, int | None]:
        """Of how many samples each share is; None where that is not known."""
        return {name: samples_of(self.models, name) for name in SHARES}

    def percent(self, one: Series, field: str) -> tuple[ShareInterval, int]:
        """A share of samples of one of the series, in per cent, and of how many seeds; NaN where it has none."""
        values = values_of(one, field)
        return share_interval(values, self.samples[field]).in_percent, len(values)

    @property
    def timed_apart(self) -> str:
        """What figures with seconds of several machines or numbers of threads say; empty where all are alike."""
        return TIMED_APART if len(timed_on(self.models[self.models["prefix"] == ""])) > 1 else ""

    @property
    def records(self) -> list[RunRecord]:
        """All runs, unfinished ones too."""
        return self.models.loc[self.models["prefix"] == "", "record"].tolist()

    def runs(self, *, done: bool = True) -> list[Run]:
        """The finished runs in the order of the tables, or the others."""
        chosen = self.models[(self.models["prefix"] == "") & ((self.models["status"] == "done") == done)]
        experiments = zip(chosen["conditions"], chosen["origin"], strict=True)
        found = list(map(Run, chosen["record"], chosen["label"], experiments))
        order = list(dict.fromkeys(run.label for run in found))
        return sorted(found, key=lambda run: (order.index(run.label), run.record.seed, run.record.run_id))

    @property
    def gaps(self) -> list[str]:
        """What the figures do not show for want of a result: runs that are not done, and a retrained model."""
        statuses = sorted(Counter(run.record.status for run in self.runs(done=False)).items())
        absent = [f"{count} {status}" for status, count in statuses]
        gaps = [f"not shown: {', '.join(absent)}"] if absent else []
        retrained = {} if self.across else retrain_gaps(self.models[self.models["prefix"] == ""])
        return [*gaps, *retrained.values()]

    def beside(self, file: str, parse: Callable[[Run, Arrays], Parsed]) -> list[tuple[Run, Parsed]]:
        """What finished runs keep in a safetensors file beside their record; one that cannot be read is complained of.

        Args:
            file: its name.
            parse: makes of a run and its arrays what is wanted; a ``ValueError`` says what is wrong with them.
        """
        found = []
        for run in self.runs():
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


def scenes(sweep: str, records: Sequence[RunRecord], folders: Mapping[str, Path] | None = None) -> list[Scene]:
    """The records of a sweep by data set, model and forget set, in the order of the tables.

    Args:
        sweep: its name.
        records: in order of run id.
        folders: see ``Scene``.
    """
    table = model_table(records)
    return [Scene(sweep, place, rows, folders or {}) for place, rows in places(table).items()] if records else []


def across_forget_sets(found: Sequence[Scene]) -> list[Scene]:
    """Scenes of one sweep, joined by data set and model: for figures against the number of forgotten classes."""
    joined: dict[tuple[str, str], list[Scene]] = {}
    for scene in found:
        joined.setdefault((scene.place.dataset, scene.place.model), []).append(scene)
    return [
        Scene(scenes[0].sweep, Place(*network, ALL_FORGET_SETS), pd.concat([scene.models for scene in scenes]))
        for network, scenes in joined.items()
        if len(scenes) > 1
    ]


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


def shortest_and_longest(one: Series, column: str) -> tuple[float, float]:
    """The least and the most positive seconds of any run of a series; a seed's mean over its runs hides both."""
    seconds = [float(value) for value in one.runs[column] if value > 0 and math.isfinite(value)]
    return min(seconds), max(seconds)


def over_seeds(counts: Sequence[int]) -> str:
    """What figures of means say of them: nothing where no method has a second seed."""
    return "means with 95 % intervals" if max(counts) > 1 else ""
