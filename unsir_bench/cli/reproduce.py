"""`unsir-bench reproduce RECORD...`: do finished runs again from their records, and compare the results bit by bit."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.errors import HydraException

from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.cli.moved_paths import MOVABLE, is_moved_path, moved_paths
from unsir_bench.cli.recorded_config import CannotRepeatError, config_of
from unsir_bench.cli.terminal import log_to_terminal
from unsir_bench.errors import UnsirBenchError
from unsir_bench.records import CAUTION, FINISHED, RECORD_FILE, RunRecord, own_record, printable, record_in_line
from unsir_bench.references.store import StoreConfig
from unsir_bench.report.tables.text import print_rows
from unsir_bench.runner import log_failure, run
from unsir_bench.runs.finished_runs import recorded_metrics
from unsir_bench.unlearning.method import Access

IDENTICAL, WITHIN_FLOOR, DIFFERS = "identical bits", "within the floor", "differs"
SAME, DIFFERENT, NOT_REPEATED = 0, 1, 2
# What depends on the machine's speed and memory.
MEASURED = ("seconds", "speedup", "bytes")
LONGEST_VALUE = 200  # letters
SURROUNDINGS = (
    "commit", "dirty", "lock_hash", "versions", "packages", "python", "platform", "cpu", "cpu_capability", "device",
    "threads", "deterministic",
)  # fmt: skip


def reproduce_command(argv: Sequence[str]) -> int:
    """Do runs again in a temporary folder, and say for each metric whether it came out the same.

    Args:
        argv: the words after ``reproduce``.

    Returns:
        Exit status: 0 if all is identical, 1 if anything differs, 2 if a run cannot be repeated.
    """
    given = _parser().parse_intermixed_args(argv)
    log_to_terminal()
    bootstrap()
    paths = [word for word in given.records if is_moved_path(word)]
    if len(paths) == len(given.records):
        print("name a record beside its paths")
        return NOT_REPEATED
    try:
        moved = moved_paths(paths, given.root)
    except (UnsirBenchError, HydraException) as error:
        print(printable(str(error)))
        return NOT_REPEATED
    status = SAME
    for name in [word for word in given.records if word not in paths]:
        try:
            status = max(status, _reproduced(read(name), given, moved))
        except (UnsirBenchError, ValueError, OSError) as reason:
            print(f"{printable(name)}: cannot be repeated: {printable(str(reason))}")
            status = NOT_REPEATED
        except Exception as error:  # of values that no run writes; the other records are repeated
            log_failure(error, f"{printable(name)}: cannot be repeated")
            status = NOT_REPEATED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unsir-bench reproduce",
        description="Do runs again from their records and compare. Exit status: 0 identical, 1 different, "
        "2 cannot be repeated.",
    )
    parser.add_argument(
        "records", nargs="+", metavar="RECORD",
        help="a record.json, a run's folder or FILE.jsonl:LINE (or .jsonl.xz); and KEY=PATH of what lies elsewhere "
        f"than the record says: {', '.join(MOVABLE)}",
    )  # fmt: skip
    parser.add_argument(
        "--store", default=StoreConfig().root, metavar="FOLDER",
        help="take trained models from here, and train missing ones into it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="train every model again, in a temporary store")
    parser.add_argument("--root", metavar="FOLDER", help="where the images lie (default: where the record says)")
    return parser


def read(name: str) -> RunRecord:
    """The record of a file, of a run's folder, or of a line (from 1) of a file with one record on each.

    Raises:
        ValueError: there is none, or it cannot be trusted.
    """
    file, colon, line = name.rpartition(":")
    if colon and line.isdecimal():
        return record_in_line(Path(file), int(line))
    path = Path(name)
    return RunRecord.read(path / RECORD_FILE if path.is_dir() else path)


def _reproduced(record: RunRecord, given: argparse.Namespace, moved: Mapping[str, Any]) -> int:
    return _told(record, done_again(record, None if given.fresh else given.store, moved))


def done_again(record: RunRecord, store: str | None = None, moved: Mapping[str, Any] | None = None) -> RunRecord:
    """The record of the same run, done now in a temporary folder.

    Args:
        record: of a finished run.
        store: where trained models are taken from; None: all are trained again, in a temporary store.
        moved: paths by their key, of what lies elsewhere than the record says.

    Raises:
        CannotRepeatError: it cannot be done here; says why.
        NotRecordedError, OSError: the temporary folder cannot be written.
    """
    if record.status not in FINISHED:
        raise CannotRepeatError(f"{record.run_id} is {record.status}: only finished runs are repeated")
    with tempfile.TemporaryDirectory(prefix="unsir-bench-reproduce-") as folder:
        place = StoreConfig(root=store or str(Path(folder) / "store"))
        config = replace(config_of(record, moved), outputs=folder, store=place)
        config = replace(config, metrics=recorded_metrics(record))
        run(config, temporary=True)
        again = own_record(config.folder)  # as a reader finds it
    if again.status == "failed":
        raise CannotRepeatError(f"{record.run_id} failed here: {again.reason}")
    return again


@dataclass(frozen=True)
class Comparison:
    """One metric of a record and of the run done again."""

    metric: str
    then: float | None
    now: float | None
    verdict: str


def compared(record: RunRecord, again: RunRecord) -> list[Comparison]:
    """Every metric but seconds and memory, in the record's order."""
    names = dict.fromkeys([*record.metrics, *again.metrics])
    kept = [name for name in names if not any(part in name for part in MEASURED)]
    return [_comparison(name, record.metrics, again.metrics) for name in kept]


def _comparison(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    then, now, floor = before.get(name), after.get(name), before.get(f"floor_gap_{name}")
    if (name in before, then) == (name in after, now):
        verdict = IDENTICAL
    elif None not in (then, now, floor) and abs(now - then) <= abs(floor):  # type: ignore[operator,arg-type]
        verdict = WITHIN_FLOOR
    else:
        verdict = DIFFERS
    return Comparison(name, then, now, verdict)


def other_results(record: RunRecord, again: RunRecord) -> Iterator[tuple[str, Any, Any]]:
    """Guarantees, samples read and details that differ: the name, the value then and the value now.

    Seconds and memory are left out, and so is a detail that only the new run has, as of a later release, unless it is
    a caution.
    """
    for section in ("guarantees", "access", "details"):
        then, now = _unmeasured(getattr(record, section)), _unmeasured(getattr(again, section))
        names = [name for name in now if section != "details" or name.endswith(CAUTION)]
        for name in dict.fromkeys([*then, *names]):
            if (section, name) == ("access", "declared") and declares_enough(then, now):
                continue
            if (name in then, then.get(name)) != (name in now, now.get(name)):
                yield f"{section}.{name}", then.get(name), now.get(name)


def declares_enough(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the access declared holds what the method needs now; of an earlier release it may hold more."""
    declared, kinds = set(then.get("declared", ())), {access.value for access in Access}
    return set(now.get("declared", ())) <= declared <= kinds


def _unmeasured(content: Any) -> Any:
    if isinstance(content, list):
        return [_unmeasured(value) for value in content]
    if not isinstance(content, dict):
        return content
    kept = {name: value for name, value in content.items() if not any(part in name for part in MEASURED)}
    return {name: _unmeasured(value) for name, value in kept.items() if not _is_path(name, value)}


def _is_path(name: str, value: Any) -> bool:
    """Whether a detail is the path of a request's file, whose content the run id hashes."""
    return name == "request" and str(value).startswith("file=")


def in_short(value: Any) -> str:
    """A value in the words of a line."""
    return shorten(_words(value), LONGEST_VALUE)


def differences(record: RunRecord, again: RunRecord) -> Iterator[str]:
    """What is different about outcome, data, models, surroundings and what is no metric, a line each."""
    pairs: list[tuple[str, Any, Any]] = [("status", record.status, again.status)]
    pairs += [(f"hash of {name}", record.fingerprints.get(name), again.fingerprints.get(name))
              for name in ("data", "split", "original", "retrain", "weights")]  # fmt: skip
    for role, told in record.references.items():
        pairs.append((f"weights of {role}", told.get("weights"), again.references.get(role, {}).get("weights")))
    for name in SURROUNDINGS:
        then, now = record.environment.get(name), again.environment.get(name)
        if isinstance(then, dict) and isinstance(now, dict):
            pairs += [(f"{name}.{key}", then.get(key), now.get(key)) for key in dict.fromkeys([*then, *now])]
        else:
            pairs.append((name, then, now))
    pairs += other_results(record, again)
    yield from (f"{name}: {in_short(then)} then, {in_short(now)} now" for name, then, now in pairs if then != now)


def _words(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def _told(record: RunRecord, again: RunRecord) -> int:
    """Print the comparison; returns the exit status."""
    found = compared(record, again)
    rows = [{"metric": one.metric, "then": _words(one.then), "now": _words(one.now), "verdict": one.verdict}
            for one in found]  # fmt: skip
    print_rows(rows, f"{record.run_id}, then and now")
    for line in differences(record, again):
        print(f"different: {printable(line)}")
    bits = ("weights", "data", "split")
    other = [name for name in bits if record.fingerprints.get(name) != again.fingerprints.get(name)]
    other += [name for name, _, _ in other_results(record, again)]
    same = all(one.verdict == IDENTICAL for one in found) and record.status == again.status and not other
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in (IDENTICAL, WITHIN_FLOOR, DIFFERS)}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    print(f"{record.run_id}: {IDENTICAL if same else DIFFERS} ({summary or 'no metrics'}; seconds and memory aside)")
    return SAME if same else DIFFERENT
