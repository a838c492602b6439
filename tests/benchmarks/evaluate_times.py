"""How long `unsir-bench evaluate metrics=full` takes on a `metrics=fast` sweep, beside a sweep of `metrics=full`.

``python -m tests.benchmarks.evaluate_times [KEY=VALUE ...]``: digits, several methods, the seeds 0 and 1. Each of the
two sweeps has a store of its own, so that both train what they need; then both are done again with the models there.
Prints seconds of the wall clock and of the processor. KEY=VALUE are settings of every run, those of metrics also of
evaluate.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.evaluate import evaluate_command
from unsir_bench.runner import run

METHODS = ("unsir", "finetune", "neggrad_plus", "scrub", "bad_teacher", "fisher")
SEEDS = (0, 1)


def sweep(folder: str, store: str, metrics: Sequence[str], settings: Sequence[str]) -> None:
    """Every method with every seed, one after another."""
    for method in METHODS:
        for seed in SEEDS:
            words = [f"method={method}", f"seed={seed}", "tracker=none", "sweep=digits", *settings, *metrics]
            record = run(compose([*words, f"outputs={folder}", f"store.root={store}"]))
            assert record.status == "done", record.reason


@contextmanager
def timed(title: str) -> Iterator[None]:
    """Print how long the work within takes."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    seconds, computed = time.perf_counter() - wall, time.process_time() - processor
    print(f"{title}: {seconds:.1f} s, {computed:.1f} s of the processor", flush=True)


def main() -> None:
    """Time both ways."""
    settings = [word for word in sys.argv[1:] if not word.startswith("metrics")]
    full = ["metrics=full", *(word for word in sys.argv[1:] if word.startswith("metrics"))]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        run(compose(["method=original", "tracker=none", *settings, *full, f"outputs={one}/0", f"store.root={one}/0"]))
        for state in ("an empty store", "all models in the store"):
            with timed(f"{state}: a sweep of metrics=full"):
                sweep(f"{one}/{state}", f"{one}/store", full, settings)
            with timed(f"{state}: a sweep of metrics=fast"):
                sweep(f"{other}/{state}", f"{other}/store", ["metrics=fast"], settings)
            with timed(f"{state}: evaluate"):
                evaluate_command([f"{other}/{state}/digits", *full])


if __name__ == "__main__":
    main()
