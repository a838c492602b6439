"""SIGKILL sweeps, and runs of sweeps, while they train, forget, and write records and store entries; then compare.

    python -m tests.benchmarks.killed_sweeps --kills 30 --seed 0

A sweep is killed at moments drawn from the seed: as soon as a process says that it is inside what the draw names, and a
drawn part of the delay later. A hook delays every write there, between its content and its new name, so that kills land
inside. After each kill of a whole sweep the same command is given again. In the end all records must equal those of a
sweep that nobody disturbed, and no finished store entry may have been made twice. Exit status 1 otherwise.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.benchmarks.measured import print_table
from tests.sweep_records import comparable, records
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.cli.plugins import modules_of_runs
from unsir_bench.cli.run import run_command
from unsir_bench.records import RECORD_FILE
from unsir_bench.references.store import TrainingCheckpoint
from unsir_bench.runs import experiment
from unsir_bench.runs.run_lock import LOCKS
from unsir_bench.sweeps import isolation

FORK = multiprocessing.get_context("fork")
KINDS = ("training", "method", "record", "store entry")
VICTIMS = ("the run", "the sweep")
DELAY = 0.15  # seconds
SWEEP = "killed"
GRID = [
    "-m", "method=unsir,retrain,finetune", "seed=0,1", "forget=single", "dataset.subset=15", "model.width=4",
    "train.epochs=3", "metrics=fast", "tracker=none", "hardware=cpu", "hardware.threads=1", f"sweep={SWEEP}",
]  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """One to come: the ``nth`` time from now that a process is inside ``kind``, ``part`` of the delay later."""

    kind: str
    victim: str
    nth: int
    part: float


@dataclass
class Tally:
    """What has happened to a folder's sweeps so far."""

    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    epochs: Counter[str] = field(default_factory=Counter)
    finished: dict[str, int] = field(default_factory=dict)
    made_twice: set[str] = field(default_factory=set)

    def look_at(self, folder: Path) -> None:
        """Note which store entries are finished; one that was finished before must be the same still."""
        now = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("store/entries/[!.]*/manifest.json")}
        self.made_twice |= {key for key, made in self.finished.items() if now.get(key) != made}
        self.finished = now


def drawn(count: int, seed: int) -> list[Kill]:
    """As many kills of each kind, and of runs and of sweeps, as the count allows."""
    draw = random.Random(seed)
    kills = [
        Kill(KINDS[number % 4], VICTIMS[(number + number // 4) % 2], draw.randint(1, 4), draw.random())
        for number in range(count)
    ]
    draw.shuffle(kills)
    return kills


def announced(kind: str, events: Connection, *, after: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Make a function say that its process is inside, or has just been, and take ``DELAY`` longer."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def longer(*given: Any, **options: Any) -> Any:
            result = function(*given, **options) if after else None
            name = given[0]._path.stem if after else ""
            events.send((kind, os.getpid(), name))
            time.sleep(0 if after else DELAY)  # an epoch is over in no time: the kill lands in the next one
            return result if after else function(*given, **options)

        return longer

    return wrap


def kind_of_write(path: Path) -> str | None:
    """Which of ``KINDS`` the file or folder belongs to that is put on the disk."""
    if "entries" in path.parts:
        return "store entry"
    is_run = path.parent.name == SWEEP and path.is_dir() and path.name != LOCKS
    return "record" if is_run or path.name.startswith(f".{RECORD_FILE}") else None


def delay_writes(events: Connection) -> None:
    """Have each write of a record or a store entry announced, and delayed before it is on the disk."""
    to_disk = os.fsync

    def slowly(handle: int) -> None:
        if kind := kind_of_write(Path(f"/proc/self/fd/{handle}").readlink()):
            events.send((kind, os.getpid(), ""))
            time.sleep(DELAY)
        to_disk(handle)

    os.fsync = slowly


def import_everything() -> None:
    """Once, for all processes that are forked from this one."""
    bootstrap()
    isolation.import_present(modules_of_runs(tracked=False))


def forked_command(folder: Path, log: Path) -> int:
    """The command's exit status, in a process forked from one that has imported everything; so are its runs."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    isolation.process_context = lambda modules=(): FORK  # type: ignore[assignment,misc]
    return run_command([*GRID, f"outputs={folder}", f"store.root={folder}/store"])


def sweep(folder: Path, events: Connection) -> None:
    """The command, whose processes announce what they are inside."""
    delay_writes(events)
    experiment._unlearned_under_the_clock = announced("method", events)(experiment._unlearned_under_the_clock)
    TrainingCheckpoint.save = announced("training", events, after=True)(TrainingCheckpoint.save)  # type: ignore[method-assign]
    sys.exit(forked_command(folder, folder / "log"))


def events_of(process: Any, receiver: Connection) -> Iterator[tuple[str, int, str]]:
    """What the processes of a sweep announce, until none of them is left."""
    with suppress(EOFError):
        while True:
            yield receiver.recv()
    process.join()


def start(folder: Path, kills: list[Kill], tally: Tally) -> int | None:
    """Give the command once, and kill as drawn until the sweep itself is killed or ends; returns its exit status."""
    folder.mkdir(exist_ok=True)
    receiver, events = FORK.Pipe(duplex=False)
    process = FORK.Process(target=sweep, args=(folder, events))
    process.start()
    events.close()
    tally.starts += 1
    waiting = kills[0].nth if kills else 0
    for kind, pid, name in events_of(process, receiver):
        tally.epochs[name] += kind == "training"
        if not kills or kind != kills[0].kind:
            continue
        waiting -= 1
        if waiting <= 0:
            kill = kills.pop(0)
            time.sleep(kill.part * DELAY)
            tally.look_at(folder)
            with suppress(ProcessLookupError):
                os.kill(pid if kill.victim == "the run" else process.pid, signal.SIGKILL)
            tally.kills.append(kill)
            waiting = kills[0].nth if kills else 0
    tally.look_at(folder)
    return process.exitcode


def disturbed(folder: Path, kills: list[Kill], tally: Tally) -> None:
    """Sweeps of one folder, killed until all of their runs are done; what is drawn and did not happen is left."""
    while True:
        before = len(kills)
        status = start(folder, kills, tally)
        if status == 0:
            return
        if status is not None and status > 0 and len(kills) == before:
            raise RuntimeError(f"the sweep failed by itself: see {folder / 'log'}")


def complaints(folder: Path, calm: Path, tally: Tally, usual: Counter[str]) -> Iterator[str]:
    """What is not as in the undisturbed sweep."""
    found, expected = comparable(records(folder)), comparable(records(calm))
    for run_id in sorted(expected.keys() | found.keys()):
        if found.get(run_id) != expected.get(run_id):
            yield f"{folder.name}: another record: {run_id}"
    if {path.name for path in folder.glob("store/entries/*")} != {path.name for path in calm.glob("store/entries/*")}:
        yield f"{folder.name}: other store entries"
    for key in sorted(tally.made_twice):
        yield f"{folder.name}: made twice: {key}"
    for key, count in sorted((tally.epochs - usual).items()):
        yield f"{folder.name}: {count} finished epochs of {key} were trained again"


def main() -> None:
    """Kill, compare, and print what was killed and how it ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    given = parser.parse_args()
    print(f"--seed {given.seed}")
    import_everything()
    with tempfile.TemporaryDirectory(prefix="killed-sweeps-") as place:
        calm, kills, wrong, tallies = Path(place) / "undisturbed", drawn(given.kills, given.seed), [], []
        usual = Tally()
        if start(calm, [], usual) != 0:
            sys.exit((calm / "log").read_text())
        while kills:
            folder, tally = Path(place) / f"round {len(tallies) + 1}", Tally()
            disturbed(folder, kills, tally)
            wrong += complaints(folder, calm, tally, usual.epochs)
            tallies.append((tally, sum((tally.epochs - usual.epochs).values())))
        done = [kill for tally, _ in tallies for kill in tally.kills]
        counts = Counter((kill.kind, kill.victim) for kill in done)
        rows = [[kind, *(str(counts[kind, victim]) for victim in VICTIMS)] for kind in KINDS]
        print_table(f"{len(done)} SIGKILLs", ["inside", *VICTIMS], rows)
        print(
            f"{len(tallies)} sweeps of {len(records(calm))} runs, started {sum(tally.starts for tally, _ in tallies)} "
            f"times; {sum(again for _, again in tallies)} finished epochs trained again; store entries made twice: "
            f"{sum(len(tally.made_twice) for tally, _ in tallies)}; records and entries "
            + ("as undisturbed" if not wrong else "NOT as undisturbed")
        )
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
