"""The runs of a sweep as tables and figures group them: by place, and within one by method and setting."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.tables.table import GROUP, position

SECOND_RETRAIN = "retrain (second)"
# Every run measured these models too; their details carry a prefix.
REFERENCE_PREFIX = {"original": "original_", "retrain": "retrain_", SECOND_RETRAIN: "floor_"}


@dataclass(frozen=True)
class Place:
    """A data set, a model and a forget set, within which runs may be compared."""

    dataset: str
    model: str
    forget: str

    def __str__(self) -> str:
        return ", ".join((self.dataset, self.model, self.forget))


@dataclass(frozen=True)
class Run:
    """One record in its place.

    Attributes:
        label: the method, with the setting that sets it apart from other runs of it, if any.
        link: to its record, relative to the page.
    """

    record: RunRecord
    place: Place
    label: str
    link: str


@dataclass(frozen=True)
class Series:
    """Runs that differ by seed alone; ``values`` holds a row of ``with_references``' frame for each."""

    place: Place
    label: str
    method: str
    values: pd.DataFrame


def series_label(method: str, setting: str) -> str:
    """A method's name, with its setting where a sweep tried several."""
    return f"{method} ({setting})" if setting else method


def series_of(runs: pd.DataFrame) -> list[Series]:
    """The finished runs of a frame (``with_references``) by place, method and setting, in the order of the tables."""
    done = runs[runs["status"] == "done"]
    groups = sorted(done.groupby(GROUP, sort=False), key=lambda item: position(item[0]))
    return [
        Series(Place(*map(str, key[:3])), series_label(str(key[3]), str(key[4])), str(key[3]), values)
        for key, values in groups
    ]
