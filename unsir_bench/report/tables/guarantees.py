"""What methods promise beside what attacks find: certificate and attack of a method in one row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from unsir_bench.guarantees import GUARANTEES
from unsir_bench.records import RunRecord
from unsir_bench.report.banks import BANK_LEGEND, independent
from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.data import GROUP, compared, groups, model_table
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.samples import INTERVALS, samples_of, share_in_words
from unsir_bench.report.seeds import one_per_seed
from unsir_bench.report.statistics import mean_in_words, with_seeds
from unsir_bench.report.tables.table import MIXED, without_empty

ACCURACIES = {"acc_forget_test": "A_Df %", "acc_retain_test": "A_Dr %"}
ATTACKS = {
    "mia_loss_accuracy": "MIA (loss) %",
    "mia_svc_member_share": "MIA (SVC) %",
    "lira_auc": "LiRA AUC %",
    "rmia_auc": "RMIA AUC %",
    "ulira_accuracy": "U-LiRA %",
}


def guarantee_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row of words for each finished method on a forget set of which any method states a guarantee.

    Methods without a guarantee stand beside, with dashes. Means over seeds with their 95 % interval; guarantees first,
    then test accuracies, then the attacks that were measured.
    """
    if not any(record.guarantees and record.status == "done" for record in records):
        return []
    models = compared(model_table(records))
    models = models[models["status"] == "done"].reset_index(drop=True)
    promised = _promised(models)
    names = sorted(map(str, promised), key=[*GUARANTEES, *map(str, promised)].index)
    stated = promised.notna().any(axis=1)
    places = [models["dataset"], models["forget"]]
    shown = pd.concat([models, promised.add_prefix("guarantee_")], axis=1)
    shown = shown[stated.groupby(places).transform("any")]
    rows = [_row(key, group, shown, names) for key, group in groups(shown)]
    return without_empty(rows, ("setting", *ATTACKS.values(), MIXED))


def _promised(models: pd.DataFrame) -> pd.DataFrame:
    """A column for each guarantee that any run states; a reference that a run measured beside its own states none."""
    own = [
        record.guarantees if prefix == "" else {}
        for record, prefix in zip(models["record"], models["prefix"], strict=True)
    ]
    names = dict.fromkeys(name for each in own for name in each)
    return pd.DataFrame({name: [each.get(name) for each in own] for name in names}, index=models.index, dtype=float)


def _row(key: tuple[str, ...], group: pd.DataFrame, table: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
    seeds = one_per_seed(group)
    place = table[(table["dataset"] == key[0]) & (table["model"] == key[1]) & (table["forget"] == key[2])]
    promises = {guarantee_title(name): _promise(seeds[f"guarantee_{name}"]) for name in names}
    accuracies = {title: _mean(seeds, name, place, ".2f") for name, title in ACCURACIES.items()}
    attacks = {title: _mean(seeds, name, place, ".3g", ".2g") for name, title in ATTACKS.items()}
    mixed = {MIXED: mixture_words(group["record"].tolist())}
    return {**dict(zip(GROUP, key, strict=True)), "n": str(len(seeds)), **promises, **accuracies, **attacks, **mixed}


def _promise(seeds: pd.Series) -> str:
    """A number that follows from settings alone is the same for every seed, and has no interval; counts are whole."""
    values = seeds.dropna().tolist()
    if not values:
        return NOTHING
    mean = sum(values) / len(values)
    large = abs(mean) >= 1000
    if math.isclose(min(values), max(values)):
        words = f"{values[0]:.0f}" if large or float(values[0]).is_integer() else f"{values[0]:.3g}"
    else:
        words = mean_in_words(values, *((".0f",) if large else (".3g", ".2g")))
    return with_seeds(words, len(values), len(seeds))


def _mean(seeds: pd.DataFrame, name: str, place: pd.DataFrame, *forms: str) -> str:
    values = [float(value) for value in seeds[name].dropna()] if name in seeds else []
    apart = independent(values, name, seeds)
    words = share_in_words(apart, samples_of(place, name), 100.0, *forms)
    return with_seeds(words, len(values), len(seeds))


def guarantee_title(name: str) -> str:
    """The head of a guarantee's column; of a name without a card one that no other column has."""
    return GUARANTEES[name].title if name in GUARANTEES else f"guarantee {name}"


def guarantee_legend(rows: Sequence[dict[str, str]]) -> str:
    """What the columns of guarantees mean, of those that ``rows`` have."""
    meanings = [f"{card.title}: {card.meaning}" for card in GUARANTEES.values() if rows and card.title in rows[0]]
    banks = f" {BANK_LEGEND}" if rows and ATTACKS["ulira_accuracy"] in rows[0] else ""
    return (
        "What each method promises by its procedure, beside what was measured of the model it returned; a dash: it "
        f"promises nothing. {'; '.join(meanings)}. What was measured: {INTERVALS}.{banks}"
    )
