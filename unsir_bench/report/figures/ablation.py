"""Figure: both accuracies against the one numeric setting in which the runs of a method differ."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from unsir_bench.report.data import Series
from unsir_bench.report.figures.data import Drawing, Kind, Scene, over_seeds, values_of
from unsir_bench.report.figures.style import legend_below, new_figure, plain_numbers, shown
from unsir_bench.report.method_style import BLUE, GREY, VERMILION
from unsir_bench.report.plots.parts import PERCENT

CURVES = {"forget": ("a_df_percent", VERMILION, "s", "A_Df"), "retain": ("a_dr_percent", BLUE, "o", "A_Dr")}
DECADES = 100.0  # largest over smallest value from which on an axis is logarithmic

DASHED = (0, (3, 1))

Tried = list[tuple[float, Series]]


def draw(scene: Scene) -> Iterator[Drawing]:
    """A_Df and A_Dr against the value, mean with 95 % interval over seeds; dashed: the retrained model's.

    One figure per method that has two or more values of one numeric setting and no other setting that differs.
    """
    for (method, setting), tried in _ablations(scene.series):
        rows = [row for value, one in tried if (row := _row(value, one, scene))]
        if len(rows) < 2:
            continue
        table = pd.DataFrame(rows)
        counts = [int(count) for count in table["n"]]
        figure = new_figure(2.4, scene.title(counts, method, over_seeds(counts)))
        panel = figure.subplots()
        handles = [_draw_curve(panel, table, kind) for kind in CURVES]
        compared = _draw_retrain(panel, scene.series)
        _scale(panel, table["value"].tolist())
        panel.set_xlabel(shown(setting, 60))
        panel.set_ylabel("test accuracy, %")
        panel.set_ylim(-4, 104)
        retrain = Line2D([], [], color=GREY, linewidth=0.7, linestyle=DASHED)
        titles = [title for _, _, _, title in CURVES.values()]
        legend_below(figure, [*handles, *[retrain] * compared], [*titles, *["retrain"] * compared])
        table.insert(0, "setting", setting)
        table.insert(0, "method", method)
        yield Drawing(f"ablation-{method}-{setting}", figure, table)


def _ablations(series: Sequence[Series]) -> Iterator[tuple[tuple[str, str], Tried]]:
    """Methods whose settings, as the tables word them, are all ``name=number`` with one name and share a seed."""
    by_method: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        by_method[one.method].append(one)
    for method, tried in by_method.items():
        settings = [one.setting.partition("=") for one in tried]
        names = {name for name, _, _ in settings}
        values = [_number(value) for _, _, value in settings]
        # Values tried on different seeds could differ by the seed alone: some seed must have tried them all.
        seeds = set.intersection(*(set(one.values["seed"]) for one in tried))
        if len(names) == 1 and len(values) > 1 and all(map(math.isfinite, values)) and seeds:
            yield (method, names.pop()), sorted(zip(values, tried, strict=True), key=lambda pair: pair[0])


def _number(words: str) -> float:
    try:
        return float(words)
    except ValueError:
        return math.nan


def _row(value: float, one: Series, scene: Scene) -> dict[str, float]:
    known = {name: scene.percent(one, f"acc_{kind}_test") for kind, (name, *_) in CURVES.items()}
    least = min(n for _, n in known.values())
    if not least:
        return {}
    row: dict[str, float] = {"value": value, "n": least}
    for name, (interval, _) in known.items():
        row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


def _draw_curve(panel: Axes, table: pd.DataFrame, kind: str) -> object:
    name, color, marker, _ = CURVES[kind]
    ends = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
    look: dict[str, Any] = {"color": color, "marker": marker, "elinewidth": 0.7, "capsize": 1.5}
    return panel.errorbar(table["value"], table[name], yerr=[end.fillna(0.0) for end in ends], **look)


def _draw_retrain(panel: Axes, series: Sequence[Series]) -> bool:
    """Whether there was one to draw."""
    drawn = False
    for one in series:
        for kind, (_, color, _, _) in CURVES.items():
            values = values_of(one, f"acc_{kind}_test", PERCENT)
            if one.label == "retrain" and values:
                panel.axhline(sum(values) / len(values), color=color, linewidth=0.7, linestyle=DASHED)
                drawn = True
    return drawn


def _scale(panel: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where positive values span two decades; 0 among them has a linear stretch of its own.

    Counts, such as epochs, have no ticks between them.
    """
    if all(value.is_integer() for value in values):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    positive = sorted(value for value in values if value > 0)
    if len(positive) < 2 or positive[-1] < DECADES * positive[0] or min(values) < 0:
        return
    if min(values) == 0:
        panel.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        panel.set_xlim(-positive[0] / 2, 2 * positive[-1])
    else:
        panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator(list(values)))
    panel.xaxis.set_minor_locator(FixedLocator([]))
    plain_numbers(panel.xaxis)


ABLATION = Kind(
    "ablation",
    draw,
    "a method whose runs differ in exactly one numeric setting: a sweep over it, such as "
    "unsir-bench -m experiment=ablation_lambda, records it with every metrics preset",
)
