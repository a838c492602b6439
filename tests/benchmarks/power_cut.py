"""Is anything unreadable after a power cut? Copies the image of a mounted file system, without sync, as trainings end.

    python -m tests.benchmarks.power_cut [--moments 40] [--control 10] [--seed 0]     # needs root and loop devices

Runs train small networks; their store and records lie on an ext4 file system in an image. At a drawn moment of each
run, between two of the system calls with which a checkpoint, an entry or a record is written, the run is held for a
drawn time of up to two seconds, and the image is copied as it is. The copy is what the disk held: what only the
kernel's memory had is not in it. It is mounted, which replays its journal, and everything in it is read. Wrong are an
entry, a checkpoint or a record that exists and cannot be read, and one whose writing had returned and is not there.

Simulated is the loss of memory under ext4 (data=ordered, a journal commit each second), with the kernel's own order of
writes. Not simulated are torn sectors, a disk that reorders or loses what it acknowledged, and other file systems.
A copy counts only if the image was the same before and after it. The control does the same with fsync left out: the
simulation is worth something only if that leaves unreadable entries.

Exit status 1 if anything was wrong, or if the control was not.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from tests.benchmarks.measured import print_table
from unsir_bench import compose, run
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.errors import DamagedEntryError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.references.store import Entry, Store

OVERRIDES = [
    "dataset=digits", "dataset.subset=10", "model=allcnn_tiny", "train=smoke", "train.epochs=2", "forget=single",
    "method=logit_mask", "metrics=fast", "retrain_reference=false", "hardware=cpu", "hardware.threads=1",
    "tracker=none", "sweep=cut",
]  # fmt: skip
MEGABYTES = 32
LONGEST_HOLD = 2.0  # seconds; the journal is committed each second
WRITES = ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir")  # of `os`: what a training's end consists of


@contextmanager
def mounted(image: Path, at: Path, options: str) -> Iterator[Path]:
    """The file system of an image."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", f"loop,{options}", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def copied(image: Path, target: Path) -> None:
    """Copy an image at one instant: it was the same at the end of a first copy and during a second one."""
    shutil.copyfile(image, target)
    while (again := image.read_bytes()) != target.read_bytes():
        target.write_bytes(again)


@contextmanager
def before_each_write(act: Callable[[], object], *, synced: bool) -> Iterator[None]:
    """Call ``act`` before every system call that writes; without ``synced`` fsync does nothing."""

    def acting(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            act()
            return None if call is real_fsync and not synced else call(*arguments, **options)

        return wrapped

    real_fsync = os.fsync
    with ExitStack() as patches:
        for name in WRITES:
            patches.enter_context(mock.patch.object(os, name, acting(getattr(os, name))))
        yield


@dataclass
class Finding:
    """What a copy of the image held."""

    entries: int
    checkpoints: int
    records: int
    wrong: list[str]


def looked_into(root: Path, promised: list[str]) -> Finding:
    """Read everything of a store and of its records; ``promised`` names what must be there."""
    store, wrong = Store(root / "store"), []
    records = list(root.glob(f"outputs/*/*/{RECORD_FILE}"))
    for folder in store.folders():
        with told(f"entry {folder.name}", wrong):
            Entry.opened(folder).verify()
    for path in store.checkpoints():
        with told(f"checkpoint {path.name}", wrong):
            store.checkpoint(path.stem).verify()
    for path in records:
        with told(f"record {path.parent.name}", wrong):
            RunRecord.read(path)
    there = {folder.name for folder in store.folders()} | {path.parent.name for path in records}
    wrong += [f"{name} had been written and is not there" for name in promised if name not in there]
    return Finding(len(store.folders()), len(store.checkpoints()), len(records), wrong)


@contextmanager
def told(what: str, wrong: list[str]) -> Iterator[None]:
    try:
        yield
    except (DamagedEntryError, ValueError) as reason:
        wrong.append(f"{what}: {reason}")


class PowerCuts:
    """Runs on a mounted file system, each cut once."""

    def __init__(self, folder: Path, seed: int, *, synced: bool):
        self._image, self._copy, self._folder = folder / "disk", folder / "copy", folder
        self._draws, self._synced = random.Random(seed), synced
        self._promised: list[str] = []
        self._writes = 0  # of the last run
        with self._image.open("wb") as file:
            file.truncate(MEGABYTES << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)

    def findings(self, moments: int) -> Iterator[Finding]:
        with mounted(self._image, self._folder / "mounted", "commit=1") as root:
            for seed in (1000, 1001):  # the first makes folders, too
                self._uncut(root, seed)
            for seed in range(moments):
                self._cut(root, seed, self._draws.randrange(self._writes))
                with mounted(self._copy, self._folder / "after", "rw") as after:
                    yield looked_into(after, self._promised_at_the_cut)

    def _uncut(self, root: Path, seed: int) -> None:
        """A run that tells how many writes there are."""
        self._writes = 0

        def count() -> None:
            self._writes += 1

        self._run(root, seed, count)

    def _cut(self, root: Path, seed: int, moment: int) -> None:
        """A run whose image is copied before the write of number ``moment``."""
        hold, done = self._draws.uniform(0, LONGEST_HOLD), 0

        def act() -> None:
            nonlocal done
            if done == moment:
                self._promised_at_the_cut = list(self._promised)
                time.sleep(hold)
                copied(self._image, self._copy)
            done += 1

        self._run(root, seed, act)
        if done <= moment:
            raise RuntimeError(f"the run made {done} writes, fewer than {moment}")

    def _run(self, root: Path, seed: int, act: Callable[[], object]) -> None:
        config = compose([*OVERRIDES, f"outputs={root}/outputs", f"store.root={root}/store"])
        write = Store.write

        def written(store: Store, key: str, *arguments: Any) -> Entry:
            entry = write(store, key, *arguments)
            self._promised.append(key)
            return entry

        with before_each_write(act, synced=self._synced), mock.patch.object(Store, "write", written):
            record = run(replace(config, seed=seed))
        self._promised.append(record.run_id)
        if record.status != "done":
            raise RuntimeError(f"{record.run_id}: {record.reason}")


def cuts(moments: int, seed: int, *, synced: bool) -> list[Finding]:
    """Findings after ``moments`` power cuts."""
    memory = Path("/dev/shm")  # faster, if it is there
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = []
        for finding in PowerCuts(Path(folder), seed, synced=synced).findings(moments):
            found.append(finding)
            print(f"[{len(found)}/{moments}] {finding}", file=sys.stderr)
        return found


def row(title: str, found: list[Finding]) -> list[str]:
    sums = [sum(getattr(each, name) for each in found) for name in ("entries", "checkpoints", "records")]
    return [title, str(len(found)), *map(str, sums), str(sum(len(each.wrong) for each in found))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--control", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        sys.exit("needs root, loop devices and mkfs.ext4; tests/references/test_power_cut.py needs none of these")
    bootstrap()
    logging.disable(logging.WARNING)
    found = cuts(given.moments, given.seed, synced=True)
    control = cuts(given.control, given.seed, synced=False)
    print_table(
        f"seed {given.seed}: power cuts while trainings end",
        ["", "moments", "entries read", "checkpoints read", "records read", "unreadable or lost"],
        [row("as it is", found), row("control: without fsync", control)],
    )
    for finding in [*found, *control]:
        for line in finding.wrong:
            print(line)
    wrong, seen = (any(finding.wrong for finding in each) for each in (found, control))
    sys.exit(wrong or (not seen and given.control > 0))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with suppress(KeyboardInterrupt):
        main()
