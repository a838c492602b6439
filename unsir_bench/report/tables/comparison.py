"""What the comparison tables hold: a row per method and forget set, with its values over seeds, and which is best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import ELSEWHERE, Conditions, is_jpeg
from unsir_bench.report.controls import control_words_of
from unsir_bench.report.data import (
    PLACE,
    TIMED_APART,
    compared,
    groups,
    model_table,
    retrain_gaps,
    run_table,
    series_label,
    timed_on,
)
from unsir_bench.report.method_style import REFERENCES
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.published_numbers import experiment_of, is_the_papers, unlearned_numbers
from unsir_bench.report.samples import SHARES, samples_of
from unsir_bench.report.seeds import TIMES, one_per_seed
from unsir_bench.report.statistics import is_ratio, ratio_interval
from unsir_bench.report.tables.standard_columns import (
    COLUMNS,
    COMPLEMENTS,
    OF_TIME,
    Column,
    with_standard_columns,
)

MADE_ELSEWHERE = (
    f"Models {ELSEWHERE}, from files: their seconds and access are unknown, nobody here saw them trained, and they are "
    "compared with their own original and retrained model; none is marked as best."
)
ACCURACIES = ("acc_retain_test", "acc_forget_test")


@dataclass(frozen=True)
class Row:
    """A method on one forget set: ``models`` holds a row of ``model_table`` per seed with a finished run.

    Attributes:
        not_done: statuses of the runs that gave no values.
        samples: by share, how many samples it is of, where that is known.
        records: of each finished run; ``models`` has the mean of those that share a seed.
        mixed: what its means mix, such as kinds of CPU, in words.
        hardware: what sets its hardware apart from that of others, in words: its retrained models have the same.
    """

    forget: str
    method: str
    setting: str
    models: pd.DataFrame
    not_done: list[str]
    samples: Mapping[str, int | None] = field(default_factory=dict)
    records: list[RunRecord] = field(default_factory=list)
    mixed: str = ""
    hardware: str = ""

    @property
    def n(self) -> int:
        """How many values a full column has."""
        return len(self.models)

    @property
    def competes(self) -> bool:
        """Whether it may be the best: it is no reference, no control, and was made from the same original."""
        return self.method not in REFERENCES and not self.control and not self.elsewhere

    @property
    def elsewhere(self) -> bool:
        """Whether no run of ours made it."""
        return any(record.checkpoints for record in self.models.get("record", ()))

    @property
    def control(self) -> str:
        """Why it is a control; empty where it is none."""
        return control_words_of(self.models)

    def values(self, name: str) -> list[float]:
        """A field's finite values, one per seed, in the record's unit; the original has no seconds."""
        if name not in self.models or (self.method == "original" and name in OF_TIME):
            return []
        models = self.models[~self._capped] if name in TIMES else self.models
        return [float(value) for value in models[name].dropna() if math.isfinite(value)]

    @property
    def censored(self) -> list[int]:
        """Per seed that did not relearn, the cap in mini-batches."""
        return [record.relearn_cap for record in self.models.loc[self._capped, "record"]]

    def censored_of(self, name: str) -> int:
        """Of how many seeds a relearn time, or for the anamnesis index one of its two times, reached the cap."""
        if name in TIMES:
            return int(self._capped.sum())
        if name != "anamnesis_index" or "record" not in self.models:
            return 0
        retrains = [bool(record.metrics.get("retrain_relearn_censored")) for record in self.models["record"]]
        return int((self._capped | pd.Series(retrains, index=self.models.index)).sum())

    @property
    def _capped(self) -> pd.Series:
        if "relearn_censored" not in self.models:
            return pd.Series(False, index=self.models.index)
        return self.models["relearn_censored"].fillna(0).astype(bool)

    @property
    def published(self) -> Mapping[str, float]:
        """By field, the paper's number."""
        record = self.models["record"].iloc[0] if self.n else None
        if record is None or self.method not in ("original", record.method):  # a reference has the record of another
            return {}
        experiment = experiment_of(record)
        return experiment.original if experiment and self.method == "original" else unlearned_numbers(record)

    def mean(self, name: str) -> float | None:
        """Mean over seeds, of speed-ups the geometric one.

        None where there is none, and for relearn times and their ratios where one was censored.
        """
        found = self.values(name)
        if not found or self.censored_of(name):
            return None
        if is_ratio(name):
            return ratio_interval(found).mean
        return sum(found) / len(found)


@dataclass(frozen=True)
class ComparisonTable:
    """The rows of one sweep, data set, network and conditions.

    Attributes:
        exact: whether the published numbers are of this very experiment.
        failed: ids of the runs that are not done, with their status.
        gaps: by forget set, in words, how many finished runs lack a retrained model.
        timed_on: what the seconds of finished runs depend on, each once, in words.
        columns: what is shown, in order.
        apart: what else sets its runs apart from those of another table that reads the same, in words.
    """

    sweep: str
    dataset: str
    model: str
    conditions: Conditions
    jpeg: bool
    exact: bool
    rows: list[Row]
    failed: list[str]
    gaps: Mapping[str, str]
    timed_on: list[str]
    columns: Sequence[Column] = COLUMNS
    apart: str = ""

    @property
    def words(self) -> str:
        """What its runs share, in words: data, training and device, and all that tells it from another table."""
        return ", ".join(filter(None, (self.conditions.words, self.apart)))

    @property
    def paper_title(self) -> str:
        """Head of the published columns."""
        return "paper" if self.exact else "paper*"

    @property
    def remarks(self) -> list[str]:
        """What is missing or not to be taken for equal, as sentences."""
        elsewhere = not self.exact and any(row.published for row in self.rows)
        return [
            *(
                ["paper*: the published number, which is of another scale or of other data, or of another recipe."]
                if elsewhere
                else []
            ),
            *(f"{name} is a control: it {words}; it is never marked as best." for name, words in self.controls.items()),
            *([MADE_ELSEWHERE] if any(row.elsewhere for row in self.rows) else []),
            *(f"Averaged over runs of {words}: {', '.join(names)}." for words, names in self.mixtures.items()),
            *([f"Not done: {', '.join(self.failed)}."] if self.failed else []),
            *(_gap_remark(f"{forget}: {words}") for forget, words in self.gaps.items()),
            *([TIMED_APART.format("; ".join(self.timed_on))] if len(self.timed_on) > 1 else []),
        ]

    def gap_of(self, forget: str) -> str:
        """How many finished runs of a forget set lack a retrained model, as a sentence; empty where none does."""
        return _gap_remark(self.gaps[forget]) if forget in self.gaps else ""

    @property
    def controls(self) -> dict[str, str]:
        """What is a control, and why, by name; shown since accuracies alone would rank it among the best."""
        labels = {series_label(row.method, row.setting): row.control for row in self.rows if row.control}
        return dict(sorted(labels.items()))

    @property
    def mixtures(self) -> dict[str, list[str]]:
        """What means mix, in words, each with the names of the methods; results differ by commit and kind of CPU."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            name, names = series_label(row.method, row.setting), found.setdefault(row.mixed, [])
            names += [name] if name not in names else []
        return {words: names for words, names in found.items() if words}

    def best_rows(self, rows: Sequence[Row], column: Column) -> set[int]:
        """Places of the best unlearning methods of one forget set; none where fewer than two compete.

        Where the retrained model did not relearn before the cap, the best are those that did not either. None is the
        best by seconds that were not all taken alike.
        """
        apart = column.field in ("unlearn_seconds", "unlearn_minutes") and len(self.timed_on) > 1
        return set() if apart or not column.best else _best_rows(rows, column)

    @property
    def caption(self) -> str:
        """What the table is of: sweep, data and their variant, network, scale."""
        scale = self.conditions.scale
        words = [f"{self.dataset}, {self.model} (sweep {self.sweep})", f"scale: {scale}", self.words]
        if not self.conditions.at_paper_scale or self.jpeg:
            words.append("not the paper's scale and data")
        return "; ".join(filter(None, words))


def _gap_remark(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}: nothing to compare them with."


def comparison_tables(
    sweep: str,
    records: Sequence[RunRecord],
    fast: Mapping[str, float] | None = None,
    columns: Sequence[Column] = COLUMNS,
) -> list[ComparisonTable]:
    """The tables of one sweep; runs of other data, networks, training or devices get tables of their own.

    Args:
        sweep: its name.
        records: its runs.
        fast: ``fast_retrain_seconds`` of whatever sweeps.
        columns: what is shown.
    """
    if not records:
        return []
    table = with_standard_columns(compared(model_table(records, fast, steps=True)))
    found = [
        _table(sweep, str(dataset), str(model), rows, records)
        for (dataset, model, _), rows in table.groupby(["dataset", "model", "key"])
    ]
    alike = Counter(_heading(each) for each in found)
    return [replace(each, columns=columns, apart=each.apart if alike[_heading(each)] > 1 else "") for each in found]


def _heading(table: ComparisonTable) -> tuple[str, str, str]:
    return table.dataset, table.model, table.conditions.words


def _table(sweep: str, dataset: str, model: str, rows: pd.DataFrame, records: Sequence[RunRecord]) -> ComparisonTable:
    ids, shared = set(rows["run_id"]), rows["shared"].iloc[0]
    members = [record for record in records if record.run_id in ids]
    runs = run_table(members)
    papers = [record for record in members if experiment_of(record)]
    return ComparisonTable(
        sweep, dataset, model, shared, is_jpeg(members[0]),
        exact=bool(papers) and all(is_the_papers(record, shared.scale) for record in papers),
        rows=[_row(key, models, rows) for key, models in groups(rows, [*PLACE, "method", "setting_under"])],
        failed=[f"{record.run_id} ({record.status})" for record in members if record.status != "done"],
        gaps={forget: words for (*_, forget), words in retrain_gaps(runs).items()},
        timed_on=timed_on(runs), apart="; ".join(dict.fromkeys(filter(None, rows["conditions"]))),
    )  # fmt: skip


def _row(key: tuple[str, ...], models: pd.DataFrame, table: pd.DataFrame) -> Row:
    done = models["status"] == "done"
    place = table[table["forget"] == key[2]]
    samples = {name: samples_of(place, name) for name in SHARES}
    samples |= {name: samples[of] for name, of in COMPLEMENTS.items()}
    # Rows of references that were not swept as methods show the record of a run that measured them.
    records = models.loc[done & (models["prefix"] == ""), "record"].tolist()
    not_done = models.loc[~done, "status"].tolist()
    mixed = mixture_words(models.loc[done, "record"].tolist())
    hardware = str(models["hardware"].iloc[0])
    return Row(key[2], key[3], key[4], one_per_seed(models[done]), not_done, samples, records, mixed, hardware)


def _best_rows(rows: Sequence[Row], column: Column) -> set[int]:
    costs = {
        place: cost
        for place, row in enumerate(rows)
        if row.competes and row.n and (cost := _cost(row, _retrained_beside(row, rows), column)) is not None
    }
    least = min(costs.values(), default=math.inf)
    if len(costs) < 2 or math.isinf(least):
        return set()
    return {place for place, cost in costs.items() if math.isclose(cost, least, abs_tol=1e-12)}


def _retrained_beside(row: Row, rows: Sequence[Row]) -> Row | None:
    """The retrained models of a row's own hardware; those of other hardware are other models."""
    return next((o for o in rows if o.method == "retrain" and o.hardware == row.hardware and not o.elsewhere), None)


def _cost(row: Row, retrained: Row | None, column: Column) -> float | None:
    """How far a mean is from the best; infinite where it relearned as retraining did not, None: not to be compared."""
    if column.field == "relearn_batches" and retrained is not None and retrained.censored:
        alike = 0.0 if row.n == len(row.censored) else math.inf
        return alike if retrained.n == len(retrained.censored) else None
    mean = row.mean(column.field)
    if mean is None or column.best != "retrain":
        return -mean if mean is not None and column.best == "most" else mean
    aim = None if retrained is None else retrained.mean(column.field)
    return None if aim is None else abs(mean - aim)
