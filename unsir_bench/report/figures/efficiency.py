"""Figure: seconds per method, sorted, on a logarithmic axis, with retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from unsir_bench.report.data import timed_on
from unsir_bench.report.figures.data import Drawing, Kind, Scene, half_width, over_seeds
from unsir_bench.report.figures.style import label_rows, new_figure, plain_numbers, row_height, shown
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.bars import Bar, bars
from unsir_bench.report.plots.parts import EVERY_PRESET

TIMED_APART = "seconds not all taken on the same machine and threads"


def draw(scene: Scene) -> Iterator[Drawing]:
    """Mean wall-clock seconds with 95 % intervals; the original, which does nothing, takes no part."""
    ordered = bars(scene.series, "unlearn_seconds")
    if not ordered:
        return
    labels = [shown(bar.series.label, 28) for bar in ordered]
    counts = [bar.interval.n for bar in ordered]
    apart = len(timed_on(scene.models[scene.models["prefix"] == ""])) > 1
    title = scene.title(counts, over_seeds(counts), *([TIMED_APART] if apart else []))
    figure = new_figure(0.85 + row_height(labels) * len(ordered), title)
    panel = figure.subplots()
    _draw_bars(panel, ordered)
    label_rows(panel, labels)
    panel.set_xlabel("seconds")
    yield Drawing("efficiency", figure, _table(ordered))


def _draw_bars(panel: Axes, ordered: Sequence[Bar]) -> None:
    panel.set_xscale("log")
    means = [bar.interval.mean for bar in ordered]
    # Bars on a logarithmic axis have no zero to start from: they start at the axis, and their ends are what counts.
    low, high = min(means) / 2, max(means)
    for place, bar in enumerate(ordered):
        interval, color = bar.interval, method_style(bar.series.method).color
        half = half_width(interval)
        # A lower end at or below 0 lies infinitely far left: it is drawn to the axis.
        lower = min(half, interval.mean - low)
        panel.barh(place, interval.mean - low, left=low, height=0.66, color=color, alpha=0.6)
        if half > 0:
            panel.errorbar(interval.mean, place, xerr=[[lower], [half]], color="black", elinewidth=0.7, capsize=1.5)
        words, end = f"{interval.mean:.3g}", (interval.mean + half, place)
        panel.annotate(words, end, xytext=(3, 0), textcoords="offset points", va="center", annotation_clip=False)
    widest = max(interval.mean + half_width(interval) for interval in (bar.interval for bar in ordered))
    panel.set_xlim(low, max(high, widest) * (max(high, widest) / low) ** 0.16)
    panel.xaxis.set_major_locator(LogLocator(base=10, numticks=8))
    plain_numbers(panel.xaxis)


def _table(ordered: Sequence[Bar]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": bar.series.label,
            "n": bar.interval.n,
            "seconds": bar.interval.mean,
            "seconds_low": bar.interval.low,
            "seconds_high": bar.interval.high,
        }
        for bar in ordered
    )


EFFICIENCY = Kind("efficiency", draw, f"seconds: {EVERY_PRESET}")
