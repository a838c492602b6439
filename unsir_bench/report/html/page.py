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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import itables.options
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from unsir_bench.records import RunRecord
from unsir_bench.report.data import GROUP, PLACE, Place, model_table, position, retrain_gaps, timed_apart
from unsir_bench.report.folders import LINES_FILES, Sweep
from unsir_bench.report.forget_words import forget_label
from unsir_bench.report.html.plot_parts import Plot
from unsir_bench.report.html.plots import plots
from unsir_bench.report.html.tables import (
    Table,
    guarantee_table,
    note_table,
    runs_table,
    stage_table,
    step_table,
    summary_table,
    verdict_table,
)
from unsir_bench.report.samples import INTERVALS
from unsir_bench.report.tables.guarantees import guarantee_legend
from unsir_bench.report.tables.stages import LEGEND as STAGES_LEGEND
from unsir_bench.report.tables.verdicts import LEGEND
from unsir_bench.runtime.files import write_atomic


@dataclass(frozen=True)
class Page:
    """What was written: where, and from how many records."""

    path: Path
    runs: int


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
    stages: Table | None
    guarantees: Table | None
    promises: str
    steps: Table | None
    notes: Table | None
    plots: list[Plot]
    environments: list[dict[str, Any]]
    unreadable: list[tuple[str, str]]


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
    return Page(output, runs)


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
        newest=_time(max(record.written_last for record in records)),
        mixed=_mixed(records),
        legend=LEGEND,
        intervals=INTERVALS,
        stages_legend=STAGES_LEGEND.replace("*", ""),
        plotly_script=get_plotlyjs(),
        # As text in a script element the bundle's own "<!--" and "<script" would end it in the wrong place.
        tables_script=base64.b64encode(tables_script.read_bytes()).decode(),
        tables_style=tables_script.with_suffix(".css").read_text(encoding="utf-8"),
    )
    # The same records give the same page; no text in them can name a digest that depends on that text.
    draft = page(nonce="")
    return page(nonce=hashlib.sha256(draft.encode()).hexdigest())


def _view(key: str, sweep: Sweep, root: Path) -> SweepView:
    table = _table(sweep, root)
    runs = table[table["prefix"] == ""]
    done = not runs.empty and bool((runs["status"] == "done").any())
    promised = guarantee_table(f"{key}-guarantees", sweep.records)
    warnings = (_mixed(sweep.records), *((_retrain_gaps(runs), timed_apart(runs)) if done else ()))
    return SweepView(
        key=key,
        name=sweep.folder.resolve().name,
        folder=_shown(sweep.folder, root),
        link=_link(sweep.folder, root) + "/",
        facts=_facts(sweep.records),
        mixed=" ".join(filter(None, warnings)),
        places=list(dict.fromkeys(str(Place(*place)) for place in runs[PLACE].itertuples(index=False))),
        summary=summary_table(f"{key}-summary", table),
        runs=runs_table(f"{key}-runs", runs),
        verdicts=None if runs.empty else verdict_table(f"{key}-verdicts", runs),
        stages=stage_table(f"{key}-stages", sweep.records),
        guarantees=promised,
        promises=guarantee_legend([dict.fromkeys(promised.titles, "")]) if promised else "",
        steps=step_table(f"{key}-steps", runs),
        notes=note_table(f"{key}-notes", sweep.records),
        plots=[] if runs.empty else plots(table),
        environments=list(_environments(sweep.records)),
        unreadable=[(_shown(path, root), why) for path, why in sweep.unreadable],
    )


def _table(sweep: Sweep, root: Path) -> pd.DataFrame:
    """``model_table`` of a sweep in the order of the tables.

    With it ``link``, to the record of each run, and ``measured_in``, also to that of the run that measured a reference.
    """
    table = model_table(sweep.records)
    links = {record.run_id: _link(_file_of(path), root) for path, record in sweep.found}
    table["measured_in"] = [links[record.run_id] for record in table.get("record", [])]
    table["link"] = table["measured_in"].where(table["prefix"] == "", "")
    keys = table[GROUP].itertuples(index=False, name=None)
    order = sorted(range(len(table)), key=dict(enumerate(map(position, keys))).__getitem__)
    return table.iloc[order].reset_index(drop=True)


def _file_of(path: Path) -> Path:
    """The file that holds a record: a path into gathered records ends in a line, which no file's name does."""
    name, _, line = path.name.rpartition(":")
    return path.with_name(name) if name in LINES_FILES and line.isdigit() else path


def _link(path: Path, root: Path) -> str:
    """A relative address: every character that has a meaning of its own in one is quoted."""
    return quote(_shown(path, root))


def _shown(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path.parent.resolve() / path.name, root.resolve())).as_posix()


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
        "original trained": _listed(_training_words(record) for record in records if not record.checkpoints),
        "metrics preset": _listed(str(record.measured_with.get("name", "not recorded")) for record in records),
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
    if not record.forget_names:  # samples of all classes
        return forget_label(record)
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


def _retrain_gaps(runs: pd.DataFrame) -> str:
    """A warning where finished runs have no retrained model to be compared with."""
    found = [f"{', '.join(place)}: {words}" for place, words in retrain_gaps(runs).items()]
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
