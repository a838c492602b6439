"""What the plots share: the places they are of, and what records hold of each model beside its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.data import PLACE, REFERENCES, Place, groups, series_label

PERCENT = 100.0
EVERY_PRESET = "every metrics preset (metrics=fast, standard and full) records it for runs that finish"
NOT_FAST = "metrics=standard (the default) and metrics=full record it, metrics=fast does not"
FORGET_AXIS = "A_Df, test accuracy on forgotten classes, %"
RETAIN_AXIS = "A_Dr, test accuracy on retained classes, %"


class Model(NamedTuple):
    """What one seed's model holds: ``record`` is of the run that measured it, ``link`` leads to it on the page.

    ``own`` tells the model that the run itself made from a reference that it measured beside.
    """

    seed: int
    value: Any
    record: RunRecord
    own: bool
    censored: bool
    link: str


@dataclass(frozen=True)
class Entry:
    """What the seeds of one method or reference hold of one detail.

    Attributes:
        conditions: what sets their data, network, training or device apart from others of their place, in words.
        origins: of models made elsewhere what tells their originals apart; of ours the empty one alone.
    """

    label: str
    method: str
    setting: str
    models: list[Model]
    conditions: str
    origins: frozenset[str]

    @property
    def reference(self) -> bool:
        """Whether it is a model that methods are compared with."""
        return self.method in REFERENCES

    @property
    def values(self) -> list[Any]:
        """The detail, one per seed."""
        return [model.value for model in self.models]

    def beside(self, found: Sequence[Entry]) -> list[Entry]:
        """Those of ``found`` that it may be compared with: of the same conditions, from the same originals."""
        return [one for one in found if one.conditions == self.conditions and one.origins & self.origins]


def places(table: pd.DataFrame) -> dict[Place, pd.DataFrame]:
    """The rows of a ``model_table`` by place, in the order of the tables."""
    found: dict[Place, list[pd.DataFrame]] = {}
    for key, rows in groups(table):
        found.setdefault(Place(*key[: len(PLACE)]), []).append(rows)
    return {place: pd.concat(parts) for place, parts in found.items()}


def entries(models: pd.DataFrame, detail: str) -> list[Entry]:
    """``details[detail]`` of every finished model of one place that has it, by method and setting, references first.

    Of several records of one seed the first counts: curves and layers have no mean.

    Args:
        models: rows of a ``model_table``, with a column ``measured_in`` where the plot leads to records.
    """
    known = models[(models["status"] == "done") & models["details"].map(lambda own: bool(own.get(detail)))]
    found = [_entry(key, rows.drop_duplicates("seed"), detail) for key, rows in groups(known)]
    return sorted(found, key=lambda entry: list(REFERENCES).index(entry.method) if entry.reference else len(REFERENCES))


def _entry(key: tuple[str, ...], rows: pd.DataFrame, detail: str) -> Entry:
    conditions, origins = str(rows["conditions"].iloc[0]), frozenset(map(str, rows["origin"]))
    return Entry(series_label(*key[3:]), key[3], key[4], _models(rows, detail), conditions, origins)


def _models(rows: pd.DataFrame, detail: str) -> list[Model]:
    links = rows["measured_in"] if "measured_in" in rows else [""] * len(rows)
    censored = rows["relearn_censored"].fillna(0) if "relearn_censored" in rows else [0] * len(rows)
    return [
        Model(int(seed), details[detail], record, not prefix, bool(capped), str(link))
        for seed, details, record, prefix, capped, link in zip(
            rows["seed"], rows["details"], rows["record"], rows["prefix"], censored, links, strict=True
        )
    ]


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")
