"""Whether each method can be told from retraining, metric by metric: the verdict table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from unsir_bench.errors import MetricUnavailable
from unsir_bench.report.binomial import TestShares
from unsir_bench.report.controls import control_words_of
from unsir_bench.report.data import GROUP, PLACE, groups
from unsir_bench.report.equivalence import EquivalenceVerdict, Gap, Judged, floor_of_retraining, judge
from unsir_bench.report.margins import margin_of, read_margins
from unsir_bench.report.metric_cards import verdict_cards
from unsir_bench.report.mixtures import MADE_IN, surrounding_words
from unsir_bench.report.samples import ShareInterval, grow_with_seeds, samples_of
from unsir_bench.report.seeds import seed_values
from unsir_bench.report.statistics import with_seeds
from unsir_bench.report.tables.table import status_words, without_empty

if TYPE_CHECKING:
    from unsir_bench.evaluation.registry import MetricCard

RETRAIN, DIVERGED = "retrain", "diverged"
MARKS = {
    EquivalenceVerdict.EQUIVALENT: "=",
    EquivalenceVerdict.DIFFERENT: "≠",
    EquivalenceVerdict.UNDECIDED: "?",
    EquivalenceVerdict.UNDECIDABLE: "×",
}
LEGEND = (
    "= equivalent to retraining, ≠ different, ? undecided (n: training seeds that would settle it), × undecidable at "
    "this margin. After the mark: mean gap to retrain with its 95 % interval over training seeds, for shares of test "
    "samples no narrower than the exact binomial one; then why nothing is settled (floor: two retrained models differ "
    "by more than the margin; samples: the test samples are too few, whatever the seeds, or, after ?, unless other "
    "cells are settled or further seeds bring further samples; no spread: equal values of an unknown number of "
    "samples; diverged: a mean over the other seeds would hide those); (n = ...) ends a cell of fewer seeds than its "
    "row. Margins (± in the head) were stated before, in "
    "claims/margins.yaml. Paired t-tests at 5 % over all cells of one forget set (Holm); p: exact sign-flip test of "
    "the gap, below 10 seeds. Row retrain: mean gap of two retrained models."
)
Key = tuple[tuple[str, ...], str]


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
    undone = {key: group["status"] for key, group in groups(runs[runs["status"] != "done"])}
    for _, place in done.groupby(PLACE, sort=False):
        rows += _rows_of_place(place, cards, undone)
    order = [key for key, _ in groups(done)]
    rows.sort(key=lambda row: order.index(tuple(row[name] for name in GROUP)))
    return without_empty(rows, ("setting", "beware", "not done"))


def _rows_of_place(
    place: pd.DataFrame, cards: Sequence[MetricCard], undone: Mapping[tuple[str, ...], pd.Series]
) -> list[dict[str, str]]:
    """The rows of one family of tests: the methods and metrics of one forget set."""
    margins = read_margins()
    gaps: dict[Key, Gap] = {}
    floors: dict[Key, float] = {}
    for card in cards:
        samples = samples_of(place, card.field)
        for key, group in groups(place):
            floor = floors[key, card.field] = floor_of_retraining(_alike(place, group), card.field)
            gap = None if key[3] == RETRAIN else _gap(group, card, margin_of(card, margins), floor, samples)
            if gap is not None:
                gaps[key, card.field] = gap
    judged = {where: _unhidden(found, undone.get(where[0])) for where, found in judge(gaps).items()}
    rows = []
    for key, group in groups(place):
        seeds = group["seed"].nunique()
        cells = {**dict(zip(GROUP, key, strict=True)), "n": str(seeds)}
        for card in cards:
            where = (key, card.field)
            title = f"{card.title} (± {margin_of(card, margins) * card.scale:g})"
            if key[3] == RETRAIN:
                cells[title] = _floor_cell(card, floors[where])
            else:
                cells[title] = _cell(card, gaps[where], judged[where], seeds) if where in gaps else "–"
        own = {card: gaps[key, card.field] for card in cards if (key, card.field) in gaps}
        missing = status_words(undone[key]) if key in undone else ""
        rows.append({**cells, "beware": _beware(group, own), "not done": missing})
    return rows


def _unhidden(judged: Judged, undone: pd.Series | None) -> Judged:
    """The verdict; where seeds diverged, the mean over the others is never called equivalent."""
    diverged = undone is not None and bool(undone.eq(DIVERGED).any())
    hides = diverged and judged.verdict is EquivalenceVerdict.EQUIVALENT
    return Judged(EquivalenceVerdict.UNDECIDED, why=DIVERGED) if hides else judged


def _beware(group: pd.DataFrame, own: Mapping[MetricCard, Gap]) -> str:
    """What a reader of a row must know: that it is a control, what its means mix, and values beyond the ideal."""
    control = f"control: {words}" if (words := control_words_of(group)) else ""
    return "; ".join(filter(None, [control, _mixed(group), *map(_warning, own, own.values())]))


def _alike(place: pd.DataFrame, group: pd.DataFrame) -> pd.DataFrame:
    """The runs of a place whose retrained models are those of a group: same data, training, hardware and maker."""
    if "conditions" not in place:
        return place
    alike: pd.DataFrame = place[place["conditions"] == group["conditions"].iloc[0]]
    return alike[alike["origin"].isin(group["origin"])] if "origin" in alike else alike


def _mixed(group: pd.DataFrame) -> str:
    """A warning where the seeds of a mean are of several commits or kinds of CPU, or of an unclean tree."""
    known = group.reindex(columns=list(MADE_IN)).astype(object)
    words = surrounding_words(known.where(known.notna(), None).to_dict("records"))  # NaN, for None, would be true
    return f"mixes {words}" if words else ""


def _gap(group: pd.DataFrame, card: MetricCard, margin: float, floor: float, samples: int | None) -> Gap | None:
    values = seed_values(group, f"gap_{card.field}")
    if not values:
        return None
    own, retrained = seed_values(group, card.field), seed_values(group, f"retrain_{card.field}")
    both = [seed for seed in values if seed in own and seed in retrained]
    shares = None
    if samples is not None and len(both) == len(values):
        means = [sum(of[seed] for seed in both) / len(both) for of in (own, retrained)]
        shares = TestShares(means[0], means[1], samples, grow_with_seeds(group, card.field))
    try:
        return Gap(list(values.values()), margin, floor, shares)
    except MetricUnavailable:
        return None


def _cell(card: MetricCard, gap: Gap, judged: Judged, seeds: int) -> str:
    digits = 1 if card.scale > 1 else 3
    words = [f"{MARKS[judged.verdict]} {gap.mean * card.scale:+.{digits}f}"]
    interval = gap.interval()
    if interval is not None:
        words.append(_ends(interval, card.scale, digits))
    if judged.seeds_needed:
        words.append(f"n = {judged.seeds_needed}")
    if judged.why:
        words.append(f"({judged.why})")
    if judged.verdict is EquivalenceVerdict.DIFFERENT and gap.p_sign_flip is not None:
        words.append(f"p = {gap.p_sign_flip:.2g}")
    return with_seeds(" ".join(words), len(gap.values), seeds)


def _ends(interval: ShareInterval, scale: float, digits: int) -> str:
    return f"[{interval.low * scale:.{digits}f}, {interval.high * scale:.{digits}f}]"


def _floor_cell(card: MetricCard, floor: float) -> str:
    return "–" if math.isnan(floor) else f"{floor * card.scale:.{1 if card.scale > 1 else 3}f}"


def _warning(card: MetricCard, gap: Gap) -> str:
    """What the card warns of, where the mean lies beyond retrain's by more than the margin."""
    return f"{card.title}: {card.overshoot}" if card.overshoots * gap.mean > gap.bar else ""
