"""Figure: Grad-CAM maps of forgotten test images, before (original), after each method, and after retraining."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unsir_bench.records import GRAD_CAM_FILE
from unsir_bench.report.figures.data import Arrays, Drawing, Kind, Run, Scene, require
from unsir_bench.report.figures.noise import DECIMALS, class_words
from unsir_bench.report.figures.style import HEAT, narrow, new_figure, picture, shown
from unsir_bench.report.method_style import REFERENCES, method_style

METHODS_SHOWN = 3  # in one figure, beside the image and the references
IMAGES_SHOWN = 8  # the table has all
HEAT_SHARE = 0.6  # of the map's colour in a tile; the rest is the image in grey
HALF = 0.5  # map values from which on a position counts as part of the area

Maps = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Views:
    """What one run keeps: the images and the maps of its models.

    Attributes:
        samples: for each image, its place in the test split.
        labels: for each image, its class.
        pixels: grey, (images, height, width) in [0, 1].
        maps: by model (``original``, ``retrain``, ``unlearned``), (images, height, width) in [0, 1].
    """

    samples: tuple[int, ...]
    labels: tuple[int, ...]
    pixels: NDArray[Any]
    maps: Maps


@dataclass(frozen=True)
class Column:
    """The maps of one model."""

    label: str
    method: str
    maps: NDArray[Any]


def draw(scene: Scene) -> Iterator[Drawing]:
    """Rows are images, columns models; a few methods a figure, each figure with the image and the references.

    All are of one seed: the first for which most methods have maps of the same images. Each map speaks for the image's
    own class and is scaled on its own from 0 to 1, so sizes cannot be compared between maps, only places. A map without
    contrast (nothing speaks for the class) is marked as empty.
    """
    found = _same_images(scene, scene.beside(GRAD_CAM_FILE, _parsed))
    if not found:
        return
    run, views = found[0]
    references, methods = _columns(found)
    for page, start in enumerate(range(0, len(methods) or 1, METHODS_SHOWN), start=1):
        columns = [*references, *methods[start : start + METHODS_SHOWN]]
        empty = any(not heat.any() for column in columns for heat in column.maps)
        notes = ("maps for each image's own class", "empty: nothing speaks for it" if empty else "")
        title = scene.title([1], f"seed {run.record.seed}", *notes)
        yield Drawing(
            f"grad_cam-{page}" if len(methods) > METHODS_SHOWN else "grad_cam",
            _figure(title, run, views, columns),
            _table(run, views, columns, references),
        )


def _parsed(run: Run, arrays: Arrays) -> Views:
    plane = (None, None, None)
    models = [name for name in ("original", "retrain", "unlearned") if name in arrays]
    shapes = {"images": (None, *plane), "samples": (None,), "labels": (None,), **dict.fromkeys(models, plane)}
    require(arrays, {**shapes, "original": plane, "unlearned": plane})
    images = arrays["images"]
    if any(arrays[name].shape[1:] != images.shape[2:] for name in models):
        raise ValueError("maps and images have different sizes")
    return Views(
        tuple(int(sample) for sample in arrays["samples"]),
        tuple(int(label) for label in arrays["labels"]),
        _grey(images, run.record.config.get("dataset", {})),
        {name: arrays[name].astype(float) for name in models},
    )


def _grey(images: NDArray[Any], dataset: Mapping[str, Any]) -> NDArray[Any]:
    """Normalised images (images, channels, height, width) as grey pixels in [0, 1]."""
    shape = (1, -1, 1, 1)
    mean, std = (np.asarray(dataset.get(name, default)).reshape(shape) for name, default in (("mean", 0), ("std", 1)))
    pixels: NDArray[Any] = (images * std + mean).mean(axis=1).clip(0, 1)
    return pixels


def _same_images(scene: Scene, found: Sequence[tuple[Run, Views]]) -> list[tuple[Run, Views]]:
    """The runs of the seed and images that most methods share; that the others are left out is complained of."""
    counts = Counter((run.record.seed, views.samples) for run, views in found)
    if not counts:
        return []
    chosen = min(counts, key=lambda key: (-counts[key], key))
    for run, views in found:
        if run.record.seed == chosen[0] and views.samples != chosen[1]:
            scene.complaints.append(f"the Grad-CAM maps of {run.record.run_id} are of other images and left out")
    return [(run, views) for run, views in found if (run.record.seed, views.samples) == chosen]


def _columns(found: Sequence[tuple[Run, Views]]) -> tuple[list[Column], list[Column]]:
    """The references, of the first run that has them, and the methods; two runs of one label give one column."""
    references = [
        Column(name, name, next(views.maps[name] for _, views in found if name in views.maps))
        for name in REFERENCES
        if any(name in views.maps for _, views in found)
    ]
    methods = {
        run.label: Column(run.label, run.record.method, views.maps["unlearned"])
        for run, views in reversed(found)
        if run.record.method not in REFERENCES
    }
    return references, list(reversed(methods.values()))


def _figure(title: str, run: Run, views: Views, columns: Sequence[Column]) -> Figure:
    rows = min(len(views.samples), IMAGES_SHOWN)
    names = dict(zip(run.record.forget_classes, run.record.forget_names, strict=False))
    heads = ["image", *(narrow(column.label, 9) for column in columns)]
    figure = new_figure(1.35 + 2.6 / len(heads) * rows, title)
    tiles = figure.subplots(rows, len(heads), squeeze=False)
    for tile, head, color in zip(tiles[0], heads, ["black", *_colors(columns)], strict=True):
        tile.set_title(head, color=color)
    for place, row in enumerate(tiles):
        for tile in row:
            picture(tile)
        row[0].imshow(views.pixels[place], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[0].set_ylabel(class_words(views.labels[place], names), rotation=0, ha="right", va="center")
        for tile, column in zip(row[1:], columns, strict=True):
            _draw_map(tile, views.pixels[place], column.maps[place])
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), HEAT), ax=tiles.ravel().tolist(), orientation="horizontal", fraction=0.05
    )
    bar.set_label("Grad-CAM, each map scaled on its own")
    return figure


def _colors(columns: Sequence[Column]) -> list[str]:
    return [method_style(column.method).color for column in columns]


def overlay(pixels: NDArray[Any], heat: NDArray[Any]) -> NDArray[Any]:
    """A map over its image: (height, width, 3) in [0, 1], of a grey image and a map, both (height, width) in [0, 1]."""
    colors = matplotlib.colormaps[HEAT](heat)[..., :3]
    mixed: NDArray[Any] = HEAT_SHARE * colors + (1 - HEAT_SHARE) * pixels[..., None]
    return mixed


def _draw_map(tile: Axes, pixels: NDArray[Any], heat: NDArray[Any]) -> None:
    if heat.any():
        tile.imshow(overlay(pixels, heat), interpolation="nearest")
        return
    tile.imshow(pixels, cmap="gray", vmin=0, vmax=1, alpha=0.3, interpolation="nearest")
    tile.text(0.5, 0.5, shown("empty", 9), transform=tile.transAxes, ha="center", va="center")


def _table(run: Run, views: Views, columns: Sequence[Column], references: Sequence[Column]) -> pd.DataFrame:
    """Summary numbers of each map; ``correlation_with_<reference>`` is Pearson's, empty where a map is constant."""
    return pd.DataFrame(
        {
            "model": column.label,
            "seed": run.record.seed,
            "sample": sample,
            "class": label,
            "mean": heat.mean(),
            "std": heat.std(),
            "area_above_half": (heat >= HALF).mean(),
            **dict(zip(("peak_row", "peak_column"), _peak(heat), strict=True)),
            "empty": not heat.any(),
            **{f"correlation_with_{one.label}": _correlation(heat, one.maps[place]) for one in references},
        }
        for column in columns
        for place, (sample, label, heat) in enumerate(zip(views.samples, views.labels, column.maps, strict=True))
    ).round(DECIMALS)


def _peak(heat: NDArray[Any]) -> tuple[int | None, int | None]:
    if not heat.any():
        return None, None
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return row, column


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


GRAD_CAM = Kind(
    "grad_cam",
    draw,
    "Grad-CAM maps beside the records: metrics=full keeps them, and so does metrics.grad_cam_samples=3",
)
