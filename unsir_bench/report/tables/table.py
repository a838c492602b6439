"""The comparison table of a sweep, as words."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.controls import control_mark_of
from unsir_bench.report.data import ACCESS, GROUP, PLACE, PROVENANCE, compared, groups
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.samples import SHARES, gap_in_words, samples_of, share_in_words
from unsir_bench.report.seeds import one_per_seed, spread_within_seeds
from unsir_bench.report.statistics import is_ratio, mean_in_words, ratio_in_words, with_seeds

SHOWN = {
    "acc_forget_test": ("A_Df %", 100.0),
    "acc_retain_test": ("A_Dr %", 100.0),
    "gap_forget_test": ("A_Df gap", 100.0),
    "gap_retain_test": ("A_Dr gap", 100.0),
    "unlearn_seconds": ("seconds", 1.0),
    "speedup_vs_retrain": ("speed-up", 1.0),
    "speedup_vs_fisher": ("vs Fisher", 1.0),
}
WITHIN, CONTROL, MIXED = "sd within seeds", "control", "mixes"
ONLY_WHERE_USED = ("setting", WITHIN, CONTROL, "A_Df gap", "A_Dr gap", "vs Fisher", PROVENANCE, MIXED, "not done")


def summary(table: pd.DataFrame) -> list[dict[str, str]]:
    """One row of words per data set, model, forget set and method: mean and 95 % interval over seeds, with n.

    Args:
        table: ``model_table`` of a sweep's records.
    """
    shown = groups(compared(table))
    places = {tuple(map(str, place)): rows for place, rows in table.groupby(PLACE, sort=False)} if shown else {}
    samples = {place: {name: samples_of(rows, name) for name in SHARES} for place, rows in places.items()}
    rows = []
    for key, group in shown:
        finished = group[group["status"] == "done"]
        done = one_per_seed(finished)
        rows.append({
            **dict(zip(GROUP, key, strict=True)),
            "n": str(len(done)),
            WITHIN: _within_seeds(finished),
            **{title: _cell(done, metric, scale, samples[key[:3]]) for metric, (title, scale) in SHOWN.items()},
            ACCESS: group[ACCESS].iloc[0],
            CONTROL: control_mark_of(done),
            PROVENANCE: ", ".join(word for word in group[PROVENANCE].unique() if word),
            MIXED: mixture_words(finished["record"].tolist()),
            "not done": status_words(group.loc[group["status"] != "done", "status"]),
        })  # fmt: skip
    return without_empty(rows, ONLY_WHERE_USED)


def status_words(statuses: pd.Series) -> str:
    """How many runs have each status, in words; empty for none."""
    return ", ".join(f"{count} {status}" for status, count in statuses.value_counts().items())


def _within_seeds(finished: pd.DataFrame) -> str:
    """The spread between records of one seed, in points; nothing where it is 0 or no seed has two."""
    found = [spread_within_seeds(finished, f"acc_{kind}_test") for kind in ("forget", "retain")]
    words = [f"{name} {100 * sd:.2f}" for name, sd in zip(("A_Df", "A_Dr"), found, strict=True) if sd]
    return ", ".join(words)


def _cell(done: pd.DataFrame, metric: str, scale: float, samples: Mapping[str, int | None]) -> str:
    if metric not in done:
        return NOTHING
    values = [float(value) for value in done[metric].dropna()]
    if metric in SHARES:
        return with_seeds(share_in_words(values, samples[metric], scale), len(values), len(done))
    share = metric.replace("gap", "acc")
    if metric.startswith("gap_") and "retrain" not in set(done["method"]):  # whose own gap is 0 by definition
        known = done[done[metric].notna() & done[share].notna()]
        words = gap_in_words(known[metric].tolist(), known[share].tolist(), samples[share], scale)
        return with_seeds(words, len(known), len(done))
    words = ratio_in_words(values) if is_ratio(metric) else mean_in_words([scale * value for value in values])
    return with_seeds(words, len(values), len(done))


def without_empty(rows: list[dict[str, str]], columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows without those of these columns that say nothing in any of them."""
    unused = [name for name in columns if all(row[name] in ("", NOTHING) for row in rows)]
    return [{name: cell for name, cell in row.items() if name not in unused} for row in rows]
