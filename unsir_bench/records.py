"""The record of a run: one flat, versioned JSON file; `docs/records.md` documents every field."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, get_type_hints

from unsir_bench.added_fields import with_added_fields
from unsir_bench.errors import NotRecordedError, UnreadableError, UnrecordableError
from unsir_bench.guarantees import Guarantees
from unsir_bench.record_checks import fits, impossible
from unsir_bench.runtime.files import (
    DAMAGED,
    read_lines,
    read_regular,
    refuse_unreadable,
    set_aside,
    sha256,
    write_atomic,
)
from unsir_bench.runtime.printable import printable as printable  # noqa: PLC0414 - most who read records need it
from unsir_bench.runtime.strict_json import in_words, parsed
from unsir_bench.runtime.timing import timing_conditions, timing_words
from unsir_bench.versions import SCHEMA_VERSION

LOG = logging.getLogger("unsir_bench")
RECORD_FILE = "record.json"
GRAD_CAM_FILE = "grad_cam.safetensors"  # beside the record, if the run made maps
NOISE_FILE = "noise.safetensors"  # likewise, if the run kept noise images
REMOVAL_FILE = "removal.safetensors"  # likewise, of certified removal
CAUTION = "_caution"  # ends the name of a detail that says why a number should be read with care
FINISHED = ("done", "skipped", "diverged")
READABLE = (1, SCHEMA_VERSION)  # records of version 1 carry no digest: they are reported, but never finished
LARGEST = 16 * 2**20  # bytes; the largest record of any experiment so far takes less than a fiftieth


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
        forget_classes: indices; ``forget_names`` are names of classes (or sub-classes), ``forget_steps`` the groups
            forgotten in sequence.
        metrics: flat; accuracies are fractions, times seconds, memory bytes.
        metric_notes: why a metric is null, by its name.
        guarantees: what the method promises by its procedure, by name; cards in ``unsir_bench/guarantees.py``.
        details: results that are not single numbers: curves, distributions, layers, accuracies by class.
        settings: where the method's values come from: ``published``, ``tuned``, ``user`` or ``none``; empty in records
            from before it was noted. ``study`` names the study of tuned ones.
        access: the declared access, and the training samples of each kind that the method touched.
        fingerprints: of the data, the split, the original, the retrained and the unlearned model.
        config: the whole configuration.
        command: the command line that repeats this run alone.
        environment: commit, packages, hardware, threads, flags.
        references: of the original and the retrained model the hash of the weights, and their training's environment.
        unlearned: of the weights after each step, the ``key`` in the store and the hash; empty where none were kept.
        evaluated: what ``unsir-bench evaluate`` added after the run: settings, names of metrics, where and when.
        checkpoints: of a model made elsewhere, each file's name, hash and renamed tensors by role; else empty.
        store_entries: keys of the store's entries that it used; None if that was not recorded.
        digest: sha256 over the other fields; empty in version 1.
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
    settings: str = ""
    study: str = ""
    access: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, str | None] = field(default_factory=dict)
    metric_notes: dict[str, str] = field(default_factory=dict)
    guarantees: Guarantees = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    started: str = field(default_factory=utc_now)
    finished: str = ""
    references: dict[str, dict[str, Any]] = field(default_factory=dict)
    unlearned: list[dict[str, str]] = field(default_factory=list)
    evaluated: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    store_entries: list[str] | None = None
    schema_version: int = SCHEMA_VERSION
    digest: str = ""

    def __post_init__(self) -> None:
        self._raw: dict[str, Any] = {}  # fields that are read otherwise than they are written

    @property
    def timed_on(self) -> str:
        """The conditions its seconds depend on, in words; only records with equal words are comparable."""
        return timing_words(timing_conditions(self.environment))

    @property
    def measured_with(self) -> dict[str, Any]:
        """The settings of its metrics: the configuration's, or, of metrics added later, the last ones."""
        settings = self.evaluated[-1]["metrics"] if self.evaluated else self.config.get("metrics")
        return settings or {}

    @property
    def cautions(self) -> dict[str, str]:
        """Why numbers of the unlearned model should be read with care: details named ``<what>_caution``, by what."""
        models = ("original_", "retrain_", "floor_")  # theirs are measured on the same samples
        own = {name: words for name, words in self.details.items() if not name.startswith(models)}
        return {name.removesuffix(CAUTION): str(own[name]) for name in own if name.endswith(CAUTION)}

    @property
    def relearn_cap(self) -> int:
        """After how many mini-batches relearning was given up; 0 where that is not recorded."""
        return int((self.measured_with.get("relearn") or {}).get("cap") or 0)

    @property
    def written_last(self) -> str:
        """When the run ended, or when metrics were last added to it, as ISO 8601 in UTC; empty where it is not said."""
        return max([self.finished, *(str(added.get("finished", "")) for added in self.evaluated)])

    def _repr_html_(self) -> str:
        """What a notebook shows: test accuracies of the three models, in per cent; all texts are escaped."""
        rows = ""
        for name, prefix in (("original", "original_"), ("retrain", "retrain_"), (self.method, "")):
            shares = [self.metrics.get(f"{prefix}acc_{kind}_test") for kind in ("retain", "forget")]
            cells = "".join(f"<td>{'–' if share is None else f'{100 * share:.2f}'}</td>" for share in shares)
            rows += f"<tr><th>{escape(name)}</th>{cells}</tr>"
        words = ": ".join(filter(None, (self.status, self.reason)))
        title = f"<caption>{escape(self.run_id)}<br>{escape(words)}</caption>"
        return f"<table>{title}<tr><th></th><th>A_Dr %</th><th>A_Df %</th></tr>{rows}</table>"

    def write(self, folder: Path) -> Path:
        """The path of the record, written into ``folder`` in one step; sets ``digest``, and ``finished`` once.

        Raises:
            UnrecordableError: no record that could be read again holds this; nothing is written.
            OSError: the disk refuses it.
        """
        self.finished = self.finished or utc_now()
        path = folder / RECORD_FILE
        steps = [step["metrics"] for step in self.details.get("steps", [])]
        for numbers in (self.metrics, self.guarantees, *steps):
            for name, value in numbers.items():
                if isinstance(value, float) and not math.isfinite(value):
                    numbers[name], self.metric_notes[name] = None, f"it came to {value}"
        content = json.loads(json.dumps(in_words(asdict(self))))  # keys and lists as a reader finds them
        content |= {key: _unchanged(content[key], raw, _shown(key, raw)) for key, raw in self._raw.items()}
        self.digest = content["digest"] = digest(content)
        text = json.dumps(content, indent=2) + "\n"
        for problem in _unrecordable(content, len(text)):
            raise UnrecordableError(problem)
        if path.is_dir() and not path.is_symlink():  # anything else is replaced
            set_aside(path, folder / DAMAGED, "it is a folder")
        write_atomic(path, text)
        return path

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read a record; control characters in its texts are shown as escapes, which ``write`` writes as they were.

        Raises:
            ValueError: the file cannot be read, holds no record, has another schema version or does not match its
                digest, or an accuracy is outside [0, 1].
        """
        try:
            return cls.parsed(read_regular(path, LARGEST))
        except OSError as error:
            raise ValueError(f"{printable(str(path))}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{printable(str(path))}: {printable(str(error))}") from error

    @classmethod
    def parsed(cls, content: bytes) -> RunRecord:
        """The record that a file's bytes hold; raises ValueError as ``read``, or RecursionError."""
        return cls.of(parsed(content))

    @classmethod
    def of(cls, content: Any) -> RunRecord:
        """The record that a file's JSON holds; raises as ``read``."""
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version not in READABLE or isinstance(version, bool):
            raise ValueError(f"schema version {version} is not {SCHEMA_VERSION}, the one this release writes")
        if version != 1 and content.get("digest") != digest(content):
            raise ValueError("it does not match its digest: it was changed or damaged after it was written")
        known = {key: _shown(key, value) for key, value in content.items() if key in _kinds()}
        wrong = [key for key, value in known.items() if not fits(value, _kinds()[key])]
        if wrong:
            raise ValueError(f"is no record: {wrong[0]} is no {_kinds()[wrong[0]]}")
        try:
            record = cls(**known)
        except TypeError as error:
            raise ValueError(f"is no whole record: {error}") from error
        for complaint in impossible(record):
            raise ValueError(f"is no record of a run: {complaint}")
        record._raw = {key: content[key] for key, value in known.items() if value != content[key]}
        return record


def _shown(key: str, raw: Any) -> Any:
    """A field as a reader is given it."""
    shown = printable(raw)
    return with_added_fields(shown) if key == "config" and isinstance(shown, dict) else shown


def _unchanged(now: Any, raw: Any, shown: Any) -> Any:
    """A value in which all that is still as it was ``shown`` is as it was read, ``raw``."""
    if now == shown:
        return raw
    if isinstance(now, dict) and isinstance(raw, dict):
        was = {printable(key): (key, value) for key, value in raw.items()}
        old = {
            key: (was[key][0], _unchanged(value, was[key][1], shown[key])) for key, value in now.items() if key in was
        }
        return dict(old.get(key, (key, value)) for key, value in now.items())
    if isinstance(now, list) and isinstance(raw, list):
        return [*map(_unchanged, now, raw, shown), *now[len(raw) :]]
    return now


def _unrecordable(content: dict[str, Any], size: int) -> Iterator[str]:
    """Which fields of a record could not be read again, and why."""
    texts: dict[str, str] = {}
    for name, value in content.items():
        parts = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        texts |= {part: json.dumps(each) for part, each in parts.items()}
    for name, text in texts.items():
        try:
            parsed(text.encode())
        except (ValueError, RecursionError) as error:
            yield f"{name}: {error}"
    if size > LARGEST:
        largest = max(texts, key=lambda name: len(texts[name]))
        yield f"{largest}: the record would have {size} bytes, and {LARGEST} is the most; keep less of it"


def digest(content: dict[str, Any]) -> str:
    """sha256 over a record's canonical JSON, its ``digest`` left out."""
    covered = {key: value for key, value in content.items() if key != "digest"}
    return sha256(json.dumps(covered, sort_keys=True, separators=(",", ":")).encode())


@cache
def _kinds() -> dict[str, Any]:
    """The type of each field of a record."""
    return get_type_hints(RunRecord)


def own_record(folder: Path) -> RunRecord:
    """The record in a run's folder; raises as ``read``, and where it is another run's or carries no digest."""
    path = folder / RECORD_FILE
    record = RunRecord.read(path)
    if record.schema_version != SCHEMA_VERSION:
        raise ValueError(f"{printable(str(path))}: schema version {record.schema_version} carries no digest")
    if record.run_id != folder.absolute().name:
        raise ValueError(f"{printable(str(path))}: it is of the run {record.run_id}")
    return record


def finished_record(folder: Path) -> RunRecord | None:
    """The record of a finished run (done, skipped or diverged), or None; warns of one that cannot be trusted.

    Raises:
        NotRecordedError: it may be finished, and cannot be read now.
    """
    if not os.path.lexists(folder / RECORD_FILE):
        return None
    try:
        record = own_record(folder)
    except ValueError as error:
        try:
            refuse_unreadable(error.__cause__, folder / RECORD_FILE)
        except UnreadableError as reason:  # a new record would replace it
            raise NotRecordedError(str(reason)) from error
        LOG.warning("%s: the run is not taken as finished", printable(str(error)))
        return None
    return record if record.status in FINISHED else None


def record_in_line(path: Path, line: int) -> RunRecord:
    """The record on a line, counted from 1, of a file that holds one on each; raises as ``RunRecord.read``."""
    shown = f"{printable(str(path))}:{line}"
    try:
        lines = read_lines(path)
        if not 1 <= line <= len(lines):
            raise ValueError(f"the file has {len(lines)} lines")
        return RunRecord.parsed(lines[line - 1])
    except OSError as error:
        raise ValueError(f"{shown}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown}: {printable(str(error))}") from error


def record_paths(folder: Path) -> list[Path]:
    """Where a sweep's runs have records, whatever lies there, in order of run id."""
    found = (run / RECORD_FILE for run in folder.glob("*/"))
    return sorted(path for path in found if os.path.lexists(path))


def read_records(folder: Path) -> tuple[list[tuple[Path, RunRecord]], list[tuple[Path, str]]]:
    """Every record of a sweep, in order of run id, and each that cannot be read with the reason; warns of these."""
    found, unreadable = [], []
    for path in record_paths(folder):
        shown = printable(str(path))
        try:
            found.append((path, RunRecord.read(path)))
        except ValueError as error:
            LOG.warning("%s cannot be read and is left out: %s", shown, error)
            unreadable.append((path, str(error).removeprefix(f"{shown}: ")))
    return found, unreadable


def records_below(folder: Path) -> list[tuple[Path, RunRecord]]:
    """Every readable record of a sweep with its path, in order of run id; warns of unreadable ones."""
    return read_records(folder)[0]
