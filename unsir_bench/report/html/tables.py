"""The page's tables: cells that show words, sort by numbers and lead to run folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.data import GROUP
from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.report.tables.guarantees import guarantee_rows
from unsir_bench.report.tables.stages import stage_rows
from unsir_bench.report.tables.table import SHOWN, summary
from unsir_bench.report.tables.text import step_rows
from unsir_bench.report.tables.verdicts import verdict_rows

# The number that a cell of words starts with; a verdict's mark may stand before it, an interval after it.
LEADING_NUMBER = re.compile(r"^(?:[=≠?×] )?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?: [±\[(].+)?$")
WORDS = {*GROUP, "stage", "forget / retain / stored", "control", "not done", "beware", "forgotten now"}
FILTERS = ("method", "setting", "forget", "model", "dataset", "status")
FURTHER = {
    "relearn_batches": ("relearn batches", 1.0),
    "anamnesis_index": ("AIN", 1.0),
    "peak_memory_bytes": ("peak MB", 1e-6),
}


@dataclass(frozen=True)
class Cell:
    """What a cell shows.

    Attributes:
        order: the number to sort by; None sorts last, in either direction.
        links: words and addresses that follow the text.
        more: what a reader unfolds, such as a traceback.
        badge: the status that colours the cell.
        long: whether the text is prose, which wraps.
    """

    text: str
    order: float | None = None
    links: tuple[tuple[str, str], ...] = ()
    more: str = ""
    badge: str = ""
    long: bool = False


@dataclass(frozen=True)
class Row:
    """Cells, and what the drop-down lists above the table filter by."""

    cells: list[Cell]
    keys: dict[str, str]


@dataclass
class Table:
    """A table for the template.

    Attributes:
        key: unique on the page.
        numeric: for each column, whether it sorts as numbers.
        filters: for each drop-down list, its options; lists of a single option are left out.
        page: rows shown at a time.
    """

    key: str
    titles: list[str]
    rows: list[Row]
    page: int = 50
    numeric: list[bool] = field(init=False)
    filters: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        columns = zip(*(row.cells for row in self.rows), strict=True)
        known = [any(cell.order is not None for cell in column) for column in columns]
        self.numeric = known or [False] * len(self.titles)
        options = {
            name: list(dict.fromkeys(row.keys[name] for row in self.rows if name in row.keys)) for name in FILTERS
        }
        self.filters = {name: found for name, found in options.items() if len(found) > 1}


def leading_number(words: str) -> float | None:
    """The number that a table's cell shows first: the mean of ``mean ± half-width``; None for a dash or other words."""
    found = LEADING_NUMBER.match(words)
    return float(found.group(1)) if found else None


def _cells(row: Mapping[str, str], shown: Sequence[str]) -> list[Cell]:
    return [Cell(row[title], None if title in WORDS else leading_number(row[title])) for title in shown]


def _differing(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The columns to show, counts first: a data set or model that all rows share stands above the table already."""
    shown = [name for name in rows[0] if name not in ("dataset", "model") or len({row[name] for row in rows}) > 1]
    first = [name for name in ("n", "not done") if name in shown]
    place = shown.index("method") + 1 + ("setting" in shown)
    rest = [name for name in shown if name not in first]
    return [*rest[:place], *first, *rest[place:]]


def _keys(row: Mapping[str, str]) -> dict[str, str]:
    return {name: row[name] or NOTHING for name in FILTERS if name in row}


def summary_table(key: str, table: pd.DataFrame) -> Table:
    """The comparison table of a sweep, as ``table.summary`` gives it, with links to the runs behind each row."""
    if table.empty:
        return Table(key, [], [])
    rows = summary(table)
    behind = {
        tuple(map(str, group)): [
            (f"seed {seed}", link) for seed, link in sorted(set(zip(runs["seed"], runs["link"], strict=True)))
        ]
        for group, runs in table[table["prefix"] == ""].groupby(GROUP)
    }
    shown = _differing(rows)
    found = []
    for row in rows:
        links = behind.get(tuple(row.get(name, "") for name in GROUP), [])
        runs_cell = Cell("" if links else "measured beside every run", links=tuple(links))
        found.append(Row([*_cells(row, shown), runs_cell], _keys(row)))
    return Table(key, [*shown, "runs"], found)


def verdict_table(key: str, runs: pd.DataFrame) -> Table | None:
    """The verdicts against retraining; None where no run was compared with a retrained model."""
    rows = verdict_rows(runs)
    if not rows:
        return None
    shown = _differing(rows)
    return Table(key, shown, [Row(_cells(row, shown), _keys(row)) for row in rows])


def guarantee_table(key: str, records: Sequence[RunRecord]) -> Table | None:
    """What methods promise beside what attacks find; None where no method states a guarantee."""
    rows = guarantee_rows(records)
    if not rows:
        return None
    shown = _differing(rows)
    return Table(key, shown, [Row(_cells(row, shown), _keys(row)) for row in rows])


def runs_table(key: str, runs: pd.DataFrame) -> Table:
    """Every run of a ``model_table`` with its status, its main metrics and the reason why it is not done."""
    if runs.empty:
        return Table(key, [], [])
    several = [name for name in ("dataset", "model", "setting") if runs[name].nunique() > 1]
    judged = {card.field: (card.title, card.scale) for card in verdict_cards() if card.field not in SHOWN}
    known = {field: shown for field, shown in SHOWN.items() if field != "speedup_vs_fisher"} | judged | FURTHER
    metrics = {name: shown for name, shown in known.items() if name in runs and runs[name].notna().any()}
    why = ["why"] if any(record.reason or record.error for record in runs["record"]) else []
    titles = ["status", *why, "run", *several, "method", "forget", "seed", *(title for title, _ in metrics.values())]
    rows = []
    for row in runs.to_dict("records"):
        record: RunRecord = row["record"]
        folder = f"{row['link'].rpartition('/')[0] or '.'}/"
        cells = [
            Cell(record.status, badge=record.status),
            *(Cell(record.reason or "", more=record.error or "", long=True) for _ in why),
            Cell("", links=((record.run_id, folder), ("record", row["link"]))),
            *(Cell(str(row[name])) for name in (*several, "method", "forget")),
            Cell(str(record.seed), float(record.seed)),
            *(_metric_cell(row.get(name), scale) for name, (_, scale) in metrics.items()),
        ]
        rows.append(Row(cells, _keys({name: str(row[name]) for name in FILTERS})))
    return Table(key, titles, rows, page=25)


def _metric_cell(value: Any, scale: float) -> Cell:
    if value is None or pd.isna(value):
        return Cell(NOTHING)
    shown = float(value) * scale
    return Cell(f"{shown:.2f}" if abs(shown) < 1000 else f"{shown:.0f}", shown)


def step_table(key: str, runs: pd.DataFrame) -> Table | None:
    """What each run that forgets in sequence measured after each step; None where none does."""
    rows = []
    titles: list[str] = []
    for run in runs.to_dict("records"):
        for row in step_rows(run["record"]):
            titles = ["method", "forget", "seed", "run", *row]
            own = [
                Cell(run["label"]),
                Cell(run["forget"]),
                Cell(str(run["seed"]), float(run["seed"])),
                Cell("", links=(("record", run["link"]),)),
            ]
            rows.append(
                Row([*own, *_cells(row, list(row))], {name: run[name] for name in ("method", "forget", "model")})
            )
    return Table(key, titles, rows, page=25) if rows else None


def stage_table(key: str, records: Sequence[RunRecord]) -> Table | None:
    """Accuracies at the stages that methods mark, such as between impair and repair; None where none marked one."""
    rows = stage_rows(records)
    if not rows:
        return None
    shown = _differing(rows)
    return Table(key, shown, [Row(_cells(row, shown), _keys(row)) for row in rows])


def note_table(key: str, records: Sequence[RunRecord]) -> Table | None:
    """Why metrics are null, or to be read with care: each with its reason and number of runs; None where none is."""
    counted: Counter[tuple[str, str]] = Counter()
    methods: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        for note in (record.metric_notes | record.cautions).items():
            counted[note] += 1
            methods.setdefault(note, {})[record.method] = None
    rows = [
        Row(
            [
                Cell(metric),
                Cell(reason, long=True),
                Cell(str(count), float(count)),
                Cell(", ".join(methods[metric, reason]), long=True),
            ],
            {},
        )
        for (metric, reason), count in counted.most_common()
    ]
    return Table(key, ["metric", "why it is null or needs care", "runs", "methods"], rows, page=25) if rows else None
