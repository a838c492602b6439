"""How long `unsir-bench evaluate metrics=full` takes on a `metrics=fast` sweep, beside a sweep of `metrics=full`.

``python -m tests.benchmarks.evaluate_times [METHOD ...]``: digits, the seeds 0 and 1. Each of the two sweeps
has a store of its own, so that both train what they need. Prints seconds of the wall clock and of the processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.evaluate import evaluate_command
from unsir_bench.runner import run

METHODS = ("unsir", "finetune", "neggrad_plus", "scrub", "bad_teacher", "fisher")
SEEDS = (0, 1)


def sweep(folder: Path, metrics: str, methods: Sequence[str]) -> None:
    """Every method with every seed, one after another."""
    for method in methods:
        for seed in SEEDS:
            words = [f"method={method}", f"seed={seed}", f"metrics={metrics}", "tracker=none", "sweep=digits"]
            record = run(compose([*words, f"outputs={folder}", f"store.root={folder}/store"]))
            assert record.status == "done", record.reason


def timed(title: str, work: Callable[[], object]) -> float:
    """Wall-clock seconds of some work, printed with those of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    seconds = time.perf_counter() - wall
    print(f"{title}: {seconds:.1f} s, {time.process_time() - processor:.1f} s of the processor", flush=True)
    return seconds


def main() -> None:
    """Time both ways."""
    methods = sys.argv[1:] or METHODS
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        timed("load digits and libraries", lambda: sweep(Path(first) / "warm", "fast", ["original"]))
        timed("a sweep of metrics=full", lambda: sweep(Path(first), "full", methods))
        timed("a sweep of metrics=fast", lambda: sweep(Path(second), "fast", methods))
        timed("evaluate metrics=full", lambda: evaluate_command([f"{second}/digits", "metrics=full"]))
        timed("evaluate again", lambda: evaluate_command([f"{second}/digits", "metrics=full"]))


if __name__ == "__main__":
    main()
