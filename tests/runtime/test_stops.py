"""A process that is stopped while a clock runs: its seconds hold the time of the stop, and the record says so."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.continued import go_on
from tests.training.small_network import small_network
from unsir_bench.cli.bootstrap import compose
from unsir_bench.data.device_data import DeviceData
from unsir_bench.runner import run
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.training.context import RunContext
from unsir_bench.training.epoch_batches import EpochBatches
from unsir_bench.training.fit import Variation, fit
from unsir_bench.training.recipe import Recipe

STOPPED = """
import sys, torch
from unsir_bench.runtime.clock import Stopwatch
from unsir_bench.runtime.stops import note_stops
note_stops()
clock = Stopwatch(torch.device("cpu"))
with clock.running():
    print("running", flush=True)
    sys.stdin.readline()
print(clock.stops, clock.total)
"""


def test_a_process_that_is_stopped_counts_it_with_the_seconds() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    process.send_signal(signal.SIGCONT)
    stops, seconds = process.communicate("\n", timeout=60)[0].split()
    assert int(stops) == 1 and float(seconds) >= 0.3


def test_only_stops_while_the_clock_runs_count(noted: None) -> None:
    clock = Stopwatch(torch.device("cpu"))
    go_on()
    with clock.running():
        pass
    assert clock.stops == 0
    with clock.running():
        go_on()
        with clock.paused():
            go_on()
            with clock.paused():
                go_on()
    assert clock.stops == 1


def test_a_training_counts_the_stops_of_its_epochs(
    noted: None, digits: DeviceData, make_context: Callable[..., RunContext]
) -> None:
    recipe, context = Recipe(epochs=2, batch_size=1000), make_context()
    batches = EpochBatches.from_view(digits.view("train"), recipe, context, "train")
    state = fit(small_network(), batches, recipe, context, "train", variation=Variation(after_step=go_on))
    assert state.stops == 2 * batches.steps


def test_the_record_of_a_run_that_was_stopped_says_so(
    noted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ["dataset.subset=15", "model=allcnn_tiny", "train.epochs=1", "metrics=fast", "tracker=none", "hardware=cpu"]
    config = compose(["method=original", *tiny, f"outputs={tmp_path}", f"store.root={tmp_path}/store"])

    def unlearn(_method: object, model: Any, *_: object) -> Any:
        go_on()
        return model

    monkeypatch.setattr(type(config.method), "unlearn", unlearn)
    record = run(config)
    assert "stopped (Ctrl-Z, kill -STOP) during the method, whose seconds" in record.cautions["seconds"]
