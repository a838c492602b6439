"""A_Dr and A_Df at the stages that methods mark, such as between impair and repair, and what followed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from unsir_bench.records import RunRecord
from unsir_bench.report.data import GROUP, groups, run_table
from unsir_bench.report.samples import samples_of, share_in_words
from unsir_bench.report.seeds import one_per_seed
from unsir_bench.report.tables.table import without_empty

BEFORE, END = "original", "end"
SHOWN = {"acc_retain_test": "A_Dr", "acc_forget_test": "A_Df"}
LEGEND = (
    "Accuracies on test data at each stage that a method marks, measured outside its clock. *Since* is the change, in "
    "points, from the stage before."
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
        samples = {name: samples_of(table[table["forget"] == key[2]], name) for name in SHOWN}
        by_stage = pd.DataFrame([point for _, row in models.iterrows() for point in _course(row["record"])])
        previous: pd.DataFrame | None = None
        for stage, points in by_stage.groupby("stage", sort=False):
            own = one_per_seed(points)
            rows.append({
                **dict(zip(GROUP, key, strict=True)), "n": str(len(own)), "stage": str(stage),
                **{
                    f"{title} %": share_in_words(own[name].dropna().tolist(), samples[name])
                    for name, title in SHOWN.items()
                },
                **_changes(own, previous),
            })  # fmt: skip
            previous = own
    return without_empty(rows, ("setting",))


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


def _course(record: RunRecord) -> Iterator[dict[str, Any]]:
    """The accuracies of a run from the original on, one entry a stage, with its seed."""
    metrics = record.metrics
    yield _point(record, BEFORE, {name: metrics.get(f"original_{name}") for name in SHOWN})
    stages = record.details["stages"]
    repeated, seen = Counter(map(_name, stages)), Counter[str]()
    for stage in stages:
        name = _name(stage)
        seen[name] += 1
        yield _point(record, f"{name}, round {seen[name]}" if repeated[name] > 1 else name, stage)
    yield _point(record, END, metrics)


def _name(stage: Mapping[str, Any]) -> str:
    return f"step {stage['step'] + 1}: {stage['stage']}" if stage["step"] else str(stage["stage"])


def _point(record: RunRecord, stage: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"seed": record.seed, "stage": stage, **{name: values.get(name) for name in SHOWN}}
