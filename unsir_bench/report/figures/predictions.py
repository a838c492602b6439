"""Figure: which retained classes the forgotten test samples are taken for, a row per model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unsir_bench.report.figures.data import Drawing, Kind, Scene
from unsir_bench.report.figures.style import HEAT, cell_numbers, new_figure, row_height, shown
from unsir_bench.report.plots.parts import NOT_FAST, PERCENT, entries
from unsir_bench.report.plots.predictions import share_map, shares

WRITTEN_CLASSES = 12  # that leave room for a number in each cell


def draw(scene: Scene) -> Iterator[Drawing]:
    """A heat map of the shares of retained classes among predictions with forget classes ruled out, mean over seeds.

    The row to match is that of the retrained model.
    """
    found = entries(scene.models, "forget_predictions")
    if not found:
        return
    table = shares(found)
    means = share_map(table)
    classes, percent = [int(index) for index in means.columns], PERCENT * means.to_numpy()
    labels = [shown(scene.marked(str(label)), 25) for label in means.index]
    height = 1.25 + row_height(labels) * len(labels)
    counts = [len(entry.models) for entry in found]
    title = scene.title(counts, "mean shares", "the row to match is retrain's", scene.control_note)
    figure = new_figure(height, title)
    panel = figure.subplots()
    image = panel.imshow(percent, cmap=HEAT, vmin=0, aspect="auto", interpolation="nearest")
    _label_axes(panel, labels, classes)
    if len(classes) <= WRITTEN_CLASSES:
        cell_numbers(panel, percent, float(np.nanmax(percent)))
    figure.colorbar(image, ax=panel, label="forgotten test samples, %", pad=0.02)
    yield Drawing("predictions", figure, table)


def _label_axes(panel: Axes, labels: Sequence[str], classes: Sequence[int]) -> None:
    panel.grid(visible=False)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_xlabel("retained class taken for, by index")
    if len(classes) <= 2 * WRITTEN_CLASSES:
        panel.set_xticks(range(len(classes)), [str(index) for index in classes])
    else:
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        panel.xaxis.set_major_formatter(
            lambda place, _: str(classes[int(place)]) if 0 <= place < len(classes) and place == int(place) else ""
        )


PREDICTIONS = Kind("predictions", draw, f"the classes that forgotten samples are taken for: {NOT_FAST}")
