"""What the leaderboard shows: a board for each data set, network, conditions and forget set, a row for each method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import NOTHING, provenance_words
from unsir_bench.report.data import series_label
from unsir_bench.report.leaderboard.ranking import SHARES, Entry, ranks
from unsir_bench.report.method_style import REFERENCES
from unsir_bench.report.seeds import seed_values
from unsir_bench.report.statistics import MeanInterval, with_seeds
from unsir_bench.report.tables.comparison import MADE_ELSEWHERE, ComparisonTable, Row, comparison_tables
from unsir_bench.report.tables.paper import measured_words, not_done_words
from unsir_bench.report.tables.standard_columns import COLUMNS

SHOWN = tuple(column for column in COLUMNS if column.field not in ("speedup_vs_fast_retrain", "speedup_vs_fisher"))
FORGET_ACCESS = {"forget_data"}
RETAIN_ACCESS = {"retain_data", "retain_subset"}
NOT_RECORDED = "not recorded"
NO_FORGET_TEST = "no test samples of what is forgotten"
FEW_IN_COMMON = "fewer than two seeds in common with another method"


@dataclass(frozen=True)
class Method:
    """A row of a board.

    Attributes:
        rank: from 1; None where it is not ranked, for the reason ``unranked``.
        tied: whether another method has its rank.
        distance: to retraining, in points, with its interval.
        cells: words by title.
        reads_forget, reads_retain: whether it declared to read training samples of the kind; None: not known.
        provenance: where its settings come from; ``settings`` are these as YAML, ``commands`` repeat its runs.
        runs: of each run, its seed and its run id; none for a reference that was measured beside other runs.
    """

    name: str
    setting: str
    rank: int | None
    tied: bool
    unranked: str
    distance: str
    cells: dict[str, str]
    access: str
    reads_forget: bool | None
    reads_retain: bool | None
    provenance: str
    settings: str
    commands: list[str]
    made_by: str
    runs: list[tuple[int, str]]


@dataclass(frozen=True)
class Board:
    """The methods of one setting, the best first."""

    key: str
    dataset: str
    model: str
    forget: str
    words: str
    titles: list[str]
    methods: list[Method]
    remarks: list[str] = field(default_factory=list)


def boards(records: Sequence[RunRecord]) -> list[Board]:
    """The boards of these records, by data set, network and forget set; a method without a finished run has no row."""
    found: list[Board] = []
    for table in comparison_tables("", records):
        for forget in dict.fromkeys(row.forget for row in table.rows):
            rows = [row for row in table.rows if row.forget == forget]
            if any(row.method not in REFERENCES and row.n for row in rows):
                found.append(_board(f"b{len(found)}", table, forget, rows))
    return found


def _board(key: str, table: ComparisonTable, forget: str, everything: Sequence[Row]) -> Board:
    rows = [row for row in everything if row.n]
    retrained = _retrained(rows)
    entries = [_entry(row, retrained[row.hardware]) for row in rows]
    reasons = [_why_unranked(row, entry) for row, entry in zip(rows, entries, strict=True)]
    ranked = [entry for entry, why in zip(entries, reasons, strict=True) if not why]
    places = iter(ranks(ranked))
    own = [None if why else next(places) for why in reasons]
    reasons = [why or ("" if rank else FEW_IN_COMMON) for why, rank in zip(reasons, own, strict=True)]
    methods = [
        _method(row, entry, rank, own.count(rank) > 1, why)
        for row, entry, rank, why in zip(rows, entries, own, reasons, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda place: _position(rows[place], own[place], entries[place]))
    titles = [title for title in methods[0].cells if any(method.cells[title] != NOTHING for method in methods)]
    timed = [words for words in table.remarks if words.startswith("Seconds were")]
    elsewhere = [MADE_ELSEWHERE] if any(row.elsewhere for row in rows) else []
    return Board(
        key, table.dataset, table.model, forget, table.words, titles, [methods[place] for place in order],
        [*timed, *elsewhere, *filter(None, [table.gap_of(forget)]), *_unfinished(everything)],
    )  # fmt: skip


def _unfinished(rows: Sequence[Row]) -> list[str]:
    """A remark on the methods that have no row, since no run of theirs is done."""
    words = [f"{series_label(row.method, row.setting)} ({not_done_words(row)})" for row in rows if not row.n]
    return [f"Without a finished run: {', '.join(words)}."] if words else []


def _retrained(rows: Sequence[Row]) -> dict[str, dict[str, dict[int, float]]]:
    """Test accuracies of the retrained models of a board, by the hardware of the rows, then by field and seed."""
    found: dict[str, dict[str, dict[int, float]]] = {row.hardware: {name: {} for name in SHARES} for row in rows}
    for row in rows:
        if row.method == "retrain" and not row.elsewhere:
            for name in SHARES:
                found[row.hardware][name] |= seed_values(row.models, name)
    return found


def _entry(row: Row, retrained: Mapping[str, Mapping[int, float]]) -> Entry:
    own = {name: seed_values(row.models, name) for name in SHARES}
    beside = {name: seed_values(row.models, f"retrain_{name}") for name in SHARES}
    return Entry(own, {name: {**retrained[name], **beside[name]} for name in SHARES}, row.samples)


def _why_unranked(row: Row, entry: Entry) -> str:
    if row.method in REFERENCES:
        return "reference"
    if row.control:
        return f"control: it {row.control}"
    if row.elsewhere:
        return "made elsewhere"
    if not entry.distances:
        forgotten = any(of["acc_forget_test"] for of in (entry.own, entry.retrained))
        lacks_it = bool(entry.retrained["acc_retain_test"]) and not forgotten
        return NO_FORGET_TEST if lacks_it else "no retrained model to compare it with"
    return "" if len(entry.distances) > 1 else "one seed"


def _position(row: Row, rank: int | None, entry: Entry) -> tuple[object, ...]:
    """References first, then by rank and distance, then what is not ranked."""
    if row.method in REFERENCES:
        return 0, REFERENCES.index(row.method), 0.0, row.setting
    mean = entry.interval().mean if entry.distances else math.inf
    return (1, rank, mean, row.method) if rank else (2, 0, mean, row.method)


def _method(row: Row, entry: Entry, rank: int | None, tied: bool, why: str) -> Method:
    first = row.records[0] if row.records else None
    declared = set(first.access.get("declared", [])) if first and not row.elsewhere else None
    return Method(
        name=row.method,
        setting=row.setting,
        rank=rank,
        tied=tied,
        unranked=why,
        distance="" if row.method in REFERENCES or not entry.distances else _distance(row, entry),
        cells={
            "n": str(row.n),
            **{column.title: measured_words(row, column) for column in SHOWN},
            "not done": not_done_words(row) or NOTHING,
        },
        access=str(row.models["forget / retain / stored"].iloc[0]),
        reads_forget=None if declared is None else bool(declared & FORGET_ACCESS),
        reads_retain=None if declared is None else bool(declared & RETAIN_ACCESS),
        provenance=_provenance(first) if first else "",
        settings=yaml.safe_dump(first.config.get("method") or {}, sort_keys=False, allow_unicode=True) if first else "",
        commands=[record.command or NOT_RECORDED for record in row.records],
        made_by=_made_by(row.records),
        runs=[(record.seed, record.run_id) for record in row.records],
    )


def _provenance(record: RunRecord) -> str:
    return "nothing to choose" if record.settings == "none" else provenance_words(record) or NOT_RECORDED


def _distance(row: Row, entry: Entry) -> str:
    return with_seeds(_points(entry.interval()), len(entry.distances), row.n)


def _points(interval: MeanInterval) -> str:
    words = f"{100 * interval.mean:.2f}"
    if math.isnan(interval.half_width):
        return words
    return f"{words} [{100 * max(interval.low, 0.0):.2f}, {100 * min(interval.high, 1.0):.2f}]"


def _made_by(records: Sequence[RunRecord]) -> str:
    """Commits and CPUs of the runs, in words."""
    words = [
        f"{str(each.get('commit') or 'unknown commit')[:12]}{' (changed files)' if each.get('dirty') else ''}, "
        f"{each.get('cpu') or 'unknown CPU'}"
        for each in (record.environment for record in records)
    ]
    return "; ".join(dict.fromkeys(words))
