"""The comparison table of a sweep, from its records alone: on the terminal, as Markdown and as CSV."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unsir_bench.records import RunRecord, records_below
from unsir_bench.report.statistics import mean_and_half_width

GROUP = ["dataset", "model", "forget", "method", "setting"]
SHOWN = {
    "acc_forget_test": ("A_Df %", 100.0),
    "acc_retain_test": ("A_Dr %", 100.0),
    "gap_forget_test": ("A_Df gap", 100.0),
    "gap_retain_test": ("A_Dr gap", 100.0),
    "unlearn_seconds": ("seconds", 1.0),
    "speedup_vs_retrain": ("speed-up", 1.0),
    "speedup_vs_fisher": ("vs Fisher", 1.0),
}
ONLY_WHERE_USED = ("setting", "A_Df gap", "A_Dr gap", "vs Fisher", "not done")
ACCESS = "forget / retain / stored"
NOTHING = "–"
NO_LIMIT = 10_000
NO_SETTINGS = (
    "noise.kept",
)  # what a method keeps beside the record changes no result: runs that differ in it alone are one
# What of a data set changes no pixel of a test image: training recipes say what they use of it themselves.
NOT_DATA = {"name", "root", "batch_size", "unsir_batch_size", "retain_share", "flip", "crop_padding"}
NOT_MODEL = {"name", "cpu_threads", "channels_last"}
SURROUNDINGS = ("dataset", "model", "train", "hardware")
NUMERICS = ("devices", "precision", "channels_last", "compile", "tf32", "deterministic")  # of the hardware
TIMED_APART = (
    "Seconds were not all taken alike ({}): compare their order of magnitude. Each ratio is of runs timed alike."
)
REFERENCES: dict[str, tuple[str, ...]] = {"original": (), "retrain": ("retain_data", "initial_weights")}
METHOD_ORDER = ("original", "retrain", "unsir", "finetune")


def load_records(folder: Path | str) -> pd.DataFrame:
    """The records of a sweep, one row a run, for a notebook: ``load_records("multirun_outputs/mine")``."""
    return frame([record for _, record in records_below(Path(folder))])


def frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row per run: identifying columns, status, and every metric."""
    rows = [
        {
            "run_id": record.run_id,
            "dataset": record.dataset,
            "model": record.model,
            "forget": forget_label(record),
            "method": record.method,
            "setting": ", ".join(filter(None, (setting, around))),
            "conditions": around,
            "seed": record.seed,
            "status": record.status,
            ACCESS: access_words(record.access.get("declared", [])),
            "forget_samples_touched": record.access.get("forget", {}).get("samples"),
            "retain_samples_touched": record.access.get("retain", {}).get("samples"),
            "timed_on": record.timed_on,
            **record.metrics,
        }
        for record, (setting, around) in zip(records, settings_in_words(records), strict=True)
    ]
    runs = pd.DataFrame(rows)
    for kind in ("forget", "retain"):
        if {f"acc_{kind}_test", f"retrain_acc_{kind}_test"} <= set(runs.columns):
            runs[f"gap_{kind}_test"] = runs[f"acc_{kind}_test"] - runs[f"retrain_acc_{kind}_test"]
    return runs


def access_words(declared: Sequence[str]) -> str:
    """The declared access in three words: forget data, retain data, stored state."""
    retain = "all" if "retain_data" in declared else "subset" if "retain_subset" in declared else NOTHING
    stored = {"train_history": "training log", "initial_weights": "initial weights"}
    kept = [words for name, words in stored.items() if name in declared]
    return " / ".join(["all" if "forget_data" in declared else NOTHING, retain, ", ".join(kept) or NOTHING])


def settings_in_words(records: Sequence[RunRecord], sections: Sequence[str] = SURROUNDINGS) -> list[tuple[str, str]]:
    """For each record what sets it apart from others of its place and name: in its method, and around it.

    Args:
        records: among which they are compared.
        sections: of the configuration, taken as what is around a method.
    """
    return list(zip(_settings(records), _surroundings(records, sections), strict=True))


def _settings(records: Sequence[RunRecord]) -> list[str]:
    """For each record, in words, what sets it apart from other runs of its method on the same data and model."""
    flat = [
        {key: value for key, value in _flattened(record.config.get("method", {})) if key not in NO_SETTINGS}
        for record in records
    ]
    differing = _differing([(record.dataset, record.model, record.method) for record in records], flat)
    return [
        ", ".join(f"{key.removeprefix('train.')}={values[key]}" for key in keys)
        for values, keys in zip(flat, differing, strict=True)
    ]


def _surroundings(records: Sequence[RunRecord], sections: Sequence[str]) -> list[str]:
    """For each record, in words, what sets its data, network, training or hardware apart under the same names.

    What only one of two records knows, since the other is older, sets nothing apart.
    """
    flat = [dict(_surrounding(record, sections)) for record in records]
    places = [(record.dataset, record.model) for record in records]
    known: dict[tuple[str, str], set[str]] = {}
    for place, values in zip(places, flat, strict=True):
        known[place] = known.get(place, set(values)) & set(values)
    shared = [
        {key: value for key, value in values.items() if key in known[place]}
        for place, values in zip(places, flat, strict=True)
    ]
    differing = _differing(places, shared)
    return [", ".join(f"{key}={values[key]}" for key in keys) for values, keys in zip(shared, differing, strict=True)]


def _surrounding(record: RunRecord, sections: Sequence[str]) -> Iterator[tuple[str, Any]]:
    hardware = record.config.get("hardware") or {}
    around = {
        "dataset": without(record.config.get("dataset"), NOT_DATA),
        "model": without(record.config.get("model"), NOT_MODEL),
        "train": without(record.config.get("train"), {"name"}),
        "hardware": {key: hardware[key] for key in NUMERICS if key in hardware},
    }
    yield from _flattened({name: around[name] for name in sections})


def without(section: Any, names: set[str]) -> dict[str, Any]:
    """A section of a configuration less some of its keys."""
    return {key: value for key, value in (section or {}).items() if key not in names}


def _differing(places: Sequence[tuple[str, ...]], flat: Sequence[dict[str, Any]]) -> list[list[str]]:
    """For each of some settings the keys in which another one of the same place differs."""
    pairs = list(zip(places, flat, strict=True))
    alike = Counter((place, key, repr(value)) for place, settings in pairs for key, value in settings.items())
    everyone = Counter(places)
    return [
        [key for key, value in settings.items() if alike[place, key, repr(value)] < everyone[place]]
        for place, settings in pairs
    ]


def _flattened(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def forget_label(record: RunRecord) -> str:
    """The forget set in words; classes drawn anew for each seed are one set of their number."""
    drawn = record.config.get("forget", {}).get("random_k")
    return f"{record.forget_set} ({drawn})" if drawn else _with_classes(record)


def _with_classes(record: RunRecord) -> str:
    """The name and the classes; of a sequence those of each step, since their order matters."""
    groups = record.forget_steps if len(record.forget_steps) > 1 else [record.forget_classes]
    return f"{record.forget_set} {', '.join('{' + ', '.join(map(str, group)) + '}' for group in groups)}"


def retrain_gaps(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], str]:
    """By data set, model and forget set, in words, for how many finished runs no retrained model was measured.

    A retrained model that was swept as a method counts for the runs of its seed. Places that lack none are left out.
    """
    done = [
        (record.dataset, record.model, forget_label(record), record) for record in records if record.status == "done"
    ]
    swept = {(*place, record.seed) for *place, record in done if record.method == "retrain"}
    found: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for dataset, model, forget, record in done:
        measured = record.metrics.get("retrain_acc_retain_test") is not None
        found[dataset, model, forget].append(measured or (dataset, model, forget, record.seed) in swept)
    return {
        place: f"no retrained model was measured for {known.count(False)} of {len(known)} runs"
        for place, known in found.items()
        if not all(known)
    }


def timed_apart(records: Sequence[RunRecord]) -> str:
    """A warning where seconds of one data set and model were taken on several machines or numbers of threads."""
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        if record.status == "done":
            places[record.dataset, record.model].add(record.timed_on)
    apart = {words for found in places.values() if len(found) > 1 for words in found}
    return TIMED_APART.format("; ".join(sorted(apart))) if apart else ""


def with_references(runs: pd.DataFrame) -> pd.DataFrame:
    """Add original and retrained models as rows where they were not swept as methods: every run measured both."""
    done = runs[runs["status"] == "done"]
    swept = {tuple(key) for key in done[[*GROUP, "seed"]].itertuples(index=False)}
    added = {}
    for row in done.to_dict("records"):
        for method, own in REFERENCES.items():
            kinds = ("forget", "retain")
            metrics = {f"acc_{kind}_test": row.get(f"{method}_acc_{kind}_test") for kind in kinds}
            place = (row["dataset"], row["model"], row["forget"], method, row["conditions"])
            if (*place, row["seed"]) not in swept and not any(
                value is None or pd.isna(value) for value in metrics.values()
            ):
                gaps = {f"gap_{kind}_test": _gap(metrics[f"acc_{kind}_test"], row, kind) for kind in kinds}
                seconds = row.get("retrain_seconds")
                costs = {"unlearn_seconds": seconds, "speedup_vs_retrain": 1.0 if pd.notna(seconds) else None}
                identity = {**dict(zip(GROUP, place, strict=True)), "seed": row["seed"], "status": "done"}
                identity["timed_on"] = row["timed_on"]
                rest = {ACCESS: access_words(own), **(costs if method == "retrain" else {})}
                added[place, row["seed"]] = {**identity, **metrics, **gaps, **rest}
    return pd.concat([runs, pd.DataFrame(list(added.values()))]) if added else runs


def _gap(value: Any, row: Mapping[Any, Any], kind: str) -> float | None:
    retrained = row.get(f"retrain_acc_{kind}_test")
    return None if value is None or retrained is None else value - retrained


def with_fisher_speedup(runs: pd.DataFrame) -> pd.DataFrame:
    """Add Fisher's seconds on the same data, model, forget set, seed and machine over each run's own."""
    pairing = ["dataset", "model", "forget", "seed", "timed_on"]
    fisher = runs[(runs["method"] == "fisher") & (runs["status"] == "done")]
    if "unlearn_seconds" not in runs or fisher.empty:
        return runs
    seconds = fisher.groupby(pairing)["unlearn_seconds"].mean().rename("fisher_seconds")
    joined = runs.join(seconds, on=pairing)
    worked = joined["unlearn_seconds"].where(joined["method"] != "original")
    return joined.assign(speedup_vs_fisher=joined["fisher_seconds"] / worked)


def summary(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row of words per data set, model, forget set and method: mean ± 95 % interval over seeds, with n."""
    if not records:
        return []
    runs = with_fisher_speedup(with_references(frame(records)))
    rows = []
    for key, group in sorted(runs.groupby(GROUP, sort=False), key=lambda item: position(item[0])):
        done = group[group["status"] == "done"]
        cells = dict(zip(GROUP, map(str, key), strict=True))
        cells["n"] = str(len(done))
        for metric, (title, scale) in SHOWN.items():
            values = done[metric].dropna() if metric in done else pd.Series(dtype=float)
            cells[title] = _cell([float(value) * scale for value in values])
        cells[ACCESS] = group[ACCESS].iloc[0]
        others = group[group["status"] != "done"]["status"].value_counts()
        cells["not done"] = ", ".join(f"{count} {status}" for status, count in others.items())
        rows.append(cells)
    unused = [name for name in ONLY_WHERE_USED if all(row[name] in ("", NOTHING) for row in rows)]
    return [{name: cell for name, cell in row.items() if name not in unused} for row in rows]


def position(key: Any) -> tuple[object, ...]:
    """Sort by data, model and forget set, then references first."""
    dataset, model, forget, method, setting = key
    rank = METHOD_ORDER.index(method) if method in METHOD_ORDER else len(METHOD_ORDER)
    return (dataset, model, len(forget), forget, rank, method, setting)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return NOTHING
    mean, half = mean_and_half_width(values)
    digits = 2 if abs(mean) < 1000 else 0
    return f"{mean:.{digits}f}" if math.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """A GitHub table."""
    if not rows:
        return "No records.\n"
    titles = list(rows[0])
    lines = [titles, ["---"] * len(titles), *([row[title] for title in titles] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def print_rows(rows: Sequence[dict[str, str]], title: str) -> None:
    """Show a table on the terminal."""
    table = Table(title=escape(title), title_justify="left")
    for name in rows[0] if rows else []:
        table.add_column(name, justify="left" if name in GROUP else "right", no_wrap=name in GROUP, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row.values()))
    console = Console()
    if not console.is_terminal:
        # A pipe or a log has no width of its own: a table squeezed into 80 columns would lose numbers.
        console = Console(width=NO_LIMIT)
    console.print(table)


def step_rows(record: RunRecord) -> Iterator[dict[str, str]]:
    """One row of words for each step of a run that forgets in sequence: all that was forgotten by then."""
    shown = {
        "acc_forget_test": ("A_Df %", 100.0),
        "acc_retain_test": ("A_Dr %", 100.0),
        "retrain_acc_retain_test": ("retrain A_Dr %", 100.0),
        "mia_loss_accuracy": ("MIA (loss) %", 100.0),
        "probe_linear_auc": ("linear probe AUC %", 100.0),
        "anamnesis_index": ("AIN", 1.0),
        "unlearn_seconds": ("seconds so far", 1.0),
    }
    for place, step in enumerate(record.details.get("steps", []), start=1):
        cells = {"step": str(place), "forgotten now": ", ".join(map(str, step["classes"]))}
        for name, (title, scale) in shown.items():
            value = step["metrics"].get(name)
            cells[title] = NOTHING if value is None else f"{value * scale:.2f}"
        yield cells


def job_rows(record: RunRecord) -> Iterator[dict[str, str]]:
    """Original, retrained and unlearned model of one run, side by side."""
    for title, prefix in (("original", "original_"), ("retrain", "retrain_"), (record.method, "")):
        seconds = {"original": None, "retrain": record.metrics.get("retrain_seconds")}.get(
            title, record.metrics.get("unlearn_seconds")
        )
        cells = {"model": title}
        for name in ("forget_test", "retain_test", "forget_train", "retain_train"):
            kind, split = name.split("_")
            value = record.metrics.get(f"{prefix}acc_{name}")
            cells[f"A_D{kind[0]} {split} %"] = "–" if value is None else f"{100 * value:.2f}"
        cells["seconds"] = "–" if seconds is None else f"{seconds:.2f}"
        yield cells
