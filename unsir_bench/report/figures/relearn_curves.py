"""Figure: how fast each model relearns the forgotten classes, a panel per method beside original and retrain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import legend_below, shown, small_multiples
from unsir_bench.report.method_style import BLACK, GREY, REFERENCES, method_style
from unsir_bench.report.plots.parts import NOT_FAST, PERCENT, Entry, entries, mean
from unsir_bench.report.plots.relearning import CURVE, BandPoint, band, plateau, times_to_plateau
from unsir_bench.report.relearn_curve import Time, accuracy_at, median_in_words, median_time
from unsir_bench.report.samples import samples_of

TO_SEE = "a curve that rises before retrain's dashed one still knew the classes"
DASHES: dict[str, tuple[int, tuple[float, ...]]] = {"original": (0, (1, 1)), "retrain": (0, (3, 1))}
PLATEAU = (0, (6, 2, 1, 2))
TITLE_LETTERS = 28


class _Course(NamedTuple):
    """A model's mean curve, and its times to retrain's plateau, one per seed."""

    entry: Entry
    points: list[BandPoint]
    times: list[Time]

    @property
    def censored(self) -> bool:
        return any(model.censored for model in self.entry.models)


def draw(scene: Scene) -> Iterator[Drawing]:
    """A_Df on test data against mini-batches of further training: mean over seeds with its 95 % interval.

    A seed that ended early, back within tolerance of the original's accuracy, counts at its last accuracy from then on.
    A curve ends in a disc where all seeds were back, in an open triangle where one was not (censored at the cap). A
    diamond marks Kaplan-Meier's median time to 95 % of retrain's plateau. The original, which has nothing to relearn,
    is a horizontal line at its accuracy.
    """
    if found := entries(scene.models, CURVE):
        samples = samples_of(scene.models, "acc_forget_test")
        courses = [_Course(entry, band(entry.values, samples), times_to_plateau(entry)) for entry in found]
        yield Drawing("relearn_curves", _figure(scene, courses), _table(courses))


def _figure(scene: Scene, courses: Sequence[_Course]) -> Figure:
    references = [course for course in courses if course.entry.method in REFERENCES]
    own = [course for course in courses if course not in references] or list(courses)
    counts = [len(course.entry.models) for course in courses]
    over = "mean over seeds with 95 % interval" if max(counts) > 1 else ""
    title = scene.title(counts, "relearning from all data", over, TO_SEE, scene.control_note)
    figure, panels = small_multiples(len(own), title, 1.2, "mini-batches")
    for panel, course in zip(panels, own, strict=True):
        beside = [one for one in references if course.entry.beside([one.entry])]
        if retrained := next((one.entry for one in beside if one.entry.method == "retrain"), None):
            panel.axhline(PERCENT * plateau(retrained), color=BLACK, linewidth=0.6, linestyle=PLATEAU)
        for shown_course in beside if course in references else [*beside, course]:
            _draw_course(panel, shown_course)
        _head(panel, scene, course)
    last = max(course.points[-1].batches for course in courses)
    panels[0].set(xlim=(-0.04 * last, 1.06 * last) if last else (-1, 1), ylim=(-5, 105))
    panels[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supylabel(r"$A_{\mathrm{Df}}$ on test data, %", parse_math=True)
    legend_below(figure, *_legend(courses, references))
    return figure


def _head(panel: Axes, scene: Scene, course: _Course) -> None:
    """The method's name, and when it reached retrain's plateau."""
    lines = [shown(scene.marked(course.entry.label), TITLE_LETTERS)]
    if course.times:
        lines.append("◇ " + median_in_words(course.times))
    panel.set_title("\n".join(lines), loc="left", color=method_style(course.entry.method).color)


def _draw_course(panel: Axes, course: _Course) -> None:
    method, points = course.entry.method, course.points
    color = method_style(method).color
    batches = [point.batches for point in points]
    percent = [PERCENT * point.mean for point in points]
    if method == "original" and len(points) == 1:
        panel.axhline(percent[0], color=color, linestyle=DASHES["original"])
        return
    if not math.isnan(points[0].low):
        low, high = ([PERCENT * getattr(point, end) for point in points] for end in ("low", "high"))
        panel.fill_between(batches, low, high, color=color, alpha=0.18, linewidth=0)
    front = 2 if method in REFERENCES else 4
    panel.plot(batches, percent, color=color, linestyle=DASHES.get(method, "-"), linewidth=1.1, zorder=front)
    panel.plot(batches[-1], percent[-1], color=color, clip_on=False, zorder=front, **_end(censored=course.censored))
    if course.times and method not in REFERENCES and not (median := median_time(course.times)).censored:
        height = PERCENT * mean([accuracy_at(curve, median.batches) for curve in course.entry.values])
        panel.plot(median.batches, height, color=color, zorder=5, **MEDIAN)


MEDIAN: dict[str, Any] = {"marker": "D", "linestyle": "none", "markersize": 3.8, "markerfacecolor": "white"}


def _end(*, censored: bool) -> dict[str, Any]:
    mark = {"marker": ">", "markerfacecolor": "white"} if censored else {"marker": "o"}
    return {**mark, "linestyle": "none", "markersize": 3.5 if censored else 3, "markeredgewidth": 0.8}


def _legend(courses: Sequence[_Course], references: Sequence[_Course]) -> tuple[list[Line2D], list[str]]:
    """What lines and markers mean, those that are drawn alone."""
    found = [
        (Line2D([], [], color=method_style(name).color, linestyle=DASHES[name]), name)
        for name in dict.fromkeys(course.entry.method for course in references)
    ]
    if any(course.entry.method == "retrain" for course in references):
        found.append((Line2D([], [], color=BLACK, linewidth=0.6, linestyle=PLATEAU), "retrain's plateau"))
    if any(not course.censored and len(course.points) > 1 for course in courses):
        found.append((Line2D([], [], color=GREY, **_end(censored=False)), "all seeds are back"))
    if any(course.censored for course in courses):
        found.append((Line2D([], [], color=BLACK, **_end(censored=True)), "a seed is censored"))
    if any(course.times for course in courses):
        found.append((Line2D([], [], color=BLACK, **MEDIAN), "median to 95 % of plateau"))
    handles, labels = zip(*found, strict=True) if found else ((), ())
    return list(handles), list(labels)


def _table(courses: Sequence[_Course]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": course.entry.label,
            "batches": point.batches,
            "n": point.n,
            "seeds_measured": point.measured,
            "a_df_percent": PERCENT * point.mean,
            "a_df_percent_low": PERCENT * point.low,
            "a_df_percent_high": PERCENT * point.high,
            "seeds_censored": sum(model.censored for model in course.entry.models),
            "median_batches_to_plateau": str(median_time(course.times)) if course.times else "",
        }
        for course in courses
        for point in course.points
    )


RELEARN_CURVES = Kind("relearn_curves", draw, f"relearn curves: {NOT_FAST}")
