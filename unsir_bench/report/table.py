"""The comparison table of a sweep, from its records alone: on the terminal, as Markdown and as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy import stats

from unsir_bench.records import RunRecord, records_below, write_whole

GROUP = ["dataset", "model", "forget", "method"]
SHOWN = {
    "acc_forget_test": ("A_Df %", 100.0),
    "acc_retain_test": ("A_Dr %", 100.0),
    "original_acc_retain_test": ("original A_Dr %", 100.0),
    "retrain_acc_retain_test": ("retrain A_Dr %", 100.0),
    "unlearn_seconds": ("seconds", 1.0),
    "speedup_vs_retrain": ("speed-up", 1.0),
}
NO_LIMIT = 10_000
METHOD_ORDER = ("original", "retrain", "unsir", "finetune")


def frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run: identifying columns, status, and every metric."""
    rows = [
        {
            "run_id": record.run_id,
            "dataset": record.dataset,
            "model": record.model,
            "forget": f"{record.forget_set} {{{', '.join(map(str, record.forget_classes))}}}",
            "method": record.method,
            "seed": record.seed,
            "status": record.status,
            "forget_samples_touched": record.access.get("forget", {}).get("samples"),
            "retain_samples_touched": record.access.get("retain", {}).get("samples"),
            **record.metrics,
        }
        for record in records
    ]
    return pd.DataFrame(rows)


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval (Student's t); the half-width is NaN for fewer than two values."""
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return mean, math.nan
    return mean, float(stats.sem(values) * stats.t.ppf(0.975, count - 1))


def summary(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row of words per data set, model, forget set and method: mean ± 95 % interval over seeds, with n."""
    runs = frame(records)
    if runs.empty:
        return []
    rows = []
    for key, group in sorted(runs.groupby(GROUP, sort=False), key=lambda item: _position(item[0])):
        done = group[group["status"] == "done"]
        cells = dict(zip(GROUP, map(str, key), strict=True))
        cells["n"] = str(len(done))
        for metric, (title, scale) in SHOWN.items():
            values = done[metric].dropna() if metric in done else pd.Series(dtype=float)
            cells[title] = _cell([float(value) * scale for value in values])
        others = group[group["status"] != "done"]["status"].value_counts()
        cells["not done"] = ", ".join(f"{count} {status}" for status, count in others.items())
        rows.append(cells)
    return rows


def _position(key: Any) -> tuple[object, ...]:
    """Sort by everything but the method, then references first."""
    method = key[-1]
    rank = METHOD_ORDER.index(method) if method in METHOD_ORDER else len(METHOD_ORDER)
    return (*key[:2], len(key[2]), key[2], rank, method)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean, half = mean_and_half_width(values)
    digits = 2 if abs(mean) < 1000 else 0
    return f"{mean:.{digits}f}" if math.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """A GitHub table."""
    if not rows:
        return "No records.\n"
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def print_rows(rows: Sequence[dict[str, str]], title: str) -> None:
    """Show a table on the terminal."""
    table = Table(title=escape(title), title_justify="left")
    for name in rows[0] if rows else []:
        table.add_column(name, justify="left" if name in GROUP else "right", no_wrap=name in GROUP, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row.values()))
    console = Console()
    if not console.is_terminal:
        # A pipe or a log has no width of its own: a table squeezed into 80 columns would lose numbers.
        console = Console(width=NO_LIMIT)
    console.print(table)


def write_sweep_table(folder: Path) -> list[Path]:
    """Print the table of the records in a sweep's folder and write it as Markdown and CSV; returns what was written."""
    records = [record for _, record in records_below(folder)]
    if not records:
        return []
    rows = summary(records)
    print_rows(rows, f"{folder.name}: mean ± 95 % interval over seeds, test data")
    written = [folder / "table.md", folder / "results.csv"]
    write_whole(written[0], markdown(rows))
    write_whole(written[1], frame(records).to_csv(index=False))
    return written


def job_rows(record: RunRecord) -> Iterator[dict[str, str]]:
    """Original, retrained and unlearned model of one run, side by side."""
    for title, prefix in (("original", "original_"), ("retrain", "retrain_"), (record.method, "")):
        seconds = {"original": None, "retrain": record.metrics.get("retrain_seconds")}.get(
            title, record.metrics.get("unlearn_seconds")
        )
        cells = {"model": title}
        for name in ("forget_test", "retain_test", "forget_train", "retain_train"):
            kind, split = name.split("_")
            value = record.metrics[f"{prefix}acc_{name}"]
            cells[f"A_D{kind[0]} {split} %"] = f"{100 * float(value or 0):.2f}"
        cells["seconds"] = "–" if seconds is None else f"{seconds:.2f}"
        yield cells
