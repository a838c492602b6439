"""A training seed is what counts: records that share one are averaged before anything is said over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from unsir_bench.report.statistics import is_ratio

CENSORED, TIMES = "relearn_censored", ("relearn_batches", "relearn_epochs")
INDEX = "anamnesis_index"  # a relearn time over retrain's


def one_per_seed(models: pd.DataFrame) -> pd.DataFrame:
    """One row per seed: the mean of every number, and the words of the first record, or of the first with a curve.

    Two records of one seed differ in what no seed draws: another preset of metrics, classes given by index and by name
    or in another order, access withheld, another unlearning seed. A relearn time is their median, in which a censored
    one is longer than all others; a seed whose median is censored is censored, and has no relearn time. So is the
    anamnesis index, where retrain's time counts, too. The mean of ratios is the geometric one.

    Args:
        models: rows of ``model_table`` or ``run_table`` that differ by seed alone, with a ``seed`` column.

    Returns:
        The rows themselves where no seed repeats.
    """
    if not models["seed"].duplicated().any():
        return models
    by_seed = models.groupby("seed", sort=False)
    seeds = models.drop_duplicates("seed")
    merged = with_curve_first(models).drop_duplicates("seed").set_index("seed").loc[seeds["seed"]]
    numbers = [str(name) for name in models.select_dtypes(["number", "bool"]) if name != "seed"]
    merged[numbers] = by_seed[numbers].mean()
    ratios = [name for name in numbers if is_ratio(name)]
    logs = models[ratios].where(models[ratios] > 0).transform(np.log)
    merged[ratios] = logs.groupby(models["seed"], sort=False).mean().transform(np.exp)
    if CENSORED in numbers:
        times = [name for name in (*TIMES, INDEX) if name in numbers]
        longest = models[times].mask(models[CENSORED] > 0, np.inf, axis=0)
        if INDEX in times and f"retrain_{CENSORED}" in numbers:
            longest[INDEX] = longest[INDEX].mask(models[f"retrain_{CENSORED}"] > 0, np.inf)
        merged[times] = longest.groupby(models["seed"], sort=False).median().replace(np.inf, np.nan)
        merged[CENSORED] = np.ceil(by_seed[CENSORED].median())  # half of the records are enough
    return merged.copy().reset_index().set_axis(seeds.index)[list(models.columns)]


def with_curve_first(models: pd.DataFrame) -> pd.DataFrame:
    """The rows, those with a relearning curve first: its cap and summaries stand for those that have none."""
    if "record" not in models:
        return models
    without = [not record.details.get("relearn_curve") for record in models["record"]]
    return models.iloc[np.argsort(without, kind="stable")]


def seed_values(models: pd.DataFrame, column: str) -> dict[int, float]:
    """A column's value for each seed that has one, by seed: the mean over the seed's records."""
    if column not in models:
        return {}
    known = models.assign(**{column: pd.to_numeric(models[column], errors="coerce")})
    means = known.groupby("seed")[column].mean().dropna()
    return {int(seed): float(value) for seed, value in zip(means.index.tolist(), means.tolist(), strict=True)}


def spread_within_seeds(models: pd.DataFrame, column: str) -> float | None:
    """The pooled standard deviation of a column between records of one seed; None where no seed has two values."""
    if column not in models:
        return None
    groups = models.groupby("seed")[column]
    freedom = (groups.count() - 1).clip(lower=0)
    if not freedom.sum():
        return None
    return float(((groups.var().fillna(0) * freedom).sum() / freedom.sum()) ** 0.5)
