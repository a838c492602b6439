"""Figure: forget and retain accuracy, a row per method, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator

from unsir_bench.report.figures.data import Drawing, Kind, Scene, over_seeds
from unsir_bench.report.figures.overview import good_words, seeds_of, share_measure, table_of
from unsir_bench.report.figures.rows import method_rows
from unsir_bench.report.plots.parts import EVERY_PRESET
from unsir_bench.report.plots.trade_off import trade_off

FORGET, RETAIN = "$A_{\\mathrm{Df}}$, test, %", "$A_{\\mathrm{Dr}}$, test, %"
RING = "#444444"


def draw(scene: Scene) -> Iterator[Drawing]:
    """A_Df and A_Dr side by side, ordered by A_Dr, since in a plane most methods would lie on each other at A_Df = 0.

    Methods on the Pareto front are ringed, one front per set of conditions. Controls have open markers and no ring, and
    the front ignores them, as it does models made elsewhere.
    """
    points = trade_off(scene.series)
    if not points:
        return
    ranked = sorted(points, key=lambda point: (-point.retain.mean, point.forget.mean, point.series.label))
    rows = [point.series for point in ranked]
    columns = (("a_df_percent", FORGET, "acc_forget_test"), ("a_dr_percent", RETAIN, "acc_retain_test"))
    measures = [share_measure(scene, rows, *column) for column in columns]
    counts = seeds_of(measures)
    several = len({row.conditions for row in rows}) > 1
    ring = "ring: Pareto front" + (" of the same conditions" if several else "")
    title = scene.title(counts, over_seeds(counts), good_words(measures), ring, scene.control_note)
    figure = method_rows(title, scene, rows, measures)
    for panel, measure in zip(figure.axes, measures, strict=True):
        for place, point in zip(panel.get_yticks(), ranked, strict=True):
            if point.front:
                mean = measure.estimates[point.series.label].mean
                panel.plot(
                    mean, place, "o", markersize=8, markerfacecolor="none", markeredgecolor=RING, markeredgewidth=0.7
                )
    front = {point.series.label: point.front for point in points}
    table = table_of(scene, rows, measures).assign(pareto_front=[front[row.label] for row in rows])
    yield Drawing("trade_off", figure, table)


TRADE_OFF = Kind("trade_off", draw, f"accuracies on forgotten and retained test data: {EVERY_PRESET}")
