"""Every figure of sweeps, from their records alone: PDF and PNG with the numbers in them as CSV beside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from unsir_bench.records import write_whole
from unsir_bench.report.figure_ablation import ABLATION
from unsir_bench.report.figure_data import Drawing, Scene, scenes
from unsir_bench.report.figure_efficiency import EFFICIENCY
from unsir_bench.report.figure_grad_cam import GRAD_CAM
from unsir_bench.report.figure_noise import NOISE
from unsir_bench.report.figure_plane import PLANE
from unsir_bench.report.figure_predictions import PREDICTIONS
from unsir_bench.report.figure_relearn_curves import RELEARN_CURVES
from unsir_bench.report.figure_style import save, style
from unsir_bench.report.figure_trade_off import TRADE_OFF
from unsir_bench.report.figure_weight_distance import WEIGHT_DISTANCE
from unsir_bench.report.html_page import Sweep

KINDS = (TRADE_OFF, WEIGHT_DISTANCE, PREDICTIONS, RELEARN_CURVES, EFFICIENCY, ABLATION, PLANE, NOISE, GRAD_CAM)
LONGEST_NAME = 150  # letters of a file's name, which file systems limit to 255 bytes


def write_figures(sweeps: Sequence[Sweep], output: Path) -> Iterator[str]:
    """Draw all figures that the records hold data for into ``output/<sweep>/``.

    Yields:
        A line of words for each figure that cannot be drawn and for each group of runs that was, as they are done.
    """
    taken: set[str] = set()
    for sweep in sweeps:
        folder = output / _unique(sweep.folder.resolve().name, taken)
        names: set[str] = set()
        folders = {record.run_id: path.parent for path, record in sweep.found}
        for scene in scenes(sweep.folder.resolve().name, sweep.records, folders):
            yield from _write_scene(scene, folder, names)
        for path, why in sweep.unreadable:
            yield f"{folder.name}: {path} cannot be read and takes no part: {why}"


def _write_scene(scene: Scene, folder: Path, names: set[str]) -> Iterator[str]:
    title = f"{scene.sweep}, {scene.place}"
    drawn = 0
    for kind in KINDS:
        with style():
            drawings = list(kind.draw(scene))
            for drawing in drawings:
                _write(drawing, folder / _unique(f"{drawing.name}-{'-'.join(_place_words(scene))}", names))
        drawn += len(drawings)
        if not drawings:
            yield f"{title}: no {kind.name} figure for want of {kind.absent}"
    yield from (f"{title}: {words}" for words in (*scene.complaints, *scene.gaps))
    yield f"{title}: {drawn} figures in {folder} from {_run_words(scene)}"


def _place_words(scene: Scene) -> tuple[str, str, str]:
    return scene.place.dataset, scene.place.model, scene.place.forget


def _run_words(scene: Scene) -> str:
    statuses = Counter(record.status for record in scene.records)
    done = statuses.pop("done", 0)
    others = [f"{count} {status}" for status, count in sorted(statuses.items())]
    return ", ".join([f"{done} finished runs", *others])


def _write(drawing: Drawing, stem: Path) -> None:
    save(drawing.figure, stem)
    write_whole(stem.with_name(f"{stem.name}.csv"), drawing.data.to_csv(index=False, lineterminator="\n"))


def _unique(name: str, taken: set[str]) -> str:
    """A file's name of letters that every file system knows; a number tells those apart that come out alike."""
    plain = re.sub(r"[^A-Za-z0-9_.=-]+", "_", name).strip("._-")[:LONGEST_NAME] or "unnamed"
    numbered = (f"{plain}-{number}" for number in count(2))
    free = next(one for one in chain([plain], numbered) if one.lower() not in taken)
    taken.add(free.lower())
    return free
