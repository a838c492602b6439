"""A_Dr and A_Df at the stages that methods mark, such as between impair and repair, and what followed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.data import GROUP, PLACE, groups, run_table
from unsir_bench.report.mixtures import mixture_words
from unsir_bench.report.samples import DRAWN, INTERVALS, samples_of, share_in_words
from unsir_bench.report.seeds import one_per_seed
from unsir_bench.report.statistics import with_seeds
from unsir_bench.report.tables.table import MIXED, without_empty

BEFORE, END = "original", "end"
SHOWN = {"acc_retain_test": "A_Dr", "acc_forget_test": "A_Df"}
LEGEND = (
    f"Accuracies on test data at each stage that a method marks, measured outside its clock: {INTERVALS}. *Since* is "
    "the change, in points, from the stage before; a dash where other classes or samples were forgotten by then. "
    f"(marked): a method's own stage of the name {BEFORE} or {END}."
)


def stage_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row of words for each stage of each method of finished runs; none where no run marked one.

    The original stands before the first stage, the unlearned model after the last. A run that forgets in sequence has
    the stages of all its steps, of which each counts what is forgotten by then.
    """
    marked = [record for record in records if record.status == "done" and record.details.get("stages")]
    if not marked:
        return []
    table = run_table(marked).assign(record=pd.Series(marked, dtype=object))
    rows: list[dict[str, str]] = []
    for key, models in groups(table):
        place = table[(table[PLACE] == key[: len(PLACE)]).all(axis=1)]
        by_stage = pd.DataFrame([point for _, row in models.iterrows() for point in _course(row)])
        previous: pd.DataFrame | None = None
        mixed = mixture_words(models["record"].tolist())
        for stage, points in by_stage.groupby("stage", sort=False):
            own = one_per_seed(points)
            step = points["step"].iloc[0]
            samples = _samples(place, by_stage, step)
            rows.append({
                **dict(zip(GROUP, key, strict=True)), "n": str(len(own)), "stage": str(stage),
                **{
                    f"{title} %": _cell(own, name, samples[name])
                    for name, title in SHOWN.items()
                },
                **_changes(own, previous if previous is not None and step == previous["step"].iloc[0] else None),
                MIXED: mixed,
            })  # fmt: skip
            previous = own
    return without_empty(rows, ("setting", MIXED))


def _cell(own: pd.DataFrame, name: str, samples: int | None) -> str:
    values = own[name].dropna().tolist()
    return with_seeds(share_in_words(values, samples), len(values), len(own))


def _samples(place: pd.DataFrame, by_stage: pd.DataFrame, step: int) -> dict[str, int | None]:
    """Of how many samples the shares of a step are; records say it of the last step, other steps' shares tell it."""
    rows = place if step == by_stage["step"].max() else by_stage[by_stage["step"] == step]
    return {name: samples_of(rows, name) for name in SHOWN}


def _changes(own: pd.DataFrame, previous: pd.DataFrame | None) -> dict[str, str]:
    """The mean change of each accuracy over the seeds that both stages have."""
    found = {}
    for name, title in SHOWN.items():
        words = "–"
        if previous is not None:
            change = (own.set_index("seed")[name] - previous.set_index("seed")[name]).dropna()
            words = f"{100 * change.mean():+.1f}" if len(change) else words
        found[f"{title} since"] = words
    return found


def _course(row: pd.Series) -> Iterator[dict[str, Any]]:
    """The accuracies of a run from the original on, one entry a stage, with its seed and step.

    Those of the original are on what is forgotten in the end.
    """
    record: RunRecord = row["record"]
    metrics, stages = record.metrics, record.details["stages"]
    last = max(len(record.details.get("steps") or []) - 1, *(stage["step"] for stage in stages))
    shared = {"seed": record.seed, DRAWN: row[DRAWN]}
    yield shared | _point(BEFORE, last, {name: metrics.get(f"original_{name}") for name in SHOWN})
    repeated, seen = Counter(map(_name, stages)), Counter[str]()
    for stage in stages:
        name = _name(stage)
        seen[name] += 1
        yield shared | _point(f"{name}, round {seen[name]}" if repeated[name] > 1 else name, stage["step"], stage)
    yield shared | _point(END, last, metrics)


def _name(stage: Mapping[str, Any]) -> str:
    name = f"{stage['stage']} (marked)" if stage["stage"] in (BEFORE, END) else str(stage["stage"])
    return f"step {stage['step'] + 1}: {name}" if stage["step"] else name


def _point(stage: str, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"stage": stage, "step": step, **{name: values.get(name) for name in SHOWN}}
