"""What the comparison tables hold: a row per method and forget set, with its values over seeds, and which is best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import NamedTuple

from unsir_bench.records import RunRecord
from unsir_bench.report.fast_retrain import task_of
from unsir_bench.report.method_style import NO_COMPETITORS, REFERENCES
from unsir_bench.report.published_numbers import (
    PRESETS,
    Conditions,
    conditions,
    experiment_of,
    is_jpeg,
    is_the_papers,
    labels,
)
from unsir_bench.report.tables.table import TIMED_APART, position, retrain_gaps

ACCURACIES = ("acc_retain_test", "acc_forget_test")


class Column(NamedTuple):
    """A measured column: its field, its title, the factor to the unit shown, and which value is best."""

    field: str
    title: str
    scale: float
    best: str


COLUMNS = (
    Column("acc_retain_test", "A_Dr %", 100.0, "retrain"),
    Column("acc_forget_test", "A_Df %", 100.0, "retrain"),
    Column("relearn_batches", "relearn batches", 1.0, "retrain"),
    Column("unlearn_seconds", "seconds", 1.0, "least"),
    Column("speedup_vs_retrain", "× retrain", 1.0, "most"),
    Column("speedup_vs_fast_retrain", "× fast retrain", 1.0, "most"),
    Column("speedup_vs_fisher", "× Fisher", 1.0, "most"),
)


@dataclass
class Row:
    """A method on one forget set: per field the values over seeds.

    Attributes:
        values: by field, one number per seed, in the record's unit.
        censored: per seed that did not relearn, the cap in mini-batches.
        published: by field, the paper's number.
        not_done: statuses of the runs that gave no values.
    """

    forget: str
    method: str
    setting: str = ""
    n: int = 0
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    censored: list[int] = field(default_factory=list)
    published: dict[str, float] = field(default_factory=dict)
    not_done: list[str] = field(default_factory=list)

    @property
    def competes(self) -> bool:
        """Whether it may be the best."""
        return self.method not in NO_COMPETITORS

    def mean(self, name: str) -> float | None:
        """Mean over seeds; None where there is none, and for relearn times of which one was censored."""
        found = self.values.get(name)
        if not found or (name == "relearn_batches" and self.censored):
            return None
        return sum(found) / len(found)


@dataclass(frozen=True)
class ComparisonTable:
    """The rows of one sweep, data set, network and conditions.

    Attributes:
        exact: whether the published numbers are of this very experiment.
        failed: ids of the runs that are not done, with their status.
        gaps: forget sets of which finished runs lack a retrained model, in words.
        timed_on: what the seconds of finished runs depend on, each once, in words.
    """

    sweep: str
    dataset: str
    model: str
    conditions: Conditions
    jpeg: bool
    exact: bool
    rows: list[Row]
    failed: list[str]
    gaps: list[str]
    timed_on: list[str]

    @property
    def paper_title(self) -> str:
        """Head of the published columns."""
        return "paper" if self.exact else "paper*"

    @property
    def remarks(self) -> list[str]:
        """What is missing or not to be taken for equal, as sentences."""
        elsewhere = not self.exact and any(row.published for row in self.rows)
        return [
            *(["paper*: the published number, which is of another scale or of other data."] if elsewhere else []),
            *([f"Not done: {', '.join(self.failed)}."] if self.failed else []),
            *(f"{gap[0].upper()}{gap[1:]}: nothing to compare them with." for gap in self.gaps),
            *([TIMED_APART.format("; ".join(self.timed_on))] if len(self.timed_on) > 1 else []),
        ]

    def best_rows(self, rows: Sequence[Row], column: Column) -> set[int]:
        """Places of the best unlearning methods of one forget set; none where fewer than two compete.

        Where the retrained model did not relearn before the cap, the best are those that did not either. None is the
        best by seconds that were not all taken alike.
        """
        return set() if column.field == "unlearn_seconds" and len(self.timed_on) > 1 else _best_rows(rows, column)

    @property
    def caption(self) -> str:
        """What the table is of: sweep, data and their variant, network, scale."""
        scale = self.conditions.scale
        words = [f"{self.dataset}, {self.model} (sweep {self.sweep})", f"scale: {scale}", self.conditions.words]
        if not self.conditions.at_paper_scale or self.jpeg:
            words.append("not the paper's scale and data")
        return "; ".join(filter(None, words))


class Rivals(NamedTuple):
    """Seconds of what a run is compared with: Fisher forgetting of its task, and retraining by the fast recipe."""

    fisher: Sequence[float]
    fast_retrain: float | None


def comparison_tables(
    sweep: str, records: Sequence[RunRecord], fast: Mapping[str, float] | None = None
) -> list[ComparisonTable]:
    """The tables of one sweep; runs of other data, networks, training or devices get tables of their own.

    Args:
        sweep: its name.
        records: its runs.
        fast: seconds of retraining by the fast recipe, by task, of whatever sweep.
    """
    groups: dict[tuple[str, str, str], list[tuple[RunRecord, Conditions, str, str]]] = defaultdict(list)
    if not records:
        return []
    for record, shared, (forget, setting) in zip(records, conditions(records), labels(records), strict=True):
        groups[record.dataset, record.model, shared.key].append((record, shared, forget, setting))
    tables = []
    for (dataset, model, _), members in sorted(groups.items(), key=lambda item: item[0]):
        runs, shared = [record for record, *_ in members], members[0][1]
        compared = [record for record in runs if experiment_of(record)]
        exact = bool(compared) and all(is_the_papers(record, shared.scale) for record in compared)
        failed = [f"{record.run_id} ({record.status})" for record in runs if record.status != "done"]
        rows = _rows(
            [(part, words, setting) for one, _, forget, setting in members for part, words in after_steps(one, forget)],
            fast or {},
        )
        gaps = [f"{forget}: {words}" for (*_, forget), words in retrain_gaps(runs).items()]
        timed_on = sorted({record.timed_on for record in runs if record.status == "done"})
        tables.append(
            ComparisonTable(sweep, dataset, model, shared, is_jpeg(runs[0]), exact, rows, failed, gaps, timed_on)
        )
    return tables


def after_steps(record: RunRecord, forget: str) -> list[tuple[RunRecord, str]]:
    """The record, named ``forget``; of a run that forgets in sequence one after each step, named by what is gone then.

    Seconds are those of all steps so far; the retrained model's are of retraining once, without all that is gone.
    """
    steps = record.details.get("steps") or []
    if record.status != "done" or not steps:
        return [(record, forget)]
    gone = [sorted(label for step in steps[:place] for label in step["classes"]) for place in range(1, len(steps) + 1)]
    return [
        (
            replace(record, metrics=step["metrics"], details={}),
            f"{forget}, after {place}: {{{', '.join(map(str, so_far))}}}",
        )
        for place, (step, so_far) in enumerate(zip(steps, gone, strict=True), start=1)
    ]


def _rows(members: Sequence[tuple[RunRecord, str, str]], fast: Mapping[str, float]) -> list[Row]:
    rows: dict[tuple[str, str, str], Row] = {}
    fisher: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for record, forget, _ in members:
        seconds = record.metrics.get("unlearn_seconds")
        if record.method == "fisher" and record.status == "done" and seconds is not None:
            fisher[forget, record.seed, record.timed_on].append(seconds)

    def rivals(record: RunRecord, forget: str) -> Rivals:
        return Rivals(fisher.get((forget, record.seed, record.timed_on), []), fast.get(task_of(record)))

    for record, forget, setting in members:
        row = rows.setdefault((forget, record.method, setting), Row(forget, record.method, setting))
        if record.status == "done":
            _take(row, record, "", rivals(record, forget))
        else:
            row.not_done.append(record.status)
    _add_references(rows, members, rivals)
    order = [((members[0][0].dataset, members[0][0].model, *key), row) for key, row in rows.items()]
    return [row for _, row in sorted(order, key=lambda item: position(item[0]))]


def _add_references(
    rows: dict[tuple[str, str, str], Row],
    members: Sequence[tuple[RunRecord, str, str]],
    rivals: Callable[[RunRecord, str], Rivals],
) -> None:
    """Original and retrained model, once per seed, where they were not swept as methods: every run measured both."""
    swept = {(forget, record.method, record.seed) for record, forget, _ in members if record.status == "done"}
    taken: set[tuple[str, str, int]] = set()
    for record, forget, _ in members:
        for method in REFERENCES:
            known = record.status == "done" and record.metrics.get(f"{method}_acc_retain_test") is not None
            if known and (forget, method, record.seed) not in swept | taken:
                taken.add((forget, method, record.seed))
                row = rows.setdefault((forget, method, ""), Row(forget, method))
                _take(row, record, f"{method}_", rivals(record, forget))


def _take(row: Row, record: RunRecord, prefix: str, rivals: Rivals) -> None:
    """Add one seed's numbers of the model that the prefix names."""
    row.n += 1
    metrics = record.metrics
    seconds = metrics.get("retrain_seconds" if prefix == "retrain_" else "unlearn_seconds")
    if row.method == "original":
        seconds = None
    slower = {
        "speedup_vs_retrain": metrics.get("retrain_seconds"),
        "speedup_vs_fast_retrain": rivals.fast_retrain,
        "speedup_vs_fisher": fmean(rivals.fisher) if rivals.fisher else None,
    }
    found = {
        **{name: metrics.get(prefix + name) for name in ACCURACIES},
        "unlearn_seconds": seconds,
        **{name: theirs / seconds if theirs and seconds else None for name, theirs in slower.items()},
    }
    if metrics.get(f"{prefix}relearn_censored"):
        row.censored.append(int(record.config.get("metrics", {}).get("relearn", {}).get("cap", 0)))
    else:
        found["relearn_batches"] = metrics.get(f"{prefix}relearn_batches")
    for name, value in found.items():
        if value is not None and math.isfinite(value):
            row.values[name].append(float(value))
    experiment = experiment_of(record)
    if experiment and row.method == "original":
        row.published = experiment.original
    elif experiment and row.method in PRESETS:
        row.published = experiment.unlearned


def _best_rows(rows: Sequence[Row], column: Column) -> set[int]:
    rivals = [(place, row) for place, row in enumerate(rows) if row.competes and row.n]
    retrained = next((row for row in rows if row.method == "retrain"), None)
    if len(rivals) < 2:
        return set()
    if column.field == "relearn_batches" and retrained is not None and retrained.censored:
        alike = retrained.n == len(retrained.censored)
        return {place for place, row in rivals if alike and row.n == len(row.censored)}
    means = {place: mean for place, row in rivals if (mean := row.mean(column.field)) is not None}
    aim = retrained.mean(column.field) if retrained is not None else None
    if len(means) < 2 or (column.best == "retrain" and aim is None):
        return set()
    costs = {
        place: abs(mean - (aim or 0.0)) if column.best == "retrain" else mean if column.best == "least" else -mean
        for place, mean in means.items()
    }
    return {place for place, cost in costs.items() if math.isclose(cost, min(costs.values()), abs_tol=1e-12)}
