"""Tables of words: as Markdown, on the terminal, and the small ones of a single run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unsir_bench.records import RunRecord, printable
from unsir_bench.report.conditions import NOTHING

if TYPE_CHECKING:
    import pandas as pd

LEFT = ("dataset", "model", "forget", "method", "setting")  # columns of names, which are never folded
NO_LIMIT = 10_000
FORMULAS = tuple("=+-@＝＋－＠\t\r\n")  # what begins one, at the start of a cell


def plain(words: str) -> str:
    """Text that Markdown shows as it is, on one line; ``markdown`` takes care of its bars."""
    one_line = re.sub(r"\s+", " ", words).strip().replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]])", r"\\\1", one_line)


def plain_rows(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Rows of words that Markdown shows as they are."""
    return [{plain(title): plain(cell) for title, cell in row.items()} for row in rows]


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """A GitHub table of Markdown; ``plain_rows`` makes such of words."""
    if not rows:
        return "No records.\n"
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""

    def inert(cell: Any) -> Any:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell

    return str(frame.map(inert).rename(columns=inert).to_csv(index=False, lineterminator="\n"))


def print_rows(rows: Sequence[dict[str, str]], title: str) -> None:
    """Show a table on the terminal."""
    table = Table(title=escape(printable(title)), title_justify="left")
    for name in rows[0] if rows else []:
        table.add_column(name, justify="left" if name in LEFT else "right", no_wrap=name in LEFT, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row.values()))
    console = Console()
    if not console.is_terminal:
        # A pipe or a log has no width of its own: a table squeezed into 80 columns would lose numbers.
        console = Console(width=NO_LIMIT)
    console.print(table)


def step_rows(record: RunRecord) -> Iterator[dict[str, str]]:
    """One row of words for each step of a run that forgets in sequence: all that was forgotten by then."""
    shown = {
        "acc_forget_test": ("A_Df %", 100.0),
        "acc_retain_test": ("A_Dr %", 100.0),
        "retrain_acc_retain_test": ("retrain A_Dr %", 100.0),
        "mia_loss_accuracy": ("MIA (loss) %", 100.0),
        "probe_linear_auc": ("linear probe AUC %", 100.0),
        "anamnesis_index": ("AIN", 1.0),
        "unlearn_seconds": ("seconds so far", 1.0),
    }
    for place, step in enumerate(record.details.get("steps", []), start=1):
        cells = {
            "step": str(place),
            "forgotten now": ", ".join(map(str, step["classes"])) or str(step.get("request", "")),
        }
        for name, (title, scale) in shown.items():
            value = step["metrics"].get(name)
            cells[title] = NOTHING if value is None else f"{value * scale:.2f}"
        yield cells


def job_rows(record: RunRecord) -> Iterator[dict[str, str]]:
    """Original, retrained and unlearned model of one run, side by side."""
    for title, prefix in (("original", "original_"), ("retrain", "retrain_"), (record.method, "")):
        seconds = {"original": None, "retrain": record.metrics.get("retrain_seconds")}.get(
            title, record.metrics.get("unlearn_seconds")
        )
        cells = {"model": title}
        for name in ("forget_test", "retain_test", "forget_train", "retain_train"):
            kind, split = name.split("_")
            value = record.metrics.get(f"{prefix}acc_{name}")
            cells[f"A_D{kind[0]} {split} %"] = NOTHING if value is None else f"{100 * value:.2f}"
        cells["seconds"] = NOTHING if seconds is None else f"{seconds:.2f}"
        yield cells
