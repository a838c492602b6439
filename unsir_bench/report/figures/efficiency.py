"""Figure: seconds per method, sorted, on a logarithmic axis, with retraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene, shortest_and_longest
from unsir_bench.report.figures.style import label_rows, new_figure, plain_numbers, row_height, shown
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.bars import Bar, bars
from unsir_bench.report.plots.parts import EVERY_PRESET

FIELD = "unlearn_seconds"
SPAN = "means, lines from the shortest to the longest run"


def draw(scene: Scene) -> Iterator[Drawing]:
    """Mean wall-clock seconds, with a line from the shortest run to the longest; the original does nothing."""
    ordered = bars(scene.series, FIELD)
    if not ordered:
        return
    labels = [shown(scene.marked(bar.series.label), 28) for bar in ordered]
    counts = [len(bar.values) for bar in ordered]
    several = any(len(bar.series.runs) > 1 for bar in ordered)
    notes = (SPAN if several else "", scene.timed_apart, scene.control_note)
    title = scene.title(counts, *notes)
    figure = new_figure(0.85 + row_height(labels) * len(ordered), title)
    panel = figure.subplots()
    _draw_bars(panel, ordered)
    label_rows(panel, labels)
    panel.set_xlabel("seconds")
    yield Drawing("efficiency", figure, _table(ordered))


def _draw_bars(panel: Axes, ordered: Sequence[Bar]) -> None:
    panel.set_xscale("log")
    spans = [shortest_and_longest(bar.series, FIELD) for bar in ordered]
    shortest, longest = min(low for low, _ in spans), max(high for _, high in spans)
    # Bars on a logarithmic axis have no zero to start from: they start at the axis, and their ends are what counts.
    low = shortest / 2
    for place, (bar, span) in enumerate(zip(ordered, spans, strict=True)):
        mean, color = bar.mean, method_style(bar.series.method).color
        panel.barh(place, mean - low, left=low, height=0.66, color=color, alpha=0.6)
        panel.plot(span, [place, place], color="black", linewidth=0.7)
        words, end = f"{mean:.3g}", (span[1], place)
        panel.annotate(words, end, xytext=(3, 0), textcoords="offset points", va="center", annotation_clip=False)
    panel.set_xlim(low, longest * (longest / low) ** 0.16)
    panel.xaxis.set_major_locator(LogLocator(base=10, numticks=8))
    plain_numbers(panel.xaxis)


def _table(ordered: Sequence[Bar]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": bar.series.label,
            "n": len(bar.values),
            "seconds": bar.mean,
            **dict(zip(("seconds_shortest", "seconds_longest"), shortest_and_longest(bar.series, FIELD), strict=True)),
        }
        for bar in ordered
    )


EFFICIENCY = Kind("efficiency", draw, f"seconds: {EVERY_PRESET}")
