"""Every metric of a sweep beside those of its references: one table per data set, model and forget set."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.banks import independent
from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.data import PLACE, REFERENCES, groups, model_table
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.samples import samples_of, share_in_words
from unsir_bench.report.seeds import one_per_seed
from unsir_bench.report.statistics import is_ratio, ratio_in_words, with_seeds
from unsir_bench.report.tables.relearn import relearn_rows
from unsir_bench.report.tables.table import MIXED
from unsir_bench.report.tables.text import markdown, plain

DERIVED = (*(reference.prefix for reference in REFERENCES.values()), "gap_", "floor_gap_")


def metric_tables(records: Sequence[RunRecord]) -> str:
    """All tables as Markdown: a row per metric, a column per model; mean ± 95 % interval over seeds."""
    table = model_table(records)
    done = table[table["status"] == "done"]
    if done.empty:
        return "No finished runs.\n"
    places: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for key, models in groups(done):
        places.setdefault(key[: len(PLACE)], []).append(models)
    parts = {plain(", ".join(place)): markdown(_rows(columns)) for place, columns in places.items()}
    return "\n".join(f"**{place}**\n\n{rows}" for place, rows in parts.items())


def _rows(columns: Sequence[pd.DataFrame]) -> list[dict[str, str]]:
    """One row of Markdown per metric; the references' columns come first.

    Names alone are escaped: the table is printed, and intervals of escaped brackets are hard to read.
    """
    order = list(REFERENCES)
    ordered = sorted(columns, key=lambda models: _rank(models["method"].iloc[0], order))
    merged = [one_per_seed(models) for models in ordered]
    named = {plain(f"{models['label'].iloc[0]} (n = {len(models)})"): models for models in merged}
    place = pd.concat(ordered)  # means over draws of one seed have denominators of their own
    rows = []
    for metric in _metrics(merged):
        samples = samples_of(place, metric)
        cells = {title: _cell(metric, models, samples) for title, models in named.items()}
        rows.append({"metric": plain(metric), **cells})
    mixed = [mixture_words(models["record"].tolist()) for models in ordered]
    marks = {title: words or NOTHING for title, words in zip(named, mixed, strict=True)}
    return rows + relearn_rows(named) + ([{"metric": MIXED, **marks}] if any(mixed) else [])


def _rank(method: str, order: Sequence[str]) -> int:
    return order.index(method) if method in order else len(order)


def _metrics(columns: Sequence[pd.DataFrame]) -> list[str]:
    """Names in the order of the records, without those that no run has a number for, and without parts of a method.

    The anamnesis index has no mean where a time is censored: ``relearn_rows`` gives it by seed.
    """
    runs = [record for models in columns for record in models.loc[models["prefix"] == "", "record"]]
    names = dict.fromkeys(name for record in runs for name in record.metrics)
    own_parts = {name for name in names if name.endswith(("_seconds", "_steps")) and name != "unlearn_seconds"}
    elsewhere = (*DERIVED, "relearn_epochs", "anamnesis_index")
    return [name for name in names if name not in own_parts and not name.startswith(elsewhere)]


def _cell(metric: str, models: pd.DataFrame, samples: int | None) -> str:
    values = [float(value) for value in models[metric].dropna()] if metric in models else []
    if metric == "relearn_batches" and "relearn_censored" in models:
        censored = models.loc[models["relearn_censored"].fillna(0).astype(bool), "record"]
        if len(censored):  # a censored run has no number: it is never averaged
            numbers = models.loc[models.index.difference(censored.index), metric].dropna()
            caps = [f">{record.relearn_cap}" for record in censored]
            return ", ".join([*(f"{value:g}" for value in sorted(numbers)), *caps])
    if is_ratio(metric):
        return with_seeds(ratio_in_words(values), len(values), len(models))
    apart = independent(values, metric, models)
    words = share_in_words(apart, samples, 1.0, ".4g", ".2g") if values else NOTHING
    return with_seeds(words, len(values), len(models))
