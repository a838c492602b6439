"""What the interactive plots share: their frame, their choices, and how a trace is marked and labelled."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.report.method_style import MethodStyle, method_style
from unsir_bench.report.run_series import REFERENCE_PREFIX, SECOND_RETRAIN, Place, Run, Series
from unsir_bench.report.statistics import MeanInterval

DASHES = {"original": "dot", "retrain": "dash", SECOND_RETRAIN: "dashdot"}
FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
GRID = "#e3e6ea"
FAST = "metrics=fast leaves this out; metrics=standard (the default) and metrics=full record it."


@dataclass(frozen=True)
class Choice:
    """A drop-down list beside a plot: traces whose ``meta.show[name]`` is another option are hidden."""

    name: str
    title: str
    options: tuple[str, ...]
    selected: str


@dataclass(frozen=True)
class Plot:
    """A plot, or the sentence that stands in its place.

    Attributes:
        absent: what to say where no trace is to be shown: which configuration records the values.
        figure: Plotly's JSON; None where no record has the values.
    """

    key: str
    title: str
    caption: str
    absent: str
    figure: dict[str, Any] | None = None
    choices: list[Choice] = field(default_factory=list)


def titled_plot(
    key: str,
    title: str,
    caption: str,
    absent: str,
    traces: Sequence[Any],
    layout: dict[str, Any],
    choices: Sequence[Choice] = (),
) -> Plot:
    """A plot of traces, or without any the sentence ``absent`` in its place; choices without options are left out."""
    if not traces:
        return Plot(key, title, caption, absent)
    figure: dict[str, Any] = json.loads(go.Figure(data=list(traces), layout=layout).to_json())
    return Plot(key, title, caption, absent, figure, [choice for choice in choices if choice.options])


def page_layout(**changes: Any) -> dict[str, Any]:
    """Plotly's layout as all plots have it, with changes; those of an axis are added to its own."""
    base: dict[str, Any] = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": "#1c2430"},
        "margin": {"l": 80, "r": 20, "t": 16, "b": 60},
        "hoverlabel": {"align": "left", "namelength": -1},
        "hovermode": "closest",
        "legend": {"tracegroupgap": 0, "font": {"size": 12}},
        "modebar": {"bgcolor": "white", "color": "#767676", "activecolor": "#1c2430"},
    }
    for axis in ("xaxis", "yaxis"):
        changes[axis] = {"gridcolor": GRID, "zeroline": False, "linecolor": "#9aa3ad", **changes.get(axis, {})}
    return base | changes


def with_values(one: Series, *names: str) -> pd.DataFrame:
    """The rows of a series that have all of these values."""
    if not set(names) <= set(one.values):
        return one.values.iloc[:0]
    return one.values.dropna(subset=list(names))


def run_points(one: Series, values: pd.DataFrame) -> list[list[str]]:
    """For each run: what the hover box says, the link, and the method for the table of runs."""
    return [
        [
            escaped(one.label if pd.isna(run) else str(run)) + f", seed {seed}",
            "" if pd.isna(link) else str(link),
            one.label,
        ]
        for run, link, seed in values[["run_id", "link", "seed"]].itertuples(index=False)
    ]


def only_link(values: pd.DataFrame) -> str:
    """Where a click on a mean leads: to the one run it is of; none for several, which the table of runs shows."""
    links = values["link"].dropna().tolist()
    return str(links[0]) if len(links) == 1 else ""


def run_ids(values: pd.DataFrame) -> str:
    """The runs behind a mean, as lines of a hover box: six at most, and how many more."""
    named = [escaped(str(run)) for run in values["run_id"] if not pd.isna(run)]
    return "<br>".join(named[:6] + [f"and {len(named) - 6} more"] * (len(named) > 6)) or "measured beside every run"


def set_ranges(traces: Sequence[Any], axis: str, span: Callable[[Sequence[float]], tuple[float, float]]) -> None:
    """Give each place an axis that holds every point in it, whatever the intervals of few seeds do.

    Args:
        axis: ``x`` or ``y``.
        span: the ends of the axis for the points' values.
    """
    values: dict[str, list[float]] = defaultdict(list)
    points = [trace for trace in traces if trace.type == "scatter"]
    for trace in points:
        values[trace.meta["show"]["place"]] += trace[axis]
    for trace in points:
        trace.meta = trace.meta | {"range": {f"{axis}axis": span(values[trace.meta["show"]["place"]])}}


def by_series(runs: Sequence[Run], key: str) -> Iterator[tuple[Place, str, str, list[tuple[Any, Run]]]]:
    """Each series' entries of ``details[key]`` with the run that holds each; references once per seed."""
    found: dict[tuple[Place, str, str], dict[object, tuple[Any, Run]]] = defaultdict(dict)
    for run in runs:
        own = run.record.details.get(key)
        if own:
            once: object = run.record.seed if run.label in REFERENCE_PREFIX else run.record.run_id
            found[run.place, run.label, run.record.method].setdefault(once, (own, run))
        for reference, prefix in REFERENCE_PREFIX.items():
            value = run.record.details.get(prefix + key)
            if value:
                found[run.place, reference, reference].setdefault(run.record.seed, (value, run))
    for (place_of, label, method), entries in found.items():
        yield place_of, label, method, list(entries.values())


def chosen_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """The labels that a reader chooses among: all but those of references."""
    return tuple(dict.fromkeys(run.label for run in runs if run.label not in REFERENCE_PREFIX))


def method_choice(labels: tuple[str, ...]) -> Choice:
    """The list of methods beside a plot; UNSIR is chosen at first, where it is there."""
    preferred = next((label for label in labels if label == "unsir"), labels[0] if labels else "")
    return Choice("method", "method", labels, preferred)


def shown_with(label: str) -> dict[str, str]:
    """References are shown whatever method is chosen."""
    return {} if label in REFERENCE_PREFIX else {"method": label}


def shown_for(place: Place, **show: str) -> dict[str, Any]:
    """For which choices on the page a trace is shown, and which rows of the tables it is of."""
    rows = {"dataset": place.dataset, "model": place.model, "forget": place.forget}
    return {"show": {"place": str(place), **show}, "rows": rows}


def marker_style(style: MethodStyle, size: int) -> dict[str, Any]:
    """A method's marker of so many pixels."""
    return {"color": style.color, "symbol": style.symbol, "size": size, "line": {"color": "white", "width": 1}}


def line_style(label: str, method: str) -> dict[str, Any]:
    """A method's line and its markers; references are dashed."""
    style = method_style(method)
    return {
        "line": {"color": style.color, "width": 2, "dash": DASHES.get(label, "solid")},
        "marker": marker_style(style, 7),
    }


def escaped(words: str) -> str:
    """Words that Plotly must show as they are."""
    return escape(words, quote=False)


def in_template(words: str) -> str:
    """Words within a hover template, where "%{" would ask for a value."""
    return escaped(words).replace("%{", "%&#123;")


def interval_words(interval: MeanInterval, unit: str) -> str:
    """Mean, half the width of its 95 % interval, and n, in words."""
    width = f" ± {interval.half_width:.2f}" if math.isfinite(interval.half_width) else ""
    return f"{interval.mean:.2f}{width} {unit} (n = {interval.n})"


def significant(value: float) -> float:
    """Five digits: a page has no use for more."""
    return float(f"{value:.5g}")
