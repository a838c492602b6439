"""Figure: seconds per method, sorted, on a logarithmic axis, with retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from unsir_bench.report.figures.data import EVERY_PRESET, Drawing, Kind, Scene, half_width, over_seeds, values_of
from unsir_bench.report.figures.style import label_rows, new_figure, plain_numbers, row_height, shown
from unsir_bench.report.method_style import method_style
from unsir_bench.report.run_series import Series
from unsir_bench.report.statistics import MeanInterval, mean_interval

TIMED_APART = "seconds not all taken on the same machine and threads"

Bar = tuple[MeanInterval, Series]


def draw(scene: Scene) -> Iterator[Drawing]:
    """Mean wall-clock seconds with 95 % intervals; the original, which does nothing, takes no part."""
    timed = [(values_of(one, "unlearn_seconds"), one) for one in scene.series if one.method != "original"]
    bars = [(mean_interval(values), one) for values, one in timed if values and min(values) > 0]
    if not bars:
        return
    bars.sort(key=lambda bar: (bar[0].mean, bar[1].label))
    labels = [shown(one.label, 28) for _, one in bars]
    counts = [interval.n for interval, _ in bars]
    notes = [over_seeds(counts), *([TIMED_APART] if len({run.record.timed_on for run in scene.runs}) > 1 else [])]
    figure = new_figure(0.85 + row_height(labels) * len(bars), scene.title(counts, *notes))
    panel = figure.subplots()
    _draw_bars(panel, bars)
    label_rows(panel, labels)
    panel.set_xlabel("seconds")
    yield Drawing("efficiency", figure, _table(bars))


def _draw_bars(panel: Axes, bars: Sequence[Bar]) -> None:
    panel.set_xscale("log")
    means = [interval.mean for interval, _ in bars]
    # Bars on a logarithmic axis have no zero to start from: they start at the axis, and their ends are what counts.
    low, high = min(means) / 2, max(means)
    for place, (interval, one) in enumerate(bars):
        half = half_width(interval)
        # A lower end at or below 0 lies infinitely far left: it is drawn to the axis.
        lower = min(half, interval.mean - low)
        panel.barh(place, interval.mean - low, left=low, height=0.66, color=method_style(one.method).color, alpha=0.6)
        if half > 0:
            panel.errorbar(interval.mean, place, xerr=[[lower], [half]], color="black", elinewidth=0.7, capsize=1.5)
        words, end = f"{interval.mean:.3g}", (interval.mean + half, place)
        panel.annotate(words, end, xytext=(3, 0), textcoords="offset points", va="center", annotation_clip=False)
    widest = max(interval.mean + half_width(interval) for interval, _ in bars)
    panel.set_xlim(low, max(high, widest) * (max(high, widest) / low) ** 0.16)
    panel.xaxis.set_major_locator(LogLocator(base=10, numticks=8))
    plain_numbers(panel.xaxis)


def _table(bars: Sequence[Bar]) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": one.label, "n": mean.n, "seconds": mean.mean, "seconds_low": mean.low, "seconds_high": mean.high}
        for mean, one in bars
    )


EFFICIENCY = Kind("efficiency", draw, f"seconds: {EVERY_PRESET}")
