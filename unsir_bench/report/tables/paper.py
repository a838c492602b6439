"""Comparison tables for a paper: one per sweep, data set and network, as Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.banks import BANK_LEGEND, bank_fields, independent
from unsir_bench.report.conditions import NOTHING, conditions
from unsir_bench.report.data import run_table
from unsir_bench.report.samples import INTERVALS, share_in_words, share_interval
from unsir_bench.report.speedups import fast_retrain_seconds
from unsir_bench.report.statistics import (
    is_ratio,
    mean_in_words,
    mean_interval,
    ratio_in_words,
    ratio_interval,
    with_seeds,
)
from unsir_bench.report.tables.comparison import (
    ACCURACIES,
    ComparisonTable,
    Row,
    comparison_tables,
)
from unsir_bench.report.tables.guarantees import guarantee_legend, guarantee_rows
from unsir_bench.report.tables.requests import LEGEND as REQUESTS_LEGEND
from unsir_bench.report.tables.requests import capacity_rows, request_rows
from unsir_bench.report.tables.stages import LEGEND as STAGES_LEGEND
from unsir_bench.report.tables.stages import stage_rows
from unsir_bench.report.tables.standard_columns import COLUMNS, STANDARD, STANDARD_LEGEND, Column
from unsir_bench.report.tables.text import csv_text, markdown, plain, plain_rows
from unsir_bench.runtime.files import write_atomic

LEGEND = (
    f"Test data; {INTERVALS}. Bold: the best mean of the unlearning methods of each forget set, which is the one "
    "nearest to the retrained model's for A_Dr, A_Df and relearn batches, whether or not the seeds tell it from the "
    "next. A relearn time that reached the cap is shown as >cap and never averaged. "
    "× retrain, × Fisher: their seconds over the method's, seed by seed; × fast retrain: retraining by train=fast."
)


class Cell(NamedTuple):
    """Words of a cell, and whether they are bold."""

    words: str
    bold: bool = False


def cells(table: ComparisonTable) -> list[dict[str, Cell]]:
    """The table as words, columns that nothing fills left out."""
    filled = []
    for forget in dict.fromkeys(row.forget for row in table.rows):
        rows = [row for row in table.rows if row.forget == forget]
        best = {column.field: table.best_rows(rows, column) for column in table.columns}
        for place, row in enumerate(rows):
            line = {
                "forget": Cell(row.forget),
                "method": Cell(row.method),
                "setting": Cell(row.setting),
                "n": Cell(str(row.n)),
                **{
                    column.title: Cell(measured_words(row, column), place in best[column.field])
                    for column in table.columns
                },
                **(_published(row, table.paper_title) if table.columns == COLUMNS else {}),
                "not done": Cell(not_done_words(row)),
            }
            filled.append(line)
    if not filled:
        return []
    kept = [title for title in filled[0] if any(line[title].words not in ("", NOTHING) for line in filled)]
    return [{title: line[title] for title in kept} for line in filled]


def measured_words(row: Row, column: Column) -> str:
    """A column of a row: mean with its interval; a relearn time that reached the cap is shown as ``>cap``.

    What follows from such times has no mean either: the seeds that have a number are listed, the others counted.
    """
    values = [value * column.scale for value in row.values(column.field)]
    if column.field == "relearn_batches" and row.censored:
        counts = Counter(row.censored)
        capped = [f">{cap}" + (f" ({count} of {row.n})" if row.n > 1 else "") for cap, count in sorted(counts.items())]
        return ", ".join([*(f"{round(value, 1):g}" for value in sorted(values)), *capped])
    if values and (censored := row.censored_of(column.field)):
        return ", ".join([*(f"{value:.2f}" for value in sorted(values)), f"censored ({censored} of {row.n})"])
    if column.field in row.samples:
        words = share_in_words(row.values(column.field), row.samples[column.field], column.scale)
        return with_seeds(words, len(values), row.n)
    words = ratio_in_words(values) if is_ratio(column.field) else _number_in_words(row, column, values)
    return with_seeds(words, len(values), row.n)


def _number_in_words(row: Row, column: Column, values: Sequence[float]) -> str:
    """Mean with its interval; below 0.1 in significant digits: of two decimals one at most would tell methods apart."""
    small = column.scale == 1 and bool(values) and 0 < abs(sum(values) / len(values)) < 0.1
    apart = independent(values, column.field, row.models)
    return mean_in_words(apart, ".3g", ".2g") if small else mean_in_words(apart)


def not_done_words(row: Row) -> str:
    """How many runs gave no values, by what became of them; empty where all did."""
    return ", ".join(f"{count} {word}" for word, count in Counter(row.not_done).items())


def _published(row: Row, title: str) -> dict[str, Cell]:
    """The paper's accuracies and ours minus theirs, in points."""
    found = {}
    for name, short in zip(ACCURACIES, ("A_Dr", "A_Df"), strict=True):
        theirs, ours = row.published.get(name), row.mean(name)
        found[f"{title}: {short} %"] = Cell(NOTHING if theirs is None else f"{100 * theirs:.2f}")
        known = theirs is not None and ours is not None
        found[f"{short} minus {title}"] = Cell(f"{100 * ((ours or 0) - (theirs or 0)):+.2f}" if known else NOTHING)
    return found


def legend(columns: Sequence[Column]) -> str:
    """What the cells, and the field's standard columns among them, mean."""
    standard = set(columns) & set(STANDARD.values()) - set(COLUMNS)
    banks = tuple(columns) != COLUMNS and any(column.field in bank_fields() for column in columns)
    return " ".join([LEGEND, *([STANDARD_LEGEND] if standard else []), *([BANK_LEGEND] if banks else [])])


def as_markdown(table: ComparisonTable) -> str:
    """Caption and table for GitHub."""
    rows = [
        {
            title: f"**{plain(cell.words)}**" if cell.bold else plain(cell.words) or NOTHING
            for title, cell in line.items()
        }
        for line in cells(table)
    ]
    remarks = "".join(f"\n{plain(remark)}\n" for remark in table.remarks)
    return f"**{plain(table.caption)}**\n\n{markdown(rows)}{remarks}"


LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    # At the start of a row either would be read as an argument of the line break or rule before it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "-": "{-}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "λ": r"$\lambda$",
    "ε": r"$\varepsilon$",
}


def latex_text(words: str) -> str:
    """Text that LaTeX prints as it is; control characters and line breaks become spaces.

    Needs ``textcomp``, part of LaTeX since 2020, and for ``"`` a T1 font encoding.
    """
    one_line = re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", words).strip()
    return "".join(LATEX.get(letter, letter) for letter in one_line)


def as_latex(table: ComparisonTable) -> str:
    """A ``table`` environment with booktabs' rules, made smaller where it is wider than the page's text."""
    lines = cells(table)
    titles = list(lines[0]) if lines else ["no runs"]
    words_first = sum(title in ("forget", "method", "setting") for title in titles)
    body = [" & ".join(_latex_cell(cell) for cell in line.values()) + r" \\" for line in lines]
    return "\n".join([
        r"\begin{table}",
        r"  \centering\small",
        f"  \\caption{{{latex_text(' '.join([f'{table.caption}. {legend(table.columns)}', *table.remarks]))}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"  \\begin{{tabular}}{{{'l' * words_first}{'r' * (len(titles) - words_first)}}}",
        r"    \toprule",
        "    " + " & ".join(map(latex_text, titles)) + r" \\",
        r"    \midrule",
        *(f"    {line}" for line in body),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _latex_cell(cell: Cell) -> str:
    words = latex_text(cell.words or NOTHING)
    return rf"\textbf{{{words}}}" if cell.bold else words


def numbers(tables: Sequence[ComparisonTable]) -> pd.DataFrame:
    """Every table's rows with their numbers: mean and both ends of the 95 % interval of each column, and n."""
    lines = []
    for table in tables:
        for row in table.rows:
            line: dict[str, object] = {
                "sweep": table.sweep, "dataset": table.dataset, "model": table.model,
                "scale": table.conditions.scale, "conditions": table.words,
                "forget": row.forget, "method": row.method, "setting": row.setting, "n": row.n,
            }  # fmt: skip
            for column in table.columns:
                line |= _interval(row, column.field)
            line["relearn_censored_seeds"] = len(row.censored)
            line["relearn_cap"] = max(row.censored, default=None)
            line |= {f"paper_{name}": row.published.get(name) for name in ACCURACIES}
            line["paper_is_same_experiment"] = table.exact if row.published else None
            line["not_done"] = len(row.not_done)
            lines.append(line)
    return pd.DataFrame(lines)


def _interval(row: Row, field: str) -> dict[str, float | None]:
    """A column's mean and ends as the cells have them, in the record's unit; none where it has no mean."""
    names, mean = (field, f"{field}_low", f"{field}_high"), row.mean(field)
    if mean is None:
        return dict.fromkeys(names)
    values = row.values(field)
    if field in row.samples:
        return dict(zip(names, share_interval(values, row.samples[field]), strict=True))
    if is_ratio(field):
        return dict(zip(names, ratio_interval(values), strict=True))
    interval = mean_interval(independent(values, field, row.models))
    return dict(zip(names, (mean, interval.low, interval.high), strict=True))


def all_runs(sweeps: Mapping[str, Sequence[RunRecord]]) -> pd.DataFrame:
    """One row per run of every sweep, with the scale it was made at."""
    frames = [
        run_table(records).assign(sweep=name, scale=[shared.scale for shared in conditions(records)])
        for name, records in sweeps.items()
        if records
    ]
    runs = pd.concat(frames, ignore_index=True)
    return runs[["sweep", "scale", *(name for name in runs if name not in ("sweep", "scale"))]]


def write_tables(
    sweeps: Mapping[str, Sequence[RunRecord]], folder: Path, columns: Sequence[Column] = COLUMNS
) -> list[Path]:
    """Write ``tables.md``, ``.tex`` and ``.csv``, and ``results.csv`` with all runs; returns the files.

    Also ``stages.md`` where a run measured its model at a stage, ``requests.md`` where one served several requests,
    ``guarantees.md`` where a method states one, and
    ``results.parquet`` where pyarrow is installed.

    Args:
        sweeps: records by the sweep's name; at least one among them.
        folder: made if need be.
        columns: of the comparison tables.

    Raises:
        ValueError: there are no records.
    """
    fast = fast_retrain_seconds(record for records in sweeps.values() for record in records)
    tables = [table for name, records in sweeps.items() for table in comparison_tables(name, records, fast, columns)]
    if not tables:
        raise ValueError("no record to make tables of")
    runs = all_runs(sweeps)
    texts = {
        "tables.md": f"{legend(columns)}\n\n" + "\n".join(map(as_markdown, tables)),
        "tables.tex": "% needs \\usepackage[T1]{fontenc}, \\usepackage{booktabs} and \\usepackage{graphicx}\n"
        + "\n".join(map(as_latex, tables)),
        "tables.csv": csv_text(numbers(tables)),
        "results.csv": csv_text(runs),
    }
    stages = {name: rows for name, records in sweeps.items() if (rows := stage_rows(records))}
    if stages:
        parts = [f"**sweep {plain(name)}**\n\n{markdown(plain_rows(rows))}" for name, rows in stages.items()]
        texts["stages.md"] = "\n".join([f"{STAGES_LEGEND}\n", *parts])
    served = {name: rows for name, records in sweeps.items() if (rows := request_rows(records))}
    if served:
        parts = [
            f"**sweep {plain(name)}**\n\n{markdown(plain_rows(capacity_rows(sweeps[name])))}\n"
            f"{markdown(plain_rows(rows))}"
            for name, rows in served.items()
        ]
        texts["requests.md"] = "\n".join([f"{REQUESTS_LEGEND}\n", *parts])
    promises = {name: rows for name, records in sweeps.items() if (rows := guarantee_rows(records))}
    if promises:
        parts = [
            f"**sweep {plain(name)}**\n\n{plain(guarantee_legend(rows))}\n\n{markdown(plain_rows(rows))}"
            for name, rows in promises.items()
        ]
        texts["guarantees.md"] = "\n".join(parts)
    for name, text in texts.items():
        write_atomic(folder / name, text)
    paths = [folder / name for name in texts]
    if find_spec("pyarrow") is not None:
        content = BytesIO()
        runs.to_parquet(content, engine="pyarrow", index=False)
        paths.append(folder / "results.parquet")
        write_atomic(paths[-1], content.getvalue())
    return paths
