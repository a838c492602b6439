"""Every figure of sweeps, from their records alone: PDF and PNG with the numbers in them as CSV beside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from joblib import Parallel, cpu_count, delayed

from unsir_bench.report.figures.ablation import ABLATION
from unsir_bench.report.figures.any_forget_class import ANY_FORGET_CLASS
from unsir_bench.report.figures.data import Drawing, Scene, across_forget_sets, scenes
from unsir_bench.report.figures.efficiency import EFFICIENCY
from unsir_bench.report.figures.grad_cam import GRAD_CAM
from unsir_bench.report.figures.noise import NOISE
from unsir_bench.report.figures.overview import OVERVIEW
from unsir_bench.report.figures.plane import PLANE
from unsir_bench.report.figures.predictions import PREDICTIONS
from unsir_bench.report.figures.relearn_curves import RELEARN_CURVES
from unsir_bench.report.figures.removal import REMOVAL
from unsir_bench.report.figures.repair_gain import REPAIR_GAIN
from unsir_bench.report.figures.requests import REQUESTS
from unsir_bench.report.figures.style import rendered, style
from unsir_bench.report.figures.trade_off import TRADE_OFF
from unsir_bench.report.figures.weight_distance import WEIGHT_DISTANCE
from unsir_bench.report.folders import Sweep
from unsir_bench.report.tables.text import csv_text
from unsir_bench.runtime.files import write_atomic

KINDS = (
    OVERVIEW,
    TRADE_OFF,
    ANY_FORGET_CLASS,
    WEIGHT_DISTANCE,
    PREDICTIONS,
    RELEARN_CURVES,
    EFFICIENCY,
    ABLATION,
    PLANE,
    REQUESTS,
    NOISE,
    REMOVAL,
    GRAD_CAM,
)
KINDS_ACROSS = (REPAIR_GAIN,)  # of all forget sets of a data set and model
LONGEST_NAME = 150  # letters of a file's name, which file systems limit to 255 bytes


def write_figures(sweeps: Sequence[Sweep], output: Path) -> Iterator[str]:
    """Draw all figures that the records hold data for into ``output/<sweep>/``, on all processors.

    Yields:
        A line of words for each figure that cannot be drawn and for each group of runs that was, in the order of the
        sweeps; then one for each record that cannot be read.
    """
    taken: set[str] = set()
    places: list[tuple[Scene, Path, set[str]]] = []
    unreadable = []
    for sweep in sweeps:
        folder, names = output / _unique(sweep.folder.resolve().name, taken), set[str]()
        folders = {record.run_id: path.parent for path, record in sweep.found}
        found = scenes(sweep.folder.resolve().name, sweep.records, folders)
        places += [(scene, folder, names) for scene in (*across_forget_sets(found), *found)]
        unreadable += [(folder.name, path, why) for path, why in sweep.unreadable]
    drawn = Parallel(n_jobs=max(min(cpu_count(), len(places)), 1), return_as="generator")(
        delayed(_drawn)(scene) for scene, _, _ in places
    )
    for (scene, folder, names), (sheets, said) in zip(places, drawn, strict=True):
        for sheet in sheets:
            _write(sheet, folder / _unique(f"{sheet.name}-{'-'.join(scene.place)}", names))
        yield from said
        if sheets or not scene.across:
            yield f"{_title(scene)}: {len(sheets)} figures in {folder} from {_run_words(scene)}"
    yield from (f"{name}: {path} cannot be read and takes no part: {why}" for name, path, why in unreadable)


class Sheet(NamedTuple):
    """A figure as the content of its files by suffix."""

    name: str
    files: dict[str, bytes | str]


def _drawn(scene: Scene) -> tuple[list[Sheet], list[str]]:
    """What can be drawn of a group of runs, and what is said of the rest."""
    sheets: list[Sheet] = []
    said = []
    for kind in KINDS_ACROSS if scene.across else KINDS:
        with style():
            drawings = [_sheet(drawing) for drawing in kind.draw(scene)]
        sheets += drawings
        if not drawings:
            said.append(f"{_title(scene)}: no {kind.name} figure for want of {kind.absent}")
    apart = () if scene.across else (*scene.complaints, *scene.gaps)  # said of each forget set
    return sheets, [*said, *(f"{_title(scene)}: {words}" for words in apart)]


def _sheet(drawing: Drawing) -> Sheet:
    return Sheet(drawing.name, {**rendered(drawing.figure), "csv": csv_text(drawing.data)})


def _title(scene: Scene) -> str:
    return f"{scene.sweep}, {scene.place}"


def _run_words(scene: Scene) -> str:
    statuses = Counter(record.status for record in scene.records)
    done = statuses.pop("done", 0)
    others = [f"{count} {status}" for status, count in sorted(statuses.items())]
    return ", ".join([f"{done} finished run{'' if done == 1 else 's'}", *others])


def _write(sheet: Sheet, stem: Path) -> None:
    for suffix, content in sheet.files.items():
        write_atomic(stem.with_name(f"{stem.name}.{suffix}"), content)


def _unique(name: str, taken: set[str]) -> str:
    """A file's name of letters that every file system knows; a number tells those apart that come out alike."""
    plain = re.sub(r"[^A-Za-z0-9_.=-]+", "_", name).strip("._-")[:LONGEST_NAME] or "unnamed"
    numbered = (f"{plain}-{number}" for number in count(2))
    free = next(one for one in chain([plain], numbered) if one.lower() not in taken)
    taken.add(free.lower())
    return free
