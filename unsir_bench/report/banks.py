"""What a bank of models gives, over seeds: runs whose banks share models are not independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from statistics import fmean

import pandas as pd

from unsir_bench.records import RunRecord

BANK = "bank_size"
BANK_LEGEND = (
    "What a bank of models gives has no interval where banks of several seeds share models: a mean alone stands there. "
    "Median ε and forgetting quality are held against what two banks of equal models give (details.forgetting_null), "
    "since few models look unlike by chance; retrain's are 0 and 1 because its two banks are the same models."
)


def recorded_bank(record: RunRecord) -> dict[str, int]:
    """The column ``bank_size`` of a run with a bank, in models of either kind; nothing for one without."""
    size = record.measured_with.get(BANK)
    return {BANK: size} if isinstance(size, int) and size else {}


@cache
def bank_fields() -> frozenset[str]:
    """The fields that are of a bank alone, whatever the run's own model."""
    from unsir_bench.evaluation.registry import registered  # imports torch and every metric

    found = (metric for metric in registered() if metric.when == BANK and metric.summary)
    return frozenset(field for metric in found for field in metric.fields)


def independent(values: Sequence[float], field: str, models: pd.DataFrame) -> list[float]:
    """The values over which an interval may be taken: their mean alone where the seeds' banks share models.

    Args:
        values: of a field, one per seed.
        field: without prefix.
        models: the rows behind them, one per seed, with the column ``bank_size`` where runs had a bank.
    """
    if len(values) > 1 and BANK in models and field in bank_fields() and _share_models(models, field):
        return [fmean(values)]
    return list(values)


def _share_models(models: pd.DataFrame, field: str) -> bool:
    """Whether two banks do: that of a seed has the ``bank_size`` seeds after it."""
    known = models[models[field].notna()]
    size = known[BANK].max()
    return any(later - earlier < size for earlier, later in pairwise(sorted(known["seed"])))
