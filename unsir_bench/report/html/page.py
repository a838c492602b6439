"""The dashboard: one HTML file that holds the tables and plots of sweeps, its scripts and its styles.

It is read from disk: nothing on it asks the network for anything, and its own content policy forbids that. Text from
records reaches the page through Jinja's escaping (HTML), through ``tojson`` (scripts) or escaped for Plotly.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import itables.options
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from unsir_bench.records import RECORD_FILE, RunRecord, records_below
from unsir_bench.report.html.plot_parts import Plot
from unsir_bench.report.html.plots import plots
from unsir_bench.report.html.tables import (
    Table,
    note_table,
    run_table,
    step_table,
    summary_table,
    verdict_table,
)
from unsir_bench.report.run_series import Place, Run, series_label, series_of
from unsir_bench.report.tables.table import GROUP, frame, position, retrain_gaps, timed_apart, with_references
from unsir_bench.report.tables.verdicts import LEGEND
from unsir_bench.runtime.files import write_atomic

NO_SWEEPS = ("store", "report")


@dataclass(frozen=True)
class Sweep:
    """The records in a folder.

    Attributes:
        found: path and record of every run, in order of run id.
        unreadable: path of each record that cannot be read, and why.
    """

    folder: Path
    found: list[tuple[Path, RunRecord]]
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def records(self) -> list[RunRecord]:
        """Every record that can be read."""
        return [record for _, record in self.found]


@dataclass(frozen=True)
class Page:
    """What was written: where, from how many records, and the paths that could not be read."""

    path: Path
    runs: int
    unreadable: list[Path]


@dataclass(frozen=True)
class SweepView:
    """A sweep's section on the page."""

    key: str
    name: str
    folder: str
    link: str
    facts: dict[str, str]
    mixed: str
    places: list[str]
    summary: Table
    runs: Table
    verdicts: Table | None
    steps: Table | None
    notes: Table | None
    plots: list[Plot]
    environments: list[dict[str, Any]]
    unreadable: list[tuple[str, str]]


def sweep_folders(folder: Path) -> list[Path]:
    """The folder itself or those below it, at any depth, that hold run folders with records; store and report apart."""
    sweeps = {path.parent.parent for path in folder.rglob(f"*/{RECORD_FILE}")}
    return sorted(sweep for sweep in sweeps if not set(sweep.relative_to(folder).parts) & set(NO_SWEEPS))


def read_sweep(folder: Path) -> Sweep:
    """Every record in the run folders of a sweep; those that cannot be read are named with the reason."""
    found = list(records_below(folder))
    read = {path for path, _ in found}
    missing = [path for path in sorted(folder.glob(f"*/{RECORD_FILE}")) if path not in read]
    return Sweep(folder, found, [(path, _why_unreadable(path)) for path in missing])


def _why_unreadable(path: Path) -> str:
    try:
        RunRecord.read(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return "it changed while the page was made"


def write_page(sweeps: Sequence[Sweep], output: Path) -> Page:
    """Write the page for sweeps, whole or not at all.

    Args:
        sweeps: at least one record among them.
        output: the HTML file; links to runs are relative to its folder.

    Raises:
        ValueError: no sweep holds a record that can be read.
    """
    runs = sum(len(sweep.found) for sweep in sweeps)
    if not runs:
        raise ValueError("no record to report")
    views = [_view(f"s{place}", sweep, output.parent) for place, sweep in enumerate(sweeps)]
    write_atomic(output, _rendered(views, sweeps))
    return Page(output, runs, [path for sweep in sweeps for path, _ in sweep.unreadable])


def _rendered(views: Sequence[SweepView], sweeps: Sequence[Sweep]) -> str:
    environment = Environment(
        loader=PackageLoader("unsir_bench.report.html"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    tables_script = Path(itables.options.dt_bundle)
    records = [record for sweep in sweeps for record in sweep.records]
    page = partial(
        environment.get_template("report.html.j2").render,
        sweeps=views,
        overview=_facts(records),
        newest=_time(max(record.finished for record in records)),
        mixed=_mixed(records),
        legend=LEGEND,
        plotly_script=get_plotlyjs(),
        # As text in a script element the bundle's own "<!--" and "<script" would end it in the wrong place.
        tables_script=base64.b64encode(tables_script.read_bytes()).decode(),
        tables_style=tables_script.with_suffix(".css").read_text(encoding="utf-8"),
    )
    # The same records give the same page; no text in them can name a digest that depends on that text.
    draft = page(nonce="")
    return page(nonce=hashlib.sha256(draft.encode()).hexdigest())


def _view(key: str, sweep: Sweep, root: Path) -> SweepView:
    runs, values = _runs(sweep, root)
    done = [run for run in runs if run.record.status == "done"]
    table = with_references(values) if runs else values
    return SweepView(
        key=key,
        name=sweep.folder.resolve().name,
        folder=_shown(sweep.folder, root),
        link=_link(sweep.folder, root) + "/",
        facts=_facts(sweep.records),
        mixed=" ".join(filter(None, (words(sweep.records) for words in (_mixed, _retrain_gaps, timed_apart)))),
        places=list(dict.fromkeys(str(run.place) for run in runs)),
        summary=summary_table(f"{key}-summary", runs, values["setting"].tolist() if runs else []),
        runs=run_table(f"{key}-runs", runs, values) if runs else Table(f"{key}-runs", [], []),
        verdicts=verdict_table(f"{key}-verdicts", values) if runs else None,
        steps=step_table(f"{key}-steps", runs),
        notes=note_table(f"{key}-notes", sweep.records),
        plots=plots(series_of(table), done) if runs else [],
        environments=list(_environments(sweep.records)),
        unreadable=[(_shown(path, root), why) for path, why in sweep.unreadable],
    )


def _runs(sweep: Sweep, root: Path) -> tuple[list[Run], pd.DataFrame]:
    """The runs of a sweep in the order of the tables, and the frame of them, row by row the same runs."""
    values = frame(sweep.records)
    if values.empty:
        return [], values.assign(status=[])
    values["link"] = [_link(path, root) for path, _ in sweep.found]
    order = sorted(range(len(values)), key=lambda row: (*position([values[name].iloc[row] for name in GROUP]), row))
    values = values.iloc[order].reset_index(drop=True)
    runs = [
        Run(sweep.found[row][1], Place(dataset, model, forget), series_label(method, setting), link)
        for row, (dataset, model, forget, method, setting, link) in zip(
            order, values[[*GROUP, "link"]].itertuples(index=False), strict=True
        )
    ]
    return runs, values


def _link(path: Path, root: Path) -> str:
    """A relative address: every character that has a meaning of its own in one is quoted."""
    return quote(_shown(path, root))


def _shown(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()


def _facts(records: Sequence[RunRecord]) -> dict[str, str]:
    """What the records are of, in words: shared settings once, others listed."""
    statuses = Counter(record.status for record in records)
    started = sorted(filter(None, (record.started for record in records)))
    finished = sorted(filter(None, (record.finished for record in records)))
    return {
        "runs": ", ".join([f"{count} {status}" for status, count in statuses.most_common()]) or "none",
        "when": " to ".join(dict.fromkeys(map(_time, [*started[:1], *finished[-1:]]))),
        "data": _listed(_data_words(record) for record in records),
        "model": _listed(_model_words(record) for record in records),
        "original trained": _listed(_training_words(record) for record in records),
        "metrics preset": _listed(
            str(record.config.get("metrics", {}).get("name", "not recorded")) for record in records
        ),
        "forget sets": _listed(_forget_words(record) for record in records),
        "seeds": _listed(str(seed) for seed in sorted({record.seed for record in records})),
        "methods": str(len({record.method for record in records})),
    }


def _listed(words: Iterator[str] | Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(words))


def _data_words(record: RunRecord) -> str:
    config = record.config.get("dataset", {})
    size, subset = config.get("image_size"), config.get("subset")
    share = config.get("validation_share")
    words = [
        record.dataset,
        f"{subset} images a class at most" if subset else "all images",
        *([f"{size} × {size} pixels"] if size else []),
        *([f"{100 * share:g} % of the training images held out, which stand for the test data"] if share else []),
    ]
    return ", ".join(words)


def _model_words(record: RunRecord) -> str:
    config = record.config.get("model", {})
    width = config.get("width")
    return record.model + (f", width {width}" if width else "") + (", pretrained" if config.get("pretrained") else "")


def _training_words(record: RunRecord) -> str:
    config = record.config.get("train", {})
    epochs = config.get("epochs")
    return f"{config.get('name', '')}, {epochs} epochs" if epochs else "not recorded"


def _forget_words(record: RunRecord) -> str:
    return f"{record.forget_set} ({', '.join(record.forget_names)})"


def _mixed(records: Sequence[RunRecord]) -> str:
    """A warning where records of several data sets or models stand side by side."""
    datasets, models = ({getattr(record, name) for record in records} for name in ("dataset", "model"))
    kinds = [f"{len(found)} {kind}" for found, kind in ((datasets, "data sets"), (models, "models")) if len(found) > 1]
    if not kinds:
        return ""
    return (
        f"{' and '.join(kinds)} stand here side by side. They are never averaged together: every row, point and curve "
        "belongs to one of each."
    )


def _retrain_gaps(records: Sequence[RunRecord]) -> str:
    """A warning where finished runs have no retrained model to be compared with."""
    found = [f"{', '.join(place)}: {words}" for place, words in retrain_gaps(records).items()]
    return f"{'; '.join(found)}. What compares with it is missing there." if found else ""


def _environments(records: Sequence[RunRecord]) -> Iterator[dict[str, Any]]:
    """Each environment that records name, the most frequent first: ``runs``, ``facts`` and ``packages``."""
    texts = Counter(json.dumps(record.environment, sort_keys=True) for record in records)
    for text, count in texts.most_common():
        environment: Mapping[str, Any] = json.loads(text)
        packages = environment.get("packages") or {}
        facts = {name.replace("_", " "): _plain(value) for name, value in environment.items() if name != "packages"}
        yield {"runs": count, "facts": facts, "packages": packages if isinstance(packages, dict) else {}}


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(stamp: str) -> str:
    """An ISO time of a record as people read it."""
    return stamp[:16].replace("T", " ") + (" UTC" if stamp.endswith("+00:00") else stamp[19:])
