"""What the interactive plots share: their frame, their choices, and how a trace is marked and labelled."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from unsir_bench.report.conditions import NOTHING
from unsir_bench.report.data import SECOND_RETRAIN, Place, Series
from unsir_bench.report.method_style import MethodStyle, method_style
from unsir_bench.report.plots.parts import Entry
from unsir_bench.report.statistics import ratio_in_words

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


def behind(one: Series, *fields: str) -> pd.DataFrame:
    """The runs behind the values of a series, those that have all of these fields; several may share a seed."""
    return one.runs.dropna(subset=list(fields))


def rows_of(one: Series | Entry) -> tuple[str, str]:
    """Method and setting as the lists above the table of runs spell them."""
    return one.method, one.setting or NOTHING


def seed_points(one: Series, values: pd.DataFrame, runs: pd.DataFrame) -> list[list[str]]:
    """For each seed: what the hover box says, the link, and ``rows_of``.

    Args:
        values: a row for each seed.
        runs: ``behind`` them; where several share a seed, their mean leads to the table of runs.
    """
    points = []
    for seed, run in zip(values["seed"], values["run_id"], strict=True):
        own = runs[runs["seed"] == seed]
        name = one.label if pd.isna(run) or len(own) > 1 else str(run)
        words = f"{escaped(name)}, seed {seed}" + (f", mean of {len(own)} runs" if len(own) > 1 else "")
        points.append([words, only_link(own), *rows_of(one)])
    return points


def only_link(values: pd.DataFrame) -> str:
    """Where a click on a mean leads: to the one run it is of; none for several, which the table of runs shows."""
    links = list(filter(None, values["link"]))
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


def method_choice(labels: tuple[str, ...]) -> Choice:
    """The list of methods beside a plot; UNSIR is chosen at first, where it is there."""
    preferred = next((label for label in labels if label == "unsir"), labels[0] if labels else "")
    return Choice("method", "method", labels, preferred)


def shown_with(entry: Entry) -> dict[str, str]:
    """References are shown whatever method is chosen."""
    return {} if entry.reference else {"method": entry.label}


def shown_for(place: Place, **show: str) -> dict[str, Any]:
    """For which choices on the page a trace is shown, and which rows of the tables it is of."""
    rows = {"dataset": place.dataset, "model": place.model, "forget": place.forget}
    return {"show": {"place": str(place), **show}, "rows": rows}


def leads_to(entry: Entry) -> dict[str, str]:
    """Which rows of the table of runs a click on a line of an entry shows."""
    return dict(zip(("method", "setting"), rows_of(entry), strict=True))


def marker_style(style: MethodStyle, size: int) -> dict[str, Any]:
    """A method's marker of so many pixels."""
    return {"color": style.color, "symbol": style.symbol, "size": size, "line": {"color": "white", "width": 1}}


def line_style(entry: Entry, size: int) -> dict[str, Any]:
    """A method's line and its markers of so many pixels; references are dashed."""
    style = method_style(entry.method)
    return {
        "line": {"color": style.color, "width": 2, "dash": DASHES.get(entry.method, "solid")},
        "marker": marker_style(style, size),
    }


def escaped(words: str) -> str:
    """Words that Plotly must show as they are."""
    return escape(words, quote=False)


def in_template(words: str) -> str:
    """Words within a hover template, where "%{" would ask for a value."""
    return escaped(words).replace("%{", "%&#123;")


def speed_words(values: Sequence[float]) -> str:
    """Geometric mean of speed-ups, its 95 % interval, and n, in words."""
    return f"{ratio_in_words(values)} × (n = {len(values)})"


def axis_words(label: str) -> str:
    """An axis label with its indices lowered."""
    return re.sub(r"A_(D[fr])", r"A<sub>\1</sub>", label)


def significant(value: float) -> float:
    """Five digits: a page has no use for more."""
    return float(f"{value:.5g}")
