"""Figure: how fast each model relearns the forgotten classes, a panel per method beside original and retrain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import NOT_FAST, PERCENT, Drawing, Entry, Kind, Scene, entries
from unsir_bench.report.figures.style import legend_below, shown, small_multiples
from unsir_bench.report.method_style import BLACK, GREY, REFERENCES, method_style

DASHES: dict[str, tuple[int, tuple[float, ...]]] = {"original": (0, (1, 1)), "retrain": (0, (3, 1))}


def draw(scene: Scene) -> Iterator[Drawing]:
    """A_Df on test data against mini-batches of training on all data again, one curve per seed.

    A curve ends in a disc where accuracy is back within tolerance of the original's, in an open triangle where it is
    not back at the cap (censored: the relearn time is above it). The original, which has nothing to relearn, is a
    horizontal line at its accuracy.
    """
    found = entries(scene, "relearn_curve")
    if not found:
        return
    panels_of = [label for label in found if label not in REFERENCES] or list(found)
    title = scene.title([len(models) for models in found.values()], "a curve per seed")
    figure, panels = small_multiples(len(panels_of), title, 0.95, "mini-batches")
    for panel, label in zip(panels, panels_of, strict=True):
        for name in dict.fromkeys((*REFERENCES, label)):
            for one in found.get(name, []):
                _draw_curve(panel, name, one)
        panel.set_title(shown(label, 24), loc="left", color=method_style(found[label][0].method).color)
        panel.set_ylim(-5, 105)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supylabel(r"$A_{\mathrm{Df}}$ on test data, %", parse_math=True)
    legend_below(figure, *_legend([name for name in REFERENCES if name in found], _any_censored(found)))
    yield Drawing("relearn_curves", figure, _table(found))


def _censored(one: Entry) -> bool:
    return bool(one.record.metrics.get(f"{one.prefix}relearn_censored"))


def _any_censored(found: Mapping[str, Sequence[Entry]]) -> bool:
    return any(_censored(one) for models in found.values() for one in models)


def _draw_curve(panel: Axes, name: str, one: Entry) -> None:
    color = method_style(one.method).color
    batches = [float(point[0]) for point in one.value]
    percent = [PERCENT * float(point[1]) for point in one.value]
    if name == "original" and len(batches) == 1:
        panel.axhline(percent[0], color=color, linestyle=DASHES["original"])
        return
    width = 0.8 if name in REFERENCES else 1.1
    panel.plot(batches, percent, color=color, linestyle=DASHES.get(name, "-"), linewidth=width)
    panel.plot(batches[-1], percent[-1], color=color, clip_on=False, zorder=4, **_end(censored=_censored(one)))


def _end(*, censored: bool) -> dict[str, Any]:
    mark = {"marker": ">", "markerfacecolor": "white"} if censored else {"marker": "o"}
    return {**mark, "linestyle": "none", "markersize": 3.5 if censored else 3, "markeredgewidth": 0.8}


def _legend(references: Sequence[str], censored: bool) -> tuple[list[Line2D], list[str]]:
    handles = [Line2D([], [], color=method_style(name).color, linestyle=DASHES[name]) for name in references]
    ends = [("relearned", False), *([("censored at the cap", True)] if censored else [])]
    marks = [Line2D([], [], color=BLACK if open_ else GREY, **_end(censored=open_)) for _, open_ in ends]
    return [*handles, *marks], [*references, *(words for words, _ in ends)]


def _table(found: Mapping[str, Sequence[Entry]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": label,
            "seed": one.seed,
            "batches": batches,
            "a_df_percent": PERCENT * float(accuracy),
            "censored": _censored(one),
        }
        for label, models in found.items()
        for one in models
        for batches, accuracy in one.value
    )


RELEARN_CURVES = Kind("relearn_curves", draw, f"relearn curves: {NOT_FAST}")
