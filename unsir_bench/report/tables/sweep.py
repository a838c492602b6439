"""What a sweep leaves beside its records: the comparison table, the verdicts against retraining, and all numbers."""

from __future__ import annotations

from pathlib import Path

from unsir_bench.records import records_below
from unsir_bench.runtime.files import write_atomic


def write_sweep_table(folder: Path) -> list[Path]:
    """Print the table of the records in a sweep's folder; write it, the verdicts and all numbers; returns the files."""
    # pandas is slow to import, and a sweep needs it at its end alone.
    from unsir_bench.report.data import model_table, run_table, timed_apart
    from unsir_bench.report.samples import INTERVALS
    from unsir_bench.report.tables.table import summary
    from unsir_bench.report.tables.text import csv_text, markdown, plain, plain_rows, print_rows
    from unsir_bench.report.tables.verdicts import LEGEND, verdict_rows

    records = [record for _, record in records_below(folder)]
    if not records:
        return []
    rows, runs = summary(model_table(records)), run_table(records)
    same = [name for name in ("dataset", "model") if len({row[name] for row in rows}) == 1]
    title = " ".join([f"{folder.name}:", *(f"{name} {rows[0][name]}," for name in same)])
    shown = [{name: cell for name, cell in row.items() if name not in same} for row in rows]
    print_rows(shown, f"{title} test data, {INTERVALS}")
    remark = timed_apart(runs)
    print(remark + "\n" if remark else "", end="")
    contents = {
        "table.md": f"Test data; {INTERVALS}.\n\n{markdown(plain_rows(rows))}"
        + (f"\n{plain(remark)}\n" if remark else ""),
        "results.csv": csv_text(runs),
    }
    verdicts = verdict_rows(runs)
    if verdicts:
        contents["verdicts.md"] = f"{LEGEND}\n\n{markdown(plain_rows(verdicts))}"
    for name, text in contents.items():
        write_atomic(folder / name, text)
    return [folder / name for name in contents]
