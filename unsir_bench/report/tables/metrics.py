"""Every metric of a sweep beside those of its references: one table per data set, model and forget set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unsir_bench.records import RunRecord
from unsir_bench.report.statistics import mean_and_half_width
from unsir_bench.report.tables.table import GROUP, NOTHING, frame, markdown, position

REFERENCES = {"original_": "original", "retrain_": "retrain", "floor_": "second retrain"}
DERIVED = (*REFERENCES, "gap_", "floor_gap_")
# Of the references a run knows these under the names of its own: they are no scores of a model.
NOT_SCORES = {"retrain_seconds", "retrain_steps", "original_seconds", "floor_seconds"}


def metric_tables(records: Sequence[RunRecord]) -> str:
    """All tables as Markdown: a row per metric, a column per model; mean ± 95 % interval over seeds."""
    groups: dict[tuple[str, str, str], list[tuple[str, RunRecord]]] = defaultdict(list)
    done = [record for record in records if record.status == "done"]
    if not done:
        return "No finished runs.\n"
    pairs = list(zip(done, frame(done).to_dict("records"), strict=True))
    for record, row in sorted(pairs, key=lambda pair: position([pair[1][name] for name in GROUP])):
        name = f"{row['method']} ({row['setting']})" if row["setting"] else row["method"]
        groups[row["dataset"], row["model"], row["forget"]].append((name, record))
    return "\n".join(
        f"**{dataset}, {model}, {forget}**\n\n{markdown(list(_rows(members)))}"
        for (dataset, model, forget), members in groups.items()
    )


def _rows(members: Sequence[tuple[str, RunRecord]]) -> Iterator[dict[str, str]]:
    """One row of words per metric; the references' columns come first, from whichever runs know them."""
    columns: dict[str, list[tuple[RunRecord, str]]] = defaultdict(list)
    for prefix, title in REFERENCES.items():
        by_seed = {record.seed: (record, prefix) for _, record in members if _knows(record, prefix)}
        if by_seed:
            columns[f"{title} (n = {len(by_seed)})"] = list(by_seed.values())
    for name in dict.fromkeys(name for name, _ in members if name not in REFERENCES.values()):
        own = [(record, "") for other, record in members if other == name]
        columns[f"{name} (n = {len(own)})"] = own
    for metric in _metrics(members):
        yield {"metric": metric, **{title: _cell(metric, models) for title, models in columns.items()}}


def _knows(record: RunRecord, prefix: str) -> bool:
    return record.metrics.get(f"{prefix}acc_retain_test") is not None


def _metrics(members: Sequence[tuple[str, RunRecord]]) -> list[str]:
    """Names in the order of the records; what no run has a number for is left out, and so are parts of a method."""
    found = dict.fromkeys(name for _, record in members for name in record.metrics if not name.startswith(DERIVED))
    own_parts = {name for name in found if name.endswith(("_seconds", "_steps")) and name != "unlearn_seconds"}
    return [name for name in found if name not in own_parts | NOT_SCORES and not name.startswith("relearn_epochs")]


def _cell(metric: str, models: Sequence[tuple[RunRecord, str]]) -> str:
    values = [_value(metric, record, prefix) for record, prefix in models]
    numbers = [value for value in values if isinstance(value, int | float)]
    words = [value for value in values if isinstance(value, str)]
    if words:  # a censored run has no number: it is never averaged
        return ", ".join([*(f"{value:g}" for value in sorted(numbers)), *words])
    if not numbers:
        return NOTHING
    mean, half = mean_and_half_width([float(value) for value in numbers])
    return f"{mean:.4g}" if len(numbers) == 1 else f"{mean:.4g} ± {half:.2g}"


def _value(metric: str, record: RunRecord, prefix: str) -> float | int | str | None:
    if metric == "unlearn_seconds" and prefix == "retrain_":
        return record.metrics.get("retrain_seconds")
    if metric == "relearn_batches" and record.metrics.get(f"{prefix}relearn_censored"):
        cap: Mapping[str, Any] = record.config["metrics"]["relearn"]
        return f">{cap['cap']}"
    return record.metrics.get(prefix + metric)
