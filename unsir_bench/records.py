"""The record of a run: one flat, versioned JSON file; `docs/records.md` documents every field."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from unsir_bench.runtime.files import write_atomic
from unsir_bench.runtime.timing import timing_conditions, timing_words
from unsir_bench.versions import SCHEMA_VERSION

# Configuration fields added since the first records, with the values those runs had.
ADDED_TO_AUGMENT: dict[str, Any] = {"alternate": False}
ADDED_TO_RECIPES: dict[str, Any] = {
    "plateau_watch": "train",
    "held_out_share": 0.02,
    "decay_epochs": [],
    "decay_factor": 0.1,
}
ADDED_TO_NOISE: dict[str, Any] = {"one_per_channel": False}
# By the beginning of a method's name.
ADDED_TO_METHODS: dict[str, dict[str, Any]] = {"eu_k": {"reset_norms": True}, "scrub": {"forget_batch_size": None}}
LOG = logging.getLogger("unsir_bench")
RECORD_FILE = "record.json"
GRAD_CAM_FILE = "grad_cam.safetensors"  # beside the record, if the run made maps
NOISE_FILE = "noise.safetensors"  # likewise, if the run kept noise images
FINISHED = ("done", "skipped", "diverged")


def utc_now() -> str:
    """The current time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class RunRecord:
    """All that is known of one run.

    Attributes:
        run_id: names the run's folder; holds a hash of everything that affects the result.
        status: ``done``, ``skipped`` (the method cannot be applied), ``diverged`` (a loss became NaN) or ``failed``.
        reason: why a run is not ``done``.
        error: the traceback of a failed run.
        method, dataset, model: names of the config nodes.
        forget_classes: indices; ``forget_names`` are class names, ``forget_steps`` the groups forgotten in sequence.
        metrics: flat; accuracies are fractions, times seconds, memory bytes.
        metric_notes: why a metric is null, by its name.
        details: results that are not single numbers: curves, distributions, layers, accuracies by class.
        access: the declared access, and the training samples of each kind that the method touched.
        fingerprints: of the data, the split, the original, the retrained and the unlearned model.
        config: the whole configuration.
        command: the command line that repeats this run alone.
        environment: commit, packages, hardware, threads, flags.
    """

    run_id: str
    sweep: str
    method: str
    dataset: str
    model: str
    seed: int
    config: dict[str, Any]
    status: str = "failed"
    reason: str | None = None
    error: str | None = None
    forget_set: str = ""
    forget_classes: list[int] = field(default_factory=list)
    forget_names: list[str] = field(default_factory=list)
    forget_steps: list[list[int]] = field(default_factory=list)
    metrics: dict[str, float | int | None] = field(default_factory=dict)
    access: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, str | None] = field(default_factory=dict)
    metric_notes: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    started: str = field(default_factory=utc_now)
    finished: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def timed_on(self) -> str:
        """The conditions its seconds depend on, in words; only records with equal words are comparable."""
        return timing_words(timing_conditions(self.environment))

    def write(self, folder: Path) -> Path:
        """The path of the record, written into ``folder`` in one step; sets ``finished``."""
        self.finished = utc_now()
        path = folder / RECORD_FILE
        for name, value in self.metrics.items():
            if isinstance(value, float) and not math.isfinite(value):
                self.metrics[name], self.metric_notes[name] = None, f"it came to {value}"
        write_atomic(path, json.dumps(_in_words(asdict(self)), indent=2, allow_nan=False) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read a record.

        Raises:
            ValueError: the file cannot be read, holds no record, or has another schema version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(f"{path}: schema version {version} is not {SCHEMA_VERSION}, the one this release reads")
        known = {key: value for key, value in content.items() if key in _kinds()}
        wrong = [key for key, value in known.items() if not _fits(value, _kinds()[key])]
        if wrong:
            raise ValueError(f"{path}: is no record: {wrong[0]} is no {_kinds()[wrong[0]]}")
        if "config" in known:
            known["config"] = _with_added_fields(known["config"])
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"{path}: is no whole record: {error}") from error


def _with_added_fields(section: dict[str, Any]) -> dict[str, Any]:
    """A configuration with fields added since filled in, so that older and newer runs group together."""
    filled = {key: _with_added_fields(value) if isinstance(value, dict) else value for key, value in section.items()}
    if isinstance(filled.get("augment"), dict):
        filled["augment"] = {**ADDED_TO_AUGMENT, **filled["augment"]}
    if filled.get("retain_share") is not None and "retain_per_class" in filled:
        filled["retain_per_class"] = None  # it had no effect; older records hold a number
    if isinstance(filled.get("noise"), dict):
        filled["noise"] = {**ADDED_TO_NOISE, **filled["noise"]}
    for method, added in ADDED_TO_METHODS.items():
        if "train" in filled and str(filled.get("name")).startswith(method):
            filled = {**added, **filled}
    return {**ADDED_TO_RECIPES, **filled} if "plateau_patience" in filled else filled


@cache
def _kinds() -> dict[str, Any]:
    """The type of each field of a record."""
    return get_type_hints(RunRecord)


def _fits(value: object, kind: Any) -> bool:
    """Whether a value from JSON has a field's type."""
    parts, origin = get_args(kind), get_origin(kind)
    if origin is UnionType:
        return any(_fits(value, part) for part in parts)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(one, parts[1]) for one in value.values())
    if origin is list:
        return isinstance(value, list) and all(_fits(one, parts[0]) for one in value)
    return kind is Any or isinstance(value, kind)


def _in_words(content: Any) -> Any:
    """Plain values with NaN and infinities as strings, which strict JSON cannot hold."""
    if isinstance(content, dict):
        return {key: _in_words(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_in_words(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content


def _no_number(word: str) -> NoReturn:
    # Python's JSON parser accepts NaN and infinities; in a record they would spoil means and intervals.
    raise ValueError(f"{word} is no number that a record may hold")


def finished_record(folder: Path) -> RunRecord | None:
    """The record of a finished run (done, skipped or diverged), or None."""
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        record = RunRecord.read(path)
    except ValueError:
        return None
    return record if record.status in FINISHED else None


def records_below(folder: Path) -> Iterator[tuple[Path, RunRecord]]:
    """Every readable record of a sweep with its path, in order of run id; warns of unreadable ones."""
    for path in sorted(folder.glob(f"*/{RECORD_FILE}")):
        try:
            yield path, RunRecord.read(path)
        except ValueError as error:
            LOG.warning("%s cannot be read and is left out: %s", path, error)
