"""`unsir-bench verify PLACE...`: whether records may stand on the leaderboard; the check of a submission."""

from __future__ import annotations

import argparse
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.cli.moved_paths import moved_paths
from unsir_bench.cli.recorded_config import AnotherRunError, CannotRepeatError, config_of
from unsir_bench.cli.reproduce import DIFFERS, IDENTICAL, compared, declares_enough, done_again, in_short, other_results
from unsir_bench.cli.terminal import log_to_terminal
from unsir_bench.config import Config
from unsir_bench.errors import UnsirBenchError
from unsir_bench.records import RECORD_FILE, RunRecord, printable
from unsir_bench.report.consistency import complaints, disagreements
from unsir_bench.report.folders import LINES_FILE, LINES_FILES, Sweep, counted, read_sweep, sweep_folders
from unsir_bench.runs.record_of_run import blank_record, note_forget_set

ACCEPTED, REFUSED, NOT_CHECKED = 0, 1, 2
# Another CPU or torch rounds differently: how far accuracies may be apart where two retrained models differ by less.
APART = 0.05
SAME_BITS = ("cpu", "cpu_capability", "device", "threads", "packages")
FORGOTTEN = ("forget_classes", "forget_names", "forget_steps")
PROMISES = tuple(f"guarantees.{name}" for name in ("exact", "epsilon", "delta", "covers_backbone"))


def verify_command(argv: Sequence[str]) -> int:
    """Check records; prints what is wrong with each.

    Args:
        argv: the words after ``verify``.

    Returns:
        Exit status: 0 if all records are accepted, 1 if any is refused, 2 if a place has none, or the one drawn cannot
        be done again for a reason of this machine's.
    """
    given = _parser().parse_args(argv)
    log_to_terminal()
    bootstrap()
    moved = moved_paths((), given.root)
    by_place = {place: _sweeps(place) for place in given.places}
    sweeps = [sweep for found in by_place.values() for sweep in found]
    records = [found for sweep in sweeps for found in sweep.found]
    faults = [(path, why) for sweep in sweeps for path, why in sweep.unreadable]
    if empty := [
        place for place, found in by_place.items() if not any(each.found or each.unreadable for each in found)
    ]:
        print(f"no records in {', '.join(map(str, empty))}: name folders with {LINES_FILE}, or sweeps")
        return NOT_CHECKED
    repeatable = []
    for path, record in records:
        try:
            wrong, why_not = checked(record, moved)
        except Exception as error:  # of values that no run writes; the other records are judged
            wrong, why_not = [f"it cannot be checked: {type(error).__name__}: {error}"], ""
        faults += [(path, words) for words in wrong]
        repeatable += [] if wrong or why_not else [(path, record)]
        if why_not:
            print(f"{_shown(path)}: not repeated here: {printable(why_not)}")
    faults += [(given.places[0], words) for words in disagreements(record for _, record in records)]
    if given.reproduce and not faults:
        try:
            faults += _done_again(repeatable, given, moved)
        except (UnsirBenchError, OSError) as error:  # a full disk or too little memory is not the record's fault
            print(f"no record was done again: {printable(str(error))}")
            return NOT_CHECKED
    for path, words in faults:
        print(f"{_shown(path)}: refused: {printable(words)}")
    counts = f"{counted(len(records), 'record')}, {counted(len(faults), 'fault')}"
    print(f"{counts}: {'refused' if faults else 'accepted'}")
    return REFUSED if faults else ACCEPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unsir-bench verify",
        description="Check records for the leaderboard: each can be read, is unchanged, agrees with itself and with "
        "the others, and is of the run that its configuration makes. Exit status: 0 accepted, 1 refused, 2 a place "
        "without records, or the run drawn fails here (a full disk, too little memory).",
    )
    parser.add_argument(
        "places", nargs="+", type=Path, metavar="PLACE", help=f"a folder of sweeps, a run's, or a {LINES_FILE}"
    )
    parser.add_argument(
        "--reproduce", action="store_true",
        help="do one of the cheaper half of the records again, drawn by chance, with all trainings, and compare",
    )  # fmt: skip
    parser.add_argument("--root", metavar="FOLDER", help="where the images lie (default: where the record says)")
    return parser


def _sweeps(place: Path) -> list[Sweep]:
    if (place / RECORD_FILE).is_file():  # a run's folder
        place = place.absolute()  # "." has no parent
        sweep = read_sweep(place.parent)
        own = [found for found in sweep.found if found[0] == place / RECORD_FILE]
        return [Sweep(place, own, [fault for fault in sweep.unreadable if fault[0] == place / RECORD_FILE])]
    folder = place.parent if place.name in LINES_FILES else place
    return [read_sweep(each) for each in sweep_folders(folder)]


def _shown(path: Path) -> str:
    return str(printable(str(path)))


def checked(record: RunRecord, moved: Mapping[str, Any] | None = None) -> tuple[list[str], str]:
    """What is wrong with a record, and, in words, why it cannot be done again here; empty where it can.

    Args:
        record: that could be read, so that its digest is right.
        moved: paths by their key, of what lies elsewhere than the record says.
    """
    wrong = list(complaints(record))
    if record.environment.get("dirty"):
        wrong.append("it was made by changed files: commit them, and do the run again")
    try:
        wrong += _relabelled(record, config_of(record, moved))
    except AnotherRunError as error:
        return (wrong if error.of_images else [*wrong, str(error)]), str(error)
    except CannotRepeatError as error:
        return wrong, str(error)
    return wrong, ""


def _relabelled(record: RunRecord, config: Config) -> Iterator[str]:
    """What a record says of its run, where its configuration says something else."""
    blank = blank_record(config)
    note_forget_set(blank, config)
    told = {name: (getattr(record, name), getattr(blank, name)) for name in FORGOTTEN}
    for name, (then, now) in told.items():
        if then != printable(now):
            yield f"{name} is {then}, and its configuration makes it {printable(now)}"
    if not declares_enough(record.access, blank.access):
        yield f"access.declared is {record.access.get('declared')}, and its method needs {blank.access['declared']}"


def _done_again(
    repeatable: Sequence[tuple[Path, RunRecord]], given: argparse.Namespace, moved: Mapping[str, Any]
) -> list[tuple[Path, str]]:
    """The faults of one record, found by doing its run again."""
    if not repeatable:
        return [(given.places[0], "no record can be repeated here: add one of data that everybody has, such as digits")]
    ordered = sorted(repeatable, key=lambda found: seconds(found[1]))
    path, record = secrets.choice(ordered[: math.ceil(len(ordered) / 2)])
    print(f"{_shown(path)}: doing {record.run_id} again (it took about {seconds(record):.0f} s)", flush=True)
    try:
        again = done_again(record, moved=moved)
    except (UnsirBenchError, OSError):  # of this machine
        raise
    except Exception as error:  # of values that no run writes
        return [(path, f"it cannot be done again: {type(error).__name__}: {error}")]
    return [(path, words) for words in unlike(record, again)]


def seconds(record: RunRecord) -> float:
    """About how long a run and its trainings take: an original takes as long as a retrained model."""
    known = {name: record.metrics.get(f"{name}_seconds") or 0.0 for name in ("retrain", "unlearn", "evaluation")}
    return 2 * known["retrain"] + known["unlearn"] + known["evaluation"]


def unlike(record: RunRecord, again: RunRecord) -> Iterator[str]:
    """In what a record differs from the same run done again by more than the machine explains.

    On the same kind of CPU with the same packages everything but seconds and memory must be the same to the bit. Else
    accuracies may differ by what two retrained models differ by, or by ``APART`` where that is more, and a promise by
    that share of it.
    """
    if record.status != again.status:
        yield f"its status is {record.status}, and done again {again.status}"
    for name in ("data", "split"):
        if record.fingerprints.get(name) != again.fingerprints.get(name):
            yield f"its {name} is not the {name} here"
    alike = all(record.environment.get(name) == again.environment.get(name) for name in SAME_BITS)
    for name, then, now in other_results(record, again):
        if alike or (name in PROMISES and not _near(then, now)):
            yield f"{name} is {in_short(then)}, and done again {in_short(now)}"
    for one in compared(record, again):
        if one.verdict == IDENTICAL:
            continue
        if alike:
            yield f"{one.metric} is {one.then}, and done again {one.now}"
        elif "acc_" in one.metric and one.verdict == DIFFERS and abs((one.then or 0.0) - (one.now or 0.0)) > APART:
            yield f"{one.metric} is {one.then}, and done again {one.now}, on another CPU or other packages"


def _near(then: float | None, now: float | None) -> bool:
    return then is not None and now is not None and math.isclose(then, now, rel_tol=APART)
