"""Figure: what A_Df hides where several classes are forgotten, a row per method."""

from __future__ import annotations

from collections.abc import Iterator

from unsir_bench.report.data import Series
from unsir_bench.report.figures.data import Drawing, Kind, Scene, values_of
from unsir_bench.report.figures.overview import good_words, seeds_of, share_measure, table_of
from unsir_bench.report.figures.rows import Estimate, Measure, method_rows
from unsir_bench.report.method_style import REFERENCES
from unsir_bench.report.plots.parts import EVERY_PRESET
from unsir_bench.report.samples import share_interval

OWN, ANY = "acc_forget_test", "forget_answered_any_forget_class"
TO_SEE = "hidden: forgotten samples answered with another forgotten class"


def draw(scene: Scene) -> Iterator[Drawing]:
    """A_Df, the share answered with any forgotten class, and the difference that A_Df hides; retrain's interval behind.

    Forget sets of one class alone have no such figure: both are the same there.
    """
    if not any(len(record.forget_classes) > 1 for record in scene.records):
        return
    rows = sorted(
        (row for row in scene.series if values_of(row, ANY)),
        key=lambda row: (row.method not in REFERENCES, row.label in scene.controls),
    )
    if not rows:
        return
    measures = [
        share_measure(scene, rows, "a_df_percent", "own class\n$A_{\\mathrm{Df}}$, %", OWN),
        share_measure(scene, rows, "any_forget_class_percent", "any forgotten\nclass, %", ANY),
        Measure("hidden_points", "hidden,\npoints", {row.label: _hidden(scene, row) for row in rows}),
    ]
    title = scene.title(seeds_of(measures), TO_SEE, good_words(measures), scene.control_note)
    yield Drawing("any_forget_class", method_rows(title, scene, rows, measures), table_of(scene, rows, measures))


def _hidden(scene: Scene, row: Series) -> Estimate:
    """The mean difference within seeds: a share of the forgotten test samples itself, with the interval of one."""
    both = (row.values[ANY] - row.values[OWN]).dropna().clip(0, 1)  # rounding may leave [0, 1]
    return Estimate(*share_interval(both.tolist(), scene.samples[ANY]).in_percent, len(both))


ANY_FORGET_CLASS = Kind(
    "any_forget_class", draw, f"several forgotten classes and what their samples are called: {EVERY_PRESET}"
)
