"""Figure: which retained classes the forgotten test samples are taken for, a row per model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unsir_bench.records import RunRecord
from unsir_bench.report.figures.data import NOT_FAST, PERCENT, Drawing, Entry, Kind, Scene, entries
from unsir_bench.report.figures.style import HEAT, cell_numbers, new_figure, row_height, shown

WRITTEN_CLASSES = 12  # that leave room for a number in each cell

Shares = Mapping[int, Sequence[float]]


def draw(scene: Scene) -> Iterator[Drawing]:
    """A heat map of the shares of retained classes among predictions with forget classes ruled out, mean over seeds.

    The row to match is that of the retrained model.
    """
    found = entries(scene, "forget_predictions")
    if not found:
        return
    shares = {label: _shares(models) for label, models in found.items()}
    classes = sorted({index for row in shares.values() for index in row})
    means = np.array([[_mean(row.get(index, ())) for index in classes] for row in shares.values()])
    labels = [shown(label, 22) for label in shares]
    height = 1.25 + row_height(labels) * len(labels)
    figure = new_figure(height, scene.title([len(models) for models in found.values()], "mean shares"))
    panel = figure.subplots()
    image = panel.imshow(PERCENT * means, cmap=HEAT, vmin=0, aspect="auto", interpolation="nearest")
    _label_axes(panel, labels, classes)
    if len(classes) <= WRITTEN_CLASSES:
        cell_numbers(panel, PERCENT * means, PERCENT * float(np.nanmax(means)))
    figure.colorbar(image, ax=panel, label="forgotten test samples, %", pad=0.02)
    yield Drawing("predictions", figure, _table(shares))


def _shares(models: Sequence[Entry]) -> dict[int, list[float]]:
    """Shares by class; which classes are retained may differ between seeds."""
    found: dict[int, list[float]] = defaultdict(list)
    for one in models:
        for index, share in zip(_retained(one.record, len(one.value)), one.value, strict=True):
            found[index].append(float(share))
    return found


def _retained(record: RunRecord, count: int) -> list[int]:
    forgotten = set(record.forget_classes)
    return [index for index in range(count + len(forgotten)) if index not in forgotten][:count]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


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


def _table(shares: Mapping[str, Shares]) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": label, "class": index, "share": _mean(row[index]), "n": len(row[index])}
        for label, row in shares.items()
        for index in sorted(row)
    )


PREDICTIONS = Kind("predictions", draw, f"the classes that forgotten samples are taken for: {NOT_FAST}")
