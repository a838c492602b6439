"""Whether each method can be told from retraining, metric by metric: the verdict table of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report.data import GROUP, groups
from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.report.statistics import EquivalenceVerdict, default_margin, equivalence
from unsir_bench.report.tables.table import without_empty

if TYPE_CHECKING:
    from unsir_bench.evaluation.registry import MetricCard

MARKS = {
    EquivalenceVerdict.INDISTINGUISHABLE: "=",
    EquivalenceVerdict.DISTINGUISHABLE: "≠",
    EquivalenceVerdict.TOO_FEW_SEEDS: "?",
}
LEGEND = (
    "= indistinguishable from retrain, ≠ distinguishable, ? too few seeds to say (paired one-sided t-tests at 5 %). "
    "After the mark: mean gap to retrain ± margin, which is the metric's own or the gap between two retrained models, "
    "whichever is larger."
)


def verdict_rows(runs: pd.DataFrame) -> list[dict[str, str]]:
    """One row of words per data set, model, forget set, method and setting, one column per metric that runs hold.

    Args:
        runs: ``run_table`` of a sweep's records.
    """
    done = runs[runs["status"] == "done"]
    cards = [
        card for card in verdict_cards() if f"gap_{card.field}" in done and done[f"gap_{card.field}"].notna().any()
    ]
    rows: list[dict[str, str]] = []
    if not cards:
        return rows
    for key, group in groups(done):
        cells = dict(zip(GROUP, key, strict=True))
        cells["n"] = str(len(group))
        for card in cards:
            cells[card.title] = _cell(card, _by_seed(group, f"gap_{card.field}"), _by_seed(group, _floor(card)))
        cells["beware"] = "; ".join(filter(None, (_warning(card, group) for card in cards)))
        rows.append(cells)
    return without_empty(rows, ("setting", "beware"))


def _floor(card: MetricCard) -> str:
    return f"floor_gap_{card.field}"


def _by_seed(group: pd.DataFrame, column: str) -> dict[int, float]:
    """A value for each seed: the mean where it was run more than once."""
    if column not in group:
        return {}
    means = group.groupby("seed")[column].mean().dropna()
    return {int(seed): float(value) for seed, value in zip(means.index.tolist(), means.tolist(), strict=True)}


def _cell(card: MetricCard, gaps: Mapping[int, float], floor: Mapping[int, float]) -> str:
    if not gaps:
        return "–"
    try:
        margin = default_margin(floor, card.minimum_margin).value
        tested = equivalence(gaps, margin)
    except MetricUnavailable:
        return "–"
    shown = [value * card.scale for value in (tested.outer.mean, margin)]
    digits = 1 if card.scale > 1 else 3
    return f"{MARKS[tested.verdict]} {shown[0]:+.{digits}f} ± {shown[1]:.{digits}f}"


def _warning(card: MetricCard, group: pd.DataFrame) -> str:
    """What the card warns of, where the mean lies beyond retrain's by more than the margin."""
    gaps, floor = _by_seed(group, f"gap_{card.field}"), _by_seed(group, _floor(card))
    if not gaps or not card.overshoots:
        return ""
    try:
        margin = default_margin(floor, card.minimum_margin).value
    except MetricUnavailable:
        return ""
    mean = sum(gaps.values()) / len(gaps)
    return f"{card.title}: {card.overshoot}" if card.overshoots * mean > margin else ""
