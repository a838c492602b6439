"""The one table behind every report: a row per model and seed, the pairing of runs, and what follows from it.

What counts as the same experiment, as a seed of it, as its retraining and as its Fisher run is decided here alone;
tables, figures, claims and the page draw what these frames hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.banks import BANK, recorded_bank
from unsir_bench.report.conditions import (
    UNKNOWN_ACCESS,
    UNVERIFIED,
    access_words,
    conditions,
    elsewhere,
    provenance_words,
    settings,
    surroundings,
)
from unsir_bench.report.forget_words import forget_labels, is_drawn
from unsir_bench.report.mixtures import made_in
from unsir_bench.report.samples import DRAWN, recorded_samples
from unsir_bench.report.seeds import one_per_seed, with_curve_first
from unsir_bench.report.speedups import with_speedups

PLACE = ["dataset", "model", "forget"]  # within which runs may stand side by side
GROUP = [*PLACE, "method", "setting"]  # of the runs that differ by seed alone, within one sweep
# Runs that share these have the same original and, by seed, the same retrained model.
EXPERIMENT = [*PLACE, "key", "conditions", "seed", "origin"]
ACCESS = "forget / retain / stored"
PROVENANCE = "values"  # where a method's settings come from
METHOD_ORDER = ("original", "retrain", "unsir", "finetune")
SECOND_RETRAIN = "retrain (second)"
TIMED_APART = (
    "Seconds were not all taken alike ({}): compare their order of magnitude. Each ratio is of runs timed alike."
)


class Reference(NamedTuple):
    """A model that every run measured beside its own: the prefix of its fields, and the access it had."""

    prefix: str
    access: tuple[str, ...]


RETRAIN_ACCESS = ("retain_data", "initial_weights")
REFERENCES = {
    "original": Reference("original_", ()),
    "retrain": Reference("retrain_", RETRAIN_ACCESS),
    SECOND_RETRAIN: Reference("floor_", RETRAIN_ACCESS),
}


class Place(NamedTuple):
    """A data set, a model and a forget set, within which runs may be compared."""

    dataset: str
    model: str
    forget: str

    def __str__(self) -> str:
        return ", ".join(self)


@dataclass(frozen=True)
class Series:
    """Models that differ by seed alone.

    Attributes:
        values: a row of ``model_table`` for each seed, merged where several runs share one.
        runs: the rows behind them, one for each run.
    """

    place: Place
    label: str
    method: str
    values: pd.DataFrame
    runs: pd.DataFrame

    @property
    def setting(self) -> str:
        """What sets them apart from other models of their method; empty where nothing does."""
        return str(self.values["setting"].iloc[0])

    @property
    def reference(self) -> bool:
        """Whether it is a model that methods are compared with."""
        return self.method in REFERENCES

    @property
    def elsewhere(self) -> bool:
        """Whether no run of ours made it."""
        return any(record.checkpoints for record in self.values["record"])

    @property
    def conditions(self) -> str:
        """What sets the data, network, training or device of its models apart from others of its place, in words."""
        return str(self.values["conditions"].iloc[0])


def run_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run: what it is of, its status, every metric, and the gaps of its test accuracies to retraining."""
    around = surroundings(records)
    rows = [
        {
            "run_id": record.run_id,
            "dataset": record.dataset,
            "model": record.model,
            "forget": forget,
            "method": record.method,
            "setting": _joined(setting, outside, elsewhere(record)),
            "conditions": outside,
            "seed": record.seed,
            "status": record.status,
            ACCESS: UNKNOWN_ACCESS if record.checkpoints else access_words(record.access.get("declared", [])),
            PROVENANCE: provenance_words(record),
            "forget_samples_touched": record.access.get("forget", {}).get("samples"),
            "retain_samples_touched": record.access.get("retain", {}).get("samples"),
            "timed_on": record.timed_on,
            **made_in(record.environment),
            "origin": _origin(record),
            DRAWN: is_drawn(record),
            **recorded_samples(record),
            **recorded_bank(record),
            **record.metrics,
        }
        for record, forget, setting, outside in zip(
            records, forget_labels(records), settings(records), around, strict=True
        )
    ]
    runs = pd.DataFrame(rows)
    null = sorted({name for record in records for name, value in record.metrics.items() if value is None})
    # A column of nulls alone is one of numbers, too. Copied, so that pandas does not warn of a table in pieces.
    runs = runs.astype(dict.fromkeys(null, float)).copy()
    for kind in ("forget", "retain"):
        if {f"acc_{kind}_test", f"retrain_acc_{kind}_test"} <= set(runs.columns):
            runs[f"gap_{kind}_test"] = runs[f"acc_{kind}_test"] - runs[f"retrain_acc_{kind}_test"]
    return runs


def model_table(
    records: Sequence[RunRecord], fast: Mapping[str, float] | None = None, *, steps: bool = False
) -> pd.DataFrame:
    """One row per run and per reference of a seed, with speed-ups over retraining, fast retraining and Fisher.

    Original, retrained and second retrained model are rows once per experiment and seed, where they were not swept as
    methods, with the metrics and details that any run measured of them.

    Args:
        records: of one sweep, or of several.
        fast: ``fast_retrain_seconds`` of all sweeps; None: no such speed-up.
        steps: a run that forgets in sequence has one row after each step, instead of one at its end.

    Returns:
        ``run_table``'s columns and, for each row: ``record``, ``details``, ``prefix`` (of the model's fields in the
        record; empty for the run's own), ``label`` (method and setting), ``key``, ``shared`` (its ``Conditions``) and
        ``setting_under`` (the setting without what the conditions tell).
    """
    if not records:
        return pd.DataFrame(columns=[*GROUP, "status", "seed", "prefix"])
    parts = [part for record in records for part in (_after_steps(record) if steps else [(record, "")])]
    models = [record for record, _ in parts]
    shared, hardware = conditions(models), surroundings(models, ("hardware",))
    marks = list(map(elsewhere, models))
    columns: dict[str, Any] = {
        "record": models,
        "details": [record.details for record in models],
        "prefix": "",
        "shared": shared,
        "key": [each.key for each in shared],
        "hardware": hardware,
        "elsewhere": marks,
        "setting_under": [_joined(*words) for words in zip(settings(models), hardware, marks, strict=True)],
    }
    runs = run_table(models).assign(**columns)
    runs["forget"] += [suffix for _, suffix in parts]
    # Copied, so that columns of many metrics lie together: pandas warns of each that is added to scattered ones.
    table = pd.concat([runs, pd.DataFrame(list(_references(runs)))], ignore_index=True).copy()
    table["label"] = list(map(series_label, table["method"], table["setting"]))
    return with_speedups(table, fast or {})


def _origin(record: RunRecord) -> str:
    """What sets the original of a model made elsewhere apart from every other; empty for runs of ours."""
    return json.dumps([record.checkpoints.get(role) for role in ("original", "retrain")]) if record.checkpoints else ""


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _after_steps(record: RunRecord) -> Iterator[tuple[RunRecord, str]]:
    """The record; of a run that forgets in sequence one after each step, and in words what is gone then.

    Seconds are those of all steps so far; the retrained model's are of retraining once, without all that is gone. How
    many samples there are is recorded of the last step alone.
    """
    steps = record.details.get("steps") or []
    if record.status != "done" or not steps:
        yield record, ""
        return
    gone: list[int] = []
    of_classes = all(step["classes"] for step in steps)
    for place, step in enumerate(steps, start=1):
        gone = sorted([*gone, *step["classes"]])
        so_far = f", after {place}" + (f": {{{', '.join(map(str, gone))}}}" if of_classes else "")
        known = {"samples": record.details.get("samples")} if place == len(steps) else {}
        yield replace(record, metrics=step["metrics"], details=known), so_far


def _references(runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A row for each reference that finished runs of an experiment measured, unless that seed of it was swept."""
    done = runs[runs["status"] == "done"]
    plain = done[done["setting"] == done["conditions"]]
    swept = set(plain[[*EXPERIMENT, "method"]].itertuples(index=False, name=None))
    for experiment, members in done.groupby(EXPERIMENT, sort=False):
        for method, reference in REFERENCES.items():
            measured = _fields_of(reference.prefix, (record.metrics for record in members["record"]))
            details = _fields_of(reference.prefix, (record.details for record in members["record"]))
            if (*experiment, method) in swept or not (details or "acc_retain_test" in measured):
                continue
            first = with_curve_first(members).iloc[0]
            mark = UNVERIFIED if first["origin"] and method == "retrain" else first["elsewhere"]
            yield {
                **dict(zip(EXPERIMENT, experiment, strict=True)),
                **{name: first[name] for name in ("record", "shared", "hardware", "timed_on")},
                "method": method,
                "setting": _joined(first["conditions"], mark),
                "setting_under": _joined(first["hardware"], mark),
                "status": "done",
                "prefix": reference.prefix,
                "details": details,
                **({BANK: members[BANK].max()} if BANK in members else {}),
                ACCESS: access_words(reference.access),
                PROVENANCE: "",
                **measured,
                **_gaps(measured, _fields_of("retrain_", (record.metrics for record in members["record"]))),
                **(_retraining_costs(members) if method == "retrain" else {}),
            }


def _fields_of(prefix: str, holders: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of one model without their prefix, each from the first holder that has it."""
    found: dict[str, Any] = {}
    for holder in holders:
        for name, value in holder.items():
            if name.startswith(prefix) and value is not None:
                found.setdefault(name.removeprefix(prefix), value)
    return found


def _gaps(own: Mapping[str, float], retrained: Mapping[str, float]) -> dict[str, float]:
    names = [f"acc_{kind}_test" for kind in ("forget", "retain")]
    return {
        name.replace("acc", "gap"): own[name] - retrained[name] for name in names if name in own and name in retrained
    }


def _retraining_costs(members: pd.DataFrame) -> dict[str, Any]:
    """Seconds of retraining, and the machine of the run that knows them."""
    if "retrain_seconds" not in members or members["retrain_seconds"].isna().all():
        return {}
    timed = members[members["retrain_seconds"].notna()].iloc[0]
    once, so_far = timed["retrain_seconds"], timed.get("retrain_seconds_so_far")
    seconds = once if pd.isna(so_far) else so_far  # of methods' seconds of all requests, too
    return {"unlearn_seconds": seconds, "retrain_seconds": seconds, "timed_on": timed["timed_on"]}


def series_label(method: str, setting: str) -> str:
    """A method's name, with its setting where a sweep tried several."""
    return f"{method} ({setting})" if setting else method


def position(key: Any) -> tuple[object, ...]:
    """Where a ``GROUP`` stands: by data, model and forget set, then references first."""
    dataset, model, forget, method, setting = key
    rank = METHOD_ORDER.index(method) if method in METHOD_ORDER else len(METHOD_ORDER)
    return (dataset, model, len(forget), forget, rank, method, setting)


def groups(table: pd.DataFrame, by: Sequence[str] = GROUP) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """The rows by ``GROUP`` (or columns that stand for it), in the order of every table."""
    found = [(tuple(map(str, key)), rows) for key, rows in table.groupby(list(by), sort=False)]
    return sorted(found, key=lambda item: position(item[0]))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that comparisons of accuracy show: no second retrained model, no reference without its accuracies.

    Where no model of a place has A_Df, since what is forgotten has no test samples, a reference needs none either.
    """
    accuracies = table.reindex(columns=["acc_retain_test", "acc_forget_test"]).notna()
    retained, forgotten = accuracies["acc_retain_test"], accuracies["acc_forget_test"]
    needed = forgotten.groupby([table[name] for name in PLACE]).transform("any").astype(bool)
    known = retained & (forgotten | ~needed)
    return table[((table["prefix"] == "") | known) & (table["method"] != SECOND_RETRAIN)]


def series_of(table: pd.DataFrame) -> list[Series]:
    """The finished models of a ``model_table`` by place, method and setting, in the order of the tables."""
    shown = compared(table)
    return [
        Series(Place(*key[:3]), series_label(*key[3:]), key[3], one_per_seed(rows), rows)
        for key, rows in groups(shown[shown["status"] == "done"])
    ]


def retrain_gaps(runs: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """By place, in words, for how many finished runs no retrained model was measured; others are left out.

    A retrained model that was swept as a method counts for the runs of its seed.
    """
    done = runs[runs["status"] == "done"]
    if done.empty:
        return {}
    name = "retrain_acc_retain_test"
    swept = (done["method"] == "retrain").groupby([done[column] for column in (*PLACE, "seed")]).transform("any")
    known = swept | done[name].notna() if name in done else swept
    return {
        tuple(map(str, place)): f"no retrained model was measured for {(~found).sum()} of {len(found)} runs"
        for place, found in known.groupby([done[column] for column in PLACE], sort=False)
        if not found.all()
    }


def timed_on(runs: pd.DataFrame) -> list[str]:
    """What the seconds of finished runs depend on, each once, in words."""
    return sorted(set(runs.loc[runs["status"] == "done", "timed_on"]))


def timed_apart(runs: pd.DataFrame) -> str:
    """A warning where seconds of one data set and model were taken on several machines or numbers of threads."""
    by_network = [timed_on(found) for _, found in runs.groupby(["dataset", "model"])]
    apart = {words for found in by_network if len(found) > 1 for words in found}
    return TIMED_APART.format("; ".join(sorted(apart))) if apart else ""
