"""Rows of words for relearning curves: areas, half-lives, times to retrain's plateau, and the anamnesis index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.relearn_curve import RelearnSummary, Time, anamnesis_in_words, median_in_words, summarise
from unsir_bench.report.statistics import mean_in_words

AREA, HALF, PLATEAU, AIN = (
    "relearn area / original's A_Df",
    "relearn batches to half of original's A_Df (median)",
    "relearn batches to 95 % of retrain's plateau (median)",
    "AIN of relearn_batches, by seed",
)


def relearn_rows(columns: Mapping[str, pd.DataFrame]) -> list[dict[str, str]]:
    """One row per summary, one column per model; without curves, only rows that a model has.

    Areas are means over seeds; times, which may be censored, are Kaplan-Meier medians; the anamnesis index is by seed.

    Args:
        columns: rows of ``model_table``, one per seed, by title.
    """
    found = {title: [curve_summary(row) for row in models.to_dict("records")] for title, models in columns.items()}
    known = {title: [each for each in summaries if each] for title, summaries in found.items()}
    rows: dict[str, dict[str, str]] = {name: {"metric": name} for name in (AREA, HALF, PLATEAU, AIN)}
    for title, models in columns.items():
        summaries = known[title]
        rows[AREA][title] = mean_in_words([each.area for each in summaries]) if summaries else NOTHING
        rows[HALF][title] = median_in_words([each.half for each in summaries])
        rows[PLATEAU][title] = median_in_words([each.plateau for each in summaries if each.plateau])
        indices = list(map(_anamnesis, models.to_dict("records")))
        rows[AIN][title] = ", ".join(indices) if set(indices) - {NOTHING} else NOTHING
    curves = any(known.values())
    return [row for row in rows.values() if curves or set(row.values()) - {row["metric"], NOTHING}]


def curve_summary(row: Mapping[Any, Any]) -> RelearnSummary | None:
    """The summary of a row of ``model_table``; None where it has no curve, or the original knew nothing."""
    record, details = row["record"], row["details"]
    curve = details.get("relearn_curve")
    original = record.metrics.get("original_acc_forget_test")
    if not curve or not original:
        return None
    return summarise(curve, original, record.details.get("retrain_relearn_curve"))


def _anamnesis(row: Mapping[Any, Any]) -> str:
    record = row["record"]
    cap = float(record.relearn_cap)
    retrained = record.metrics.get("retrain_relearn_censored")
    own = row.get("relearn_censored")
    if own is None or pd.isna(own) or retrained is None:
        return NOTHING
    theirs = record.metrics.get("retrain_relearn_batches")
    return anamnesis_in_words(_time(row.get("relearn_batches"), bool(own), cap), _time(theirs, bool(retrained), cap))


def _time(batches: Any, censored: bool, cap: float) -> Time:
    return Time(cap, censored=True) if censored else Time(float(batches))
