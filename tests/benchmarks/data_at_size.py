"""How long large data sets take to list and to load, and how much memory: many small files, few large ones, a set at
224 pixels.

Makes the files below a temporary folder and removes them. Each load is a process of its own. Prints seconds, the peak
of all resident memory, and the peak of memory that the system cannot take back (anonymous: without mapped files). By
hand:

    python -m tests.benchmarks.data_at_size [--small 200000] [--large 2000] [--resized 60000] [--listed 1000000]
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
from PIL import Image

from tests.benchmarks.measured import print_table
from unsir_bench.data.dataset import DatasetConfig, LabelledImages, RawData, stratified_split
from unsir_bench.data.folder_listing import listed
from unsir_bench.data.folders import ImageFolder
from unsir_bench.runtime.progress import Progress

CLASSES, DISTINCT = 10, 100
QUIET = Progress(interactive=False)


@dataclass
class Noise(DatasetConfig):
    """``count`` colour images of 32x32, in memory, as torchvision's sets are."""

    name: str = "noise"
    count: int = 60_000

    def class_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(CLASSES)))

    def read(self, progress: Progress) -> RawData:
        draw = np.random.default_rng(0)
        sizes = (self.count * 5 // 6, self.count - self.count * 5 // 6)
        train, test = (
            LabelledImages(draw.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8), np.arange(size) % CLASSES)
            for size in sizes
        )
        return RawData(train, test, self.class_names())


def make_files(root: Path, count: int, size: int, form: str) -> None:
    """``count`` files of a few distinct images in one tree of classes; no ``size``: empty files."""
    draw = np.random.default_rng(0)
    contents = [_encoded(draw, size, form) for _ in range(DISTINCT)] if size else [b""]
    for label in range(CLASSES):
        (root / str(label)).mkdir(parents=True)
    for number in range(count):
        (root / str(number % CLASSES) / f"{number:07}.{form}").write_bytes(contents[number % len(contents)])


def _encoded(draw: np.random.Generator, size: int, form: str) -> bytes:
    buffer = io.BytesIO()
    coarse = Image.fromarray(draw.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
    coarse.resize((size, size)).save(buffer, form.replace("jpg", "jpeg"))
    return buffer.getvalue()


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Seconds, of the clock and of all processors, and peaks of memory of this process in MB, while ``work`` runs."""
    before, peak, done = _anonymous(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, computed = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - computed
    done.set()
    watcher.join()
    resident = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "cpu": cpu,
        "resident": resident,
        "anonymous": max(peak, _anonymous()),
        "before": before,
    }


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def the_work(kind: str, root: Path, count: int) -> Callable[[], object]:
    """What a process of its own does."""
    if kind == "listing":
        return lambda: listed(str(root), str(root), 0.2, 0).digest(with_times=False)
    if kind == "small":
        return lambda: ImageFolder(root=str(root)).load(QUIET)
    if kind == "large":
        return lambda: ImageFolder(root=str(root), image_size=224).load(QUIET)
    return lambda: Noise(root=str(root), image_size=224, count=count).load(QUIET)


def in_a_process(kind: str, root: Path, count: int) -> dict[str, float]:
    """The measurement of one load."""
    words = [sys.executable, "-m", __spec__.name, "--do", kind, "--root", str(root), "--count", str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("small", 200_000), ("large", 2_000), ("resized", 60_000), ("listed", 1_000_000)):
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"how many; 0: none (default {usual})")
    for name in ("do", "root", "count"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.do:
        stratified_split(np.repeat([0, 1], 5), 0.5, 0)  # imports what is slow to import
        print(json.dumps(measured(the_work(given.do, Path(given.root), int(given.count)))))
        return
    cases = [
        ("small", given.small, 32, "png", 2), ("large", given.large, 2000, "jpg", 2),
        ("resized", given.resized, 0, "", 2), ("listing", given.listed, 0, "png", 1),
    ]  # fmt: skip
    rows = []
    for kind, count, size, form, loads in cases:
        with tempfile.TemporaryDirectory() as folder:
            if count and form:
                make_files(Path(folder), count, size, form)
            for load in range(loads if count else 0):
                found = in_a_process(kind, Path(folder), count)
                numbers = (f"{found[name]:.0f}" for name in ("resident", "anonymous", "before"))
                times = (f"{found[name]:.1f}" for name in ("seconds", "cpu"))
                rows.append((f"{count} {kind}, load {load + 1}", *times, *numbers))
                print(*rows[-1], sep=" | ", flush=True)
    print_table("large data", ["set", "seconds", "CPU seconds", "peak MB", "of it anonymous", "anonymous before"], rows)


if __name__ == "__main__":
    main()
