"""Figure: noise images that UNSIR learned, a row per forget class, beside the same images as they were initialised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unsir_bench.records import NOISE_FILE
from unsir_bench.report.figures.data import Arrays, Drawing, Kind, Run, Scene, require
from unsir_bench.report.figures.style import new_figure, picture, shown

RANGE = 3.0  # normalised value that is white; its negative is black, 0 (the data's mean pixel) mid-grey
IMAGES_SHOWN = 4  # of each class; the table has all
CLASSES_SHOWN = 12
TILES_WIDE = 2.7  # inches that all tiles of a row have together
LARGEST_TILE = 0.8  # inches
DECIMALS = 6
STAGES = {"learned": "as learned", "initial": "as initialised"}


@dataclass(frozen=True)
class Noise:
    """The noise that one run kept.

    Attributes:
        classes: for each image, the index of the class that it was learned for.
        images: for each image, its place among that class's.
        values: by stage, float (images, channels, height, width) in the space of normalised images.
    """

    classes: list[int]
    images: list[int]
    values: dict[str, NDArray[Any]]


def draw(scene: Scene) -> Iterator[Drawing]:
    """One figure per method and setting, of its first seed that kept noise.

    Values are shown on one fixed scale, the same for all images, methods and data sets: ``(value + 3) / 6`` of white,
    cut at black and white. An image of three channels is shown in colour, each channel so; of other numbers than one
    and three the mean over channels is shown.
    """
    first: dict[str, tuple[Run, Noise]] = {}
    for run, noise in scene.beside(NOISE_FILE, _parsed):
        first.setdefault(run.label, (run, noise))
    for run, noise in first.values():
        classes = list(dict.fromkeys(noise.classes))
        left_out = "" if len(classes) <= CLASSES_SHOWN else f"the first {CLASSES_SHOWN} of {len(classes)} classes"
        title = scene.title([1], run.label, f"seed {run.record.seed}", left_out)
        yield Drawing(f"noise-{run.label}", _figure(title, run, noise, classes[:CLASSES_SHOWN]), _table(run, noise))


def _parsed(run: Run, arrays: Arrays) -> Noise:
    image = (None, None, None, None)
    require(arrays, {"learned": image, "initial": image, "classes": (None,), "images": (None,)})
    if arrays["learned"].shape != arrays["initial"].shape:
        raise ValueError("learned and initial noise have different shapes")
    return Noise(
        [int(index) for index in arrays["classes"]],
        [int(place) for place in arrays["images"]],
        {stage: arrays[stage].astype(float) for stage in STAGES},
    )


def shades(image: NDArray[Any]) -> NDArray[Any]:
    """An image of normalised values as it is shown.

    Args:
        image: (channels, height, width).

    Returns:
        (height, width, 3) in [0, 1].
    """
    channels = image if len(image) == 3 else np.repeat(image.mean(axis=0, keepdims=True), 3, axis=0)
    lightness: NDArray[Any] = ((channels + RANGE) / (2 * RANGE)).clip(0, 1).transpose(1, 2, 0)
    return lightness


def _figure(title: str, run: Run, noise: Noise, classes: list[int]) -> Figure:
    columns = min(IMAGES_SHOWN, max(noise.images) + 1)
    tile_inches = min(LARGEST_TILE, TILES_WIDE / (2 * columns + 0.3))
    figure = new_figure(0.95 + (tile_inches + 0.06) * len(classes), title)
    grid = figure.add_gridspec(len(classes), 2 * columns + 1, width_ratios=[*[1] * columns, 0.3, *[1] * columns])
    names = dict(zip(run.record.forget_classes, run.record.forget_names, strict=False))
    for row, index in enumerate(classes):
        own = [place for place, of in enumerate(noise.classes) if of == index][:columns]
        for start, (stage, words) in zip((0, columns + 1), STAGES.items(), strict=True):
            for column, place in enumerate(own, start=start):
                tile = figure.add_subplot(grid[row, column])
                tile.imshow(shades(noise.values[stage][place]), interpolation="nearest")
                picture(tile)
                if column == 0:
                    tile.set_ylabel(class_words(index, names), rotation=0, ha="right", va="center")
                if row == 0 and column == start:
                    tile.set_title(words, loc="left")
    scale = ScalarMappable(Normalize(-RANGE, RANGE), "gray")
    bar = figure.colorbar(scale, ax=figure.axes, orientation="horizontal", fraction=0.08, pad=0.03, aspect=30)
    bar.set_label("normalised value (each channel); 0: mean pixel")
    return figure


def class_words(index: int, names: dict[int, str]) -> str:
    """A class by its index, and its name where that says more."""
    name = names.get(index, "")
    return f"class {index}" if name in ("", str(index)) else f"class {index}\n{shown(name, 11, lines=1)}"


def _table(run: Run, noise: Noise) -> pd.DataFrame:
    names = dict(zip(run.record.forget_classes, run.record.forget_names, strict=False))
    return pd.DataFrame(
        {
            "method": run.label,
            "seed": run.record.seed,
            "class": index,
            "name": names.get(index, ""),
            "index": place,
            "stage": stage,
            "min": values.min(),
            "max": values.max(),
            "mean": values.mean(),
            "std": values.std(),
        }
        for stage in STAGES
        for index, place, values in zip(noise.classes, noise.images, noise.values[stage], strict=True)
    ).round(DECIMALS)


NOISE = Kind(
    "noise",
    draw,
    "noise images beside the records: runs of UNSIR keep them with method.noise.kept=4",
)
