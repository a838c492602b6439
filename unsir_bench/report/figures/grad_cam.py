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
from unsir_bench.report.conditions import ELSEWHERE
from unsir_bench.report.figures.data import Arrays, Drawing, Kind, Run, Scene, require
from unsir_bench.report.figures.noise import DECIMALS, class_words
from unsir_bench.report.figures.style import HEAT, new_figure, picture, shown
from unsir_bench.report.method_style import REFERENCES, method_style

METHODS_SHOWN = 3  # in one figure, beside the image and the references
ROWS_SHOWN = 8  # images times seeds; the table has all
SEEDS_SHOWN = 3
TO_SEE = "bright: speaks for the image's own class, which retrain never saw"
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
        peaks: by model, the largest value of each map before it was scaled, (images,); older records have none.
    """

    samples: tuple[int, ...]
    labels: tuple[int, ...]
    pixels: NDArray[Any]
    maps: Maps
    peaks: Maps


@dataclass(frozen=True)
class Column:
    """The maps of one model, by seed."""

    label: str
    method: str
    maps: Mapping[int, NDArray[Any]]
    peaks: Mapping[int, NDArray[Any]]

    @property
    def comparable(self) -> bool:
        """Whether the size of every map is known."""
        return self.maps.keys() == self.peaks.keys()

    def scaled(self, seed: int, place: int, top: float | None) -> NDArray[Any]:
        """A map in [0, 1]: of the largest value ``top`` of all maps shown, or scaled on its own for None."""
        heat: NDArray[Any] = self.maps[seed][place]
        return heat if top is None else np.asarray(heat * (self.peaks[seed][place] / top))


def draw(scene: Scene) -> Iterator[Drawing]:
    """Rows are images and seeds, columns models; a few methods a figure, each with the image and its references.

    A map speaks for the image's own class. All maps have the scale of the largest value among them; those of records
    that do not know their size are each scaled on its own, and the figure says so. A map without contrast (nothing
    speaks for the class) is marked as empty. Runs of other conditions or other originals have figures of their own.
    """
    apart: dict[tuple[str, str], list[tuple[Run, Views]]] = {}
    for run, views in _same_images(scene, scene.beside(GRAD_CAM_FILE, _parsed)):
        apart.setdefault(run.experiment, []).append((run, views))
    for (conditions, origin), found in apart.items():
        words = [conditions, ELSEWHERE if origin else ""] if len(apart) > 1 else []
        yield from _pages(scene, found, words)


def _pages(scene: Scene, found: Sequence[tuple[Run, Views]], words: Sequence[str]) -> Iterator[Drawing]:
    """The figures of runs that share their references; ``words`` say what else than the methods they are of."""
    run, views = found[0]
    seeds = sorted({run.record.seed for run, _ in found})[:SEEDS_SHOWN]
    references, methods = _columns(found)
    every = [*references, *methods]
    top = max((float(peaks.max()) for column in every for peaks in column.peaks.values()), default=0.0)
    top_shown = top if top > 0 and all(column.comparable for column in every) else None
    for page, start in enumerate(range(0, len(methods) or 1, METHODS_SHOWN), start=1):
        columns = [*references, *methods[start : start + METHODS_SHOWN]]
        empty = any(not heat.any() for column in columns for seed in seeds for heat in column.maps.get(seed, ()))
        notes = (*words, TO_SEE, "empty: nothing speaks for it" if empty else "", scene.control_note)
        title = scene.title([len(seeds)], *notes)
        yield Drawing(
            f"grad_cam-{page}" if len(methods) > METHODS_SHOWN else "grad_cam",
            _figure(
                title, run, views, [(scene.marked(one.label), one) for one in columns], _rows(seeds, views), top_shown
            ),
            _table(views, columns, references),
        )


def _rows(seeds: Sequence[int], views: Views) -> list[tuple[int, int]]:
    """Seed and place of the image of each row: as many images of each seed, the seeds of an image below one another."""
    images = min(len(views.samples), max(1, ROWS_SHOWN // len(seeds)))
    return [(seed, place) for place in range(images) for seed in seeds]


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
        {name: _peaks(arrays, name) for name in models if f"{name}_peaks" in arrays},
    )


def _peaks(arrays: Arrays, model: str) -> NDArray[Any]:
    peaks: NDArray[Any] = arrays[f"{model}_peaks"].astype(float)
    if peaks.shape != arrays["samples"].shape or not (np.isfinite(peaks) & (peaks >= 0)).all():
        raise ValueError(f"'{model}_peaks' are not one number of at least 0 for each image")
    return peaks


def _grey(images: NDArray[Any], dataset: Mapping[str, Any]) -> NDArray[Any]:
    """Normalised images (images, channels, height, width) as grey pixels in [0, 1]."""
    shape = (1, -1, 1, 1)
    mean, std = (np.asarray(dataset.get(name, default)).reshape(shape) for name, default in (("mean", 0), ("std", 1)))
    pixels: NDArray[Any] = (images * std + mean).mean(axis=1).clip(0, 1)
    return pixels


def _same_images(scene: Scene, found: Sequence[tuple[Run, Views]]) -> list[tuple[Run, Views]]:
    """The runs of the images that most runs share; that the others are left out is complained of."""
    counts = Counter(views.samples for _, views in found)
    if not counts:
        return []
    chosen = min(counts, key=lambda samples: (-counts[samples], samples))
    for run, views in found:
        if views.samples != chosen:
            scene.complaints.append(f"the Grad-CAM maps of {run.record.run_id} are of other images and left out")
    return [(run, views) for run, views in found if views.samples == chosen]


def _columns(found: Sequence[tuple[Run, Views]]) -> tuple[list[Column], list[Column]]:
    """The references, of the first run of each seed that has them, and the methods in the order of the tables."""
    references = [
        _column(name, name, name, [pair for pair in found if name in pair[1].maps])
        for name in REFERENCES
        if any(name in views.maps for _, views in found)
    ]
    labels = {run.label: run.record.method for run, _ in found if run.record.method not in REFERENCES}
    methods = [
        _column(label, method, "unlearned", [pair for pair in found if pair[0].label == label])
        for label, method in labels.items()
    ]
    return references, methods


def _column(label: str, method: str, model: str, found: Sequence[tuple[Run, Views]]) -> Column:
    first = {run.record.seed: views for run, views in reversed(found)}
    return Column(
        label,
        method,
        {seed: first[seed].maps[model] for seed in sorted(first)},
        {seed: first[seed].peaks[model] for seed in sorted(first) if model in first[seed].peaks},
    )


def _figure(
    title: str,
    run: Run,
    views: Views,
    headed: Sequence[tuple[str, Column]],
    rows: Sequence[tuple[int, int]],
    top: float | None,
) -> Figure:
    names = dict(zip(run.record.forget_classes, run.record.forget_names, strict=False))
    columns = [column for _, column in headed]
    heads = ["image", *(shown(head, 9, lines=3) for head, _ in headed)]
    figure = new_figure(1.35 + 2.6 / len(heads) * len(rows), title)
    tiles = figure.subplots(len(rows), len(heads), squeeze=False)
    for tile, head, color in zip(tiles[0], heads, ["black", *_colors(columns)], strict=True):
        tile.set_title(head, color=color)
    for (seed, place), row in zip(rows, tiles, strict=True):
        for tile in row:
            picture(tile)
        row[0].imshow(views.pixels[place], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        words = f"{class_words(views.labels[place], names)}\nseed {seed}"
        row[0].set_ylabel(words, rotation=0, ha="right", va="center")
        for tile, column in zip(row[1:], columns, strict=True):
            if seed in column.maps:
                _draw_map(tile, views.pixels[place], column.scaled(seed, place, top))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top or 1), HEAT), ax=tiles.ravel().tolist(), orientation="horizontal", fraction=0.05
    )
    bar.set_label("Grad-CAM, each map scaled on its own" if top is None else "Grad-CAM, one scale for all maps")
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


def _table(views: Views, columns: Sequence[Column], references: Sequence[Column]) -> pd.DataFrame:
    """Numbers of each map; ``correlation_with_<reference>`` is Pearson's, empty where a map is constant.

    ``largest`` is the map's largest value before it was scaled, empty where that was not recorded.
    """
    return pd.DataFrame(
        {
            "model": column.label,
            "seed": seed,
            "sample": sample,
            "class": label,
            "largest": column.peaks[seed][place] if seed in column.peaks else None,
            "mean": heat.mean(),
            "std": heat.std(),
            "area_above_half": (heat >= HALF).mean(),
            **dict(zip(("peak_row", "peak_column"), _peak(heat), strict=True)),
            "empty": not heat.any(),
            **{
                f"correlation_with_{one.label}": _correlation(heat, one.maps[seed][place])
                for one in references
                if seed in one.maps
            },
        }
        for column in columns
        for seed, maps in column.maps.items()
        for place, (sample, label, heat) in enumerate(zip(views.samples, views.labels, maps, strict=True))
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
