"""Figure: the four questions at a glance. Forgotten? Kept? Does it come back? How fast?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from unsir_bench.report.data import Series
from unsir_bench.report.figures.data import Drawing, Kind, Scene, shortest_and_longest, values_of
from unsir_bench.report.figures.rows import Estimate, Measure, method_rows
from unsir_bench.report.method_style import REFERENCES
from unsir_bench.report.plots.parts import EVERY_PRESET, PERCENT
from unsir_bench.report.statistics import mean_interval
from unsir_bench.report.tables.relearn import curve_summary

GOOD = "good: in retrain's grey band"
HEADS = {
    "a_df_percent": "forgotten?\n$A_{\\mathrm{Df}}$, %",
    "a_dr_percent": "kept?\n$A_{\\mathrm{Dr}}$, %",
    "relearn_area_percent": "back?\nrelearned, %",
    "seconds": "fast?\nseconds",
}


def draw(scene: Scene) -> Iterator[Drawing]:
    """A row a method, a column a question, retrain's interval as a band behind each; controls have open markers.

    Accuracies: means over seeds, intervals no narrower than the exact binomial ones. Relearned: mean A_Df along the
    relearning curve over the original's, Student's t. Seconds: mean, from the shortest to the longest run.
    """
    rows = sorted(scene.series, key=lambda row: (row.method not in REFERENCES, row.label in scene.controls))
    measures = [measure for measure in _measures(scene, rows) if measure.estimates]
    if not {"a_df_percent", "a_dr_percent"} <= {measure.name for measure in measures}:
        return
    good = good_words(measures)
    apart = scene.timed_apart if measures[-1].name == "seconds" else ""
    title = scene.title(seeds_of(measures), good and f"{good}; seconds: left of it", apart, scene.control_note)
    yield Drawing("overview", method_rows(title, scene, rows, measures), table_of(scene, rows, measures))


def seeds_of(measures: Sequence[Measure]) -> list[int]:
    """Of how many seeds each estimate is: one that some seeds lack is of fewer."""
    return [estimate.n for measure in measures for estimate in measure.estimates.values() if estimate.n]


def good_words(measures: Sequence[Measure]) -> str:
    """What to look for; empty where no retrained model was measured."""
    return GOOD if any("retrain" in measure.estimates for measure in measures) else ""


def _measures(scene: Scene, rows: Sequence[Series]) -> Iterator[Measure]:
    for name, field in (("a_df_percent", "acc_forget_test"), ("a_dr_percent", "acc_retain_test")):
        yield share_measure(scene, rows, name, HEADS[name], field)
    areas = {row.label: area for row in rows if (area := _area(row)) is not None}
    yield Measure("relearn_area_percent", HEADS["relearn_area_percent"], areas)
    spans = {
        row.label: Estimate(sum(found) / len(found), *shortest_and_longest(row, "unlearn_seconds"), len(found))
        for row in rows
        if row.method != "original" and (found := [each for each in values_of(row, "unlearn_seconds") if each > 0])
    }
    yield Measure("seconds", HEADS["seconds"], spans, logarithmic=True, ends=("shortest", "longest"))


def share_measure(scene: Scene, rows: Sequence[Series], name: str, title: str, field: str) -> Measure:
    """A share of test samples, in per cent, with intervals within 0 and 100 %."""
    known = {row.label: scene.percent(row, field) for row in rows}
    return Measure(name, title, {label: Estimate(*interval, n) for label, (interval, n) in known.items() if n})


def _area(row: Series) -> Estimate | None:
    """The relearning curve's area over the original's A_Df, in per cent, never below 0."""
    summaries = [curve_summary(values) for values in row.values.to_dict("records")]
    areas = [PERCENT * summary.area for summary in summaries if summary]
    if not areas:
        return None
    interval = mean_interval(areas)
    return Estimate(
        interval.mean, max(interval.low, 0.0) if interval.n > 1 else interval.low, interval.high, interval.n
    )


def table_of(scene: Scene, rows: Sequence[Series], measures: Sequence[Measure]) -> pd.DataFrame:
    """The numbers of the figure: mean, both ends and number of seeds of each measure; ``n`` is that of the first."""
    lines = []
    for row in rows:
        line: dict[str, object] = {"method": row.label, "control": row.label in scene.controls}
        for measure in measures:
            found = measure.estimates.get(row.label)
            line.setdefault("n", found.n if found else 0)
            line |= {measure.name: found.mean if found else None, f"{measure.name}_n": found.n if found else 0}
            low, high = (f"{measure.name}_{end}" for end in measure.ends)
            line |= {low: found.low if found else None, high: found.high if found else None}
        lines.append(line)
    return pd.DataFrame(lines)


OVERVIEW = Kind("overview", draw, f"accuracies on forgotten and retained test data: {EVERY_PRESET}")
