"""Figure: how fast each model relearns the forgotten classes, a panel per method beside original and retrain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import legend_below, shown, small_multiples
from unsir_bench.report.method_style import BLACK, GREY, REFERENCES, method_style
from unsir_bench.report.plots.parts import NOT_FAST, PERCENT, Entry, Model, entries

TO_SEE = "a curve that rises before the dashed ones still knew the classes"
DASHES: dict[str, tuple[int, tuple[float, ...]]] = {"original": (0, (1, 1)), "retrain": (0, (3, 1))}


def draw(scene: Scene) -> Iterator[Drawing]:
    """A_Df on test data against mini-batches of training on all data again, one curve per seed.

    A curve ends in a disc where accuracy is back within tolerance of the original's, in an open triangle where it is
    not back at the cap (censored: the relearn time is above it). The original, which has nothing to relearn, is a
    horizontal line at its accuracy.
    """
    found = entries(scene.models, "relearn_curve")
    if not found:
        return
    references = [entry for entry in found if entry.method in REFERENCES]
    own = [entry for entry in found if entry.method not in REFERENCES] or found
    title = scene.title([len(entry.models) for entry in found], "a curve per seed", TO_SEE, scene.control_note)
    figure, panels = small_multiples(len(own), title, 0.95, "mini-batches")
    for panel, entry in zip(panels, own, strict=True):
        for shown_entry in references if entry in references else [*references, entry]:
            for model in shown_entry.models:
                _draw_curve(panel, shown_entry.method, model)
        panel.set_title(shown(scene.marked(entry.label), 24), loc="left", color=method_style(entry.method).color)
        panel.set_ylim(-5, 105)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supylabel(r"$A_{\mathrm{Df}}$ on test data, %", parse_math=True)
    censored = any(model.censored for entry in found for model in entry.models)
    legend_below(figure, *_legend(list(dict.fromkeys(entry.method for entry in references)), censored))
    yield Drawing("relearn_curves", figure, _table(found))


def _draw_curve(panel: Axes, method: str, model: Model) -> None:
    color = method_style(method).color
    batches = [float(point[0]) for point in model.value]
    percent = [PERCENT * float(point[1]) for point in model.value]
    if method == "original" and len(batches) == 1:
        panel.axhline(percent[0], color=color, linestyle=DASHES["original"])
        return
    width = 0.8 if method in REFERENCES else 1.1
    panel.plot(batches, percent, color=color, linestyle=DASHES.get(method, "-"), linewidth=width)
    panel.plot(batches[-1], percent[-1], color=color, clip_on=False, zorder=4, **_end(censored=model.censored))


def _end(*, censored: bool) -> dict[str, Any]:
    mark = {"marker": ">", "markerfacecolor": "white"} if censored else {"marker": "o"}
    return {**mark, "linestyle": "none", "markersize": 3.5 if censored else 3, "markeredgewidth": 0.8}


def _legend(references: Sequence[str], censored: bool) -> tuple[list[Line2D], list[str]]:
    handles = [Line2D([], [], color=method_style(name).color, linestyle=DASHES[name]) for name in references]
    ends = [("relearned", False), *([("censored at the cap", True)] if censored else [])]
    marks = [Line2D([], [], color=BLACK if open_ else GREY, **_end(censored=open_)) for _, open_ in ends]
    return [*handles, *marks], [*references, *(words for words, _ in ends)]


def _table(found: Sequence[Entry]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": entry.label,
            "seed": model.seed,
            "batches": batches,
            "a_df_percent": PERCENT * float(accuracy),
            "censored": model.censored,
        }
        for entry in found
        for model in entry.models
        for batches, accuracy in model.value
    )


RELEARN_CURVES = Kind("relearn_curves", draw, f"relearn curves: {NOT_FAST}")
