"""Figure: how far each layer moved from the original model, a panel per method with the retrained model's beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import NOT_FAST, Drawing, Entry, Kind, Scene, entries
from unsir_bench.report.figures.style import legend_below, plain_numbers, shown, small_multiples
from unsir_bench.report.method_style import method_style
from unsir_bench.report.statistics import mean_interval

FAR = 30.0  # times the retrained model's largest distance
Distances = Mapping[str, Sequence[float]]


def draw(scene: Scene) -> Iterator[Drawing]:
    """Euclidean distance of each parameter tensor to the original's on a logarithmic axis, mean over seeds.

    A tensor that did not move has no point; a model none of whose tensors moved is named in the title. A distance far
    beyond all of the retrained model's is a triangle at the upper edge, the largest with its number.
    """
    found = entries(scene, "weight_distance_to_original")
    order = _layer_order(found)
    by_label = {label: _distances(models, order) for label, models in found.items()}
    moved = [label for label, layers in by_label.items() if any(mean > 0 for mean in _means(layers).values())]
    if not moved:
        return
    panels_of = [label for label in moved if label != "retrain"] or moved
    still = [label for label in by_label if label not in moved and label != "original"]
    notes = ("tensors from first to last", f"no layer moved: {', '.join(still)}" if still else "")
    title = scene.title([len(found[label]) for label in moved], *notes)
    figure, panels = small_multiples(len(panels_of), title, 0.95, "parameter tensor")
    cap = _cap(by_label)
    places = {layer: place for place, layer in enumerate(order, start=1)}
    for panel, label in zip(panels, panels_of, strict=True):
        method = found[label][0].method
        _draw_panel(panel, label, method, by_label, places)
        _mark_what_is_beyond(panel, by_label[label], places, cap, method_style(method).color)
    panels[0].set_ylim(top=cap)
    figure.supylabel("distance to the original, Euclidean")
    if "retrain" in moved:
        legend_below(figure, [_marks([], [], "retrain")], ["retrain, in every panel"])
    yield Drawing("weight_distance", figure, _table(by_label, found, places))


def _layer_order(found: Mapping[str, Sequence[Entry]]) -> list[str]:
    """The layers as the networks name them: those of models read from the store come in another order."""
    own_first = sorted((one for models in found.values() for one in models), key=lambda one: one.prefix != "")
    return list(dict.fromkeys(layer for one in own_first for layer in one.value.get("layers", {})))


def _distances(models: Sequence[Entry], order: Sequence[str]) -> dict[str, list[float]]:
    """For each layer that all seeds have, its distance in each, not averaged yet."""
    layers = [one.value.get("layers", {}) for one in models]
    return {name: [float(one[name]) for one in layers] for name in order if all(name in one for one in layers)}


def _means(layers: Distances) -> dict[str, float]:
    """NaN where a distance is not finite."""
    return {
        name: sum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
        for name, values in layers.items()
    }


def _draw_panel(
    panel: Axes, label: str, method: str, by_label: Mapping[str, Distances], places: Mapping[str, int]
) -> None:
    for name, method_of in (("retrain", "retrain"), (label, method)):
        means = {layer: mean for layer, mean in _means(by_label.get(name, {})).items() if mean > 0}
        panel.add_line(_marks([places[layer] for layer in means], list(means.values()), method_of))
    panel.set_title(shown(label, 24), loc="left", color=method_style(method).color)
    panel.set_yscale("log")
    panel.autoscale_view()
    plain_numbers(panel.yaxis)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _marks(x: Sequence[float], y: Sequence[float], method: str) -> Line2D:
    """Marks without a line: weights and biases take turns, and lines between them would be all that is seen."""
    style = method_style(method)
    look: dict[str, Any] = (
        {"marker": "_", "markersize": 3.5} if method == "retrain" else {"marker": "o", "markersize": 2}
    )
    return Line2D(x, y, color=style.color, linestyle="none", markeredgewidth=0.7, **look)


def _cap(by_label: Mapping[str, Distances]) -> float:
    """Where the axis ends: at the largest distance that is not far beyond all of the retrained model's.

    A logit mask moves one bias by thousands, and an axis up to there would press all others flat.
    """
    means = {label: [mean for mean in _means(layers).values() if mean > 0] for label, layers in by_label.items()}
    limit = FAR * max(means.get("retrain") or [math.inf])
    shown_means = [mean for found in means.values() for mean in found if mean <= limit]
    return 2 * max(shown_means, default=limit)


def _mark_what_is_beyond(panel: Axes, layers: Distances, places: Mapping[str, int], cap: float, color: str) -> None:
    beyond = {layer: mean for layer, mean in _means(layers).items() if mean > cap}
    for layer in beyond:
        panel.plot(places[layer], cap, marker="^", color=color, markersize=4, clip_on=False, zorder=5)
    if beyond:
        words = f"{'up to ' if len(beyond) > 1 else ''}{max(beyond.values()):.3g}"
        panel.set_title(words, loc="right", color=color)


def _table(
    by_label: Mapping[str, Distances], found: Mapping[str, Sequence[Entry]], places: Mapping[str, int]
) -> pd.DataFrame:
    rows = []
    for label, layers in by_label.items():
        for layer, values in layers.items():
            known = mean_interval([value for value in values if math.isfinite(value)])
            identity = {"method": label, "tensor": layer, "place": places[layer], "n": known.n}
            rows.append({**identity, "distance": known.mean, "low": known.low, "high": known.high})
    return pd.DataFrame(rows)


WEIGHT_DISTANCE = Kind("weight_distance", draw, f"distances to the original by layer: {NOT_FAST}")
