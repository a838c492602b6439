"""Requests over time as words: accuracy, attack and seconds after each, and how many a method serves unharmed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.data import GROUP, PLACE, groups
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.requests import MARGIN, deletion_capacity, request_table
from unsir_bench.report.samples import INTERVALS, SHARES, samples_of, share_in_words
from unsir_bench.report.seeds import one_per_seed
from unsir_bench.report.statistics import mean_in_words, with_seeds
from unsir_bench.report.tables.table import MIXED, without_empty

SHOWN = {
    "acc_retain_test": ("A_Dr %", 100.0),
    "retrain_acc_retain_test": ("retrain's", 100.0),
    "acc_forget_train": ("A_Df train %", 100.0),
    "mia_loss_accuracy": ("MIA (loss) %", 100.0),
    "retrain_mia_loss_accuracy": ("retrain's MIA", 100.0),
    "seconds": ("seconds", 1.0),
    "seconds_so_far": ("seconds so far", 1.0),
    "retrain_seconds": ("retrain seconds", 1.0),
}
LEGEND = (
    "Runs that serve several requests, after each of them, over all that was forgotten by then; "
    f"{INTERVALS}. *Deletion capacity*: "
    f"requests served, and training samples forgotten, before A_Dr falls more than {100 * MARGIN:g} points below that "
    "of the model retrained without them (after Sekhari et al. 2021); the least over the seeds that have such models."
)


def request_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row of words for each request of each method: means over seeds; none where no run served several."""
    rows, table = [], request_table(records)
    for key, models in groups(table):
        place = table[(table[list(PLACE)] == key[: len(PLACE)]).all(axis=1)]
        for request, points in models.groupby("request"):
            beside = place[place["request"] == request]
            own = one_per_seed(points)
            words = own["words"].unique()
            rows.append({
                **dict(zip(GROUP, key, strict=True)),
                "n": str(len(own)),
                "request": f"{request}: {words[0]}" if len(words) == 1 else str(request),
                "samples so far": mean_in_words(own["samples"].dropna().tolist(), ".0f"),
                **{title: _cell(own, name, scale, beside) for name, (title, scale) in SHOWN.items()},
                MIXED: mixture_words(points["record"].tolist()),
            })  # fmt: skip
    return without_empty(rows, ("setting", "samples so far", *(title for title, _ in SHOWN.values()), MIXED))


def _cell(own: pd.DataFrame, name: str, scale: float, beside: pd.DataFrame) -> str:
    """A mean over seeds; of a share no narrower than the samples of this request allow."""
    values, field = own[name].dropna().tolist(), name.removeprefix("retrain_")
    if field in SHARES:
        return with_seeds(share_in_words(values, samples_of(beside, field), scale), len(values), len(own))
    return with_seeds(mean_in_words([scale * value for value in values]), len(values), len(own))


def capacity_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row of words for each method: its deletion capacity."""
    rows = []
    for key, models in groups(request_table(records)):
        by_run = {run: deletion_capacity(course) for run, course in models.groupby("run", sort=False)}
        known = {run: found for run, found in by_run.items() if found is not None}
        served, samples, total = min(known.values(), default=(0, 0, 0))
        seeds, seen = models["seed"].nunique(), models.loc[models["run"].isin(known), "seed"].nunique()
        partly = f" ({seen} of {seeds} seeds)" if seen < seeds else ""
        rows.append({
            **dict(zip(GROUP, key, strict=True)),
            "n": str(seeds),
            "deletion capacity": f"{served} of {total} requests{partly}" if known else NOTHING,
            "samples": str(samples) if samples else NOTHING,
            MIXED: mixture_words(models["record"].tolist()),
        })  # fmt: skip
    return without_empty(rows, ("setting", "samples", MIXED))
