"""Figure: how far each layer moved from the original model, a panel per method with the retrained model's beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import legend_below, plain_numbers, shown, small_multiples
from unsir_bench.report.method_style import method_style
from unsir_bench.report.plots.layer_distances import distances, moved
from unsir_bench.report.plots.parts import NOT_FAST, entries

TO_SEE = "tensors from first to last; far below retrain's dashes little was changed"
FAR = 30.0  # times the retrained model's largest distance


def draw(scene: Scene) -> Iterator[Drawing]:
    """Euclidean distance of each parameter tensor to the original's on a logarithmic axis, mean over seeds.

    A tensor that did not move has no point; a model none of whose tensors moved is named in the title. A distance far
    beyond all of the retrained model's is a triangle at the upper edge, the largest with its number.
    """
    found = entries(scene.models, "weight_distance_to_original")
    table = distances(found)
    means = moved(table)
    if not means:
        return
    shown_ones = [entry for entry in found if entry.label in means]
    retrained = [entry for entry in shown_ones if entry.method == "retrain"]
    panels_of = [entry for entry in shown_ones if entry.method != "retrain"] or shown_ones
    still = [entry.label for entry in found if entry.label not in means and entry.method != "original"]
    notes = (TO_SEE, f"no layer moved: {', '.join(still)}" if still else "", scene.control_note)
    title = scene.title([len(entry.models) for entry in shown_ones], *notes)
    figure, panels = small_multiples(len(panels_of), title, 0.95, "parameter tensor")
    cap = _cap(means, [entry.label for entry in retrained])
    for panel, entry in zip(panels, panels_of, strict=True):
        color = method_style(entry.method).color
        for reference in entry.beside(retrained):
            panel.add_line(_marks(means[reference.label], "retrain"))
        panel.add_line(_marks(means[entry.label], entry.method))
        _dress(panel, shown(scene.marked(entry.label), 24), color)
        _mark_what_is_beyond(panel, means[entry.label], cap, color)
    panels[0].set_ylim(top=cap)
    figure.supylabel("distance to the original, Euclidean")
    if retrained:
        everywhere = all(entry.beside(retrained) for entry in panels_of)
        words = "in every panel" if everywhere else "in panels of the same conditions"
        legend_below(figure, [_marks(table.iloc[:0], "retrain")], [f"retrain, {words}"])
    yield Drawing("weight_distance", figure, table.drop(columns="mean"))


def _dress(panel: Axes, title: str, color: str) -> None:
    panel.set_title(title, loc="left", color=color)
    panel.set_yscale("log")
    panel.autoscale_view()
    plain_numbers(panel.yaxis)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _marks(means: pd.DataFrame, method: str) -> Line2D:
    """Marks without a line: weights and biases take turns, and lines between them would be all that is seen."""
    style = method_style(method)
    look: dict[str, Any] = (
        {"marker": "_", "markersize": 3.5} if method == "retrain" else {"marker": "o", "markersize": 2}
    )
    return Line2D(
        means["place"].tolist(),
        means["mean"].tolist(),
        color=style.color,
        linestyle="none",
        markeredgewidth=0.7,
        **look,
    )


def _cap(means: Mapping[str, pd.DataFrame], retrained: Sequence[str]) -> float:
    """Where the axis ends: at the largest distance that is not far beyond all of the retrained model's.

    A logit mask moves one bias by thousands, and an axis up to there would press all others flat.
    """
    limit = FAR * max((float(means[label]["mean"].max()) for label in retrained), default=math.inf)
    shown_means = [mean for rows in means.values() for mean in rows["mean"] if mean <= limit]
    return 2 * max(shown_means, default=limit)


def _mark_what_is_beyond(panel: Axes, means: pd.DataFrame, cap: float, color: str) -> None:
    beyond = means[means["mean"] > cap]
    for place in beyond["place"]:
        panel.plot(place, cap, marker="^", color=color, markersize=4, clip_on=False, zorder=5)
    if len(beyond):
        panel.set_title(f"{'up to ' if len(beyond) > 1 else ''}{beyond['mean'].max():.3g}", loc="right", color=color)


WEIGHT_DISTANCE = Kind("weight_distance", draw, f"distances to the original by layer: {NOT_FAST}")
