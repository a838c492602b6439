"""The command as a user gives it: exit status, interruption and resumption, two processes, Weights & Biases."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from tests.oracles.wandb_file import leveldb_log
from tests.sweep_records import comparable, records
from unsir_bench.data.digits import Digits
from unsir_bench.runtime.progress import Progress

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "unsir_bench"]
TINY = [
    "dataset.subset=15", "model.width=4", "train.epochs=2", "tracker=none", "metrics=fast",
]  # fmt: skip


def arguments(folder: Path, *given: str) -> list[str]:
    """The command with all its outputs in a folder; what is given comes last, but for -m, which comes first."""
    flags, overrides = ([word for word in given if (word == "-m") is flag] for flag in (True, False))
    return [*COMMAND, *flags, *TINY, f"outputs={folder}", f"store.root={folder}/store", *overrides]


def command(folder: Path, *overrides: str, status: int = 0) -> str:
    """Run the command line; returns what it printed."""
    done = subprocess.run(arguments(folder, *overrides), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_one_bad_job_does_not_stop_the_others_and_the_status_is_1(tmp_path: Path) -> None:
    printed = command(tmp_path, "-m", "method=original", "forget.classes=[0],[0,0]", status=1)
    found = records(tmp_path)
    assert sorted(record["status"] for record in found.values()) == ["done", "failed"]
    # Known before the first run begins, whose turn may be hours before that of the wrong one.
    [warning] = re.finditer(r"cannot run: .*forget\.classes=\[0,0\].*: .*class 0 \(0\) is given twice", printed)
    assert warning.start() < printed.index("training the original model (")
    assert "Traceback" not in printed
    failed = next(record["run_id"] for record in found.values() if record["status"] == "failed")
    assert f"failed: {failed}" in printed


def test_a_run_killed_while_training_resumes_and_ends_as_if_undisturbed(tmp_path: Path) -> None:
    longer = ["method=original", "train.epochs=40", "dataset.subset=30"]
    killed = tmp_path / "killed"
    process = subprocess.Popen(arguments(killed, *longer), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kill_once(process, killed / "store" / "in_progress")
    assert records(killed) == {}
    printed = command(killed, *longer)
    assert "resuming an interrupted training" in printed
    command(tmp_path / "undisturbed", *longer)
    assert comparable(records(killed)) == comparable(records(tmp_path / "undisturbed"))
    assert not list((killed / "store" / "in_progress").iterdir())


def kill_once(process: subprocess.Popen[str], in_progress: Path) -> None:
    """SIGKILL a process as soon as it has saved a checkpoint."""
    deadline = time.monotonic() + 120
    while not list(in_progress.glob("*.pt")):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    # A shell's background jobs ignore Ctrl-C, and children inherit that.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        arguments(tmp_path, "train.epochs=2000"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    signal.signal(signal.SIGINT, previous)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store" / "in_progress").glob("*.pt")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert records(tmp_path) == {}
    assert not list((tmp_path / "store" / "entries").glob("*"))
    assert not list(tmp_path.rglob("*.partial"))


def test_wandb_works_offline_and_holds_the_metrics_of_the_record(tmp_path: Path) -> None:
    command(tmp_path, "tracker=wandb_offline")
    record = next(iter(records(tmp_path).values()))
    [log] = tmp_path.glob("*/*/wandb/offline-run-*/run-*.wandb")
    assert record["run_id"] in log.name
    summary, curves, finished = read_offline_run(log)
    for name, value in record["metrics"].items():
        assert summary[name] == pytest.approx(value), name
    assert {"original/loss", "noise/loss", "impair/loss", "repair/loss"} <= curves
    assert finished


def read_offline_run(path: Path) -> tuple[dict[str, object], set[str], bool]:
    """Summary values, names of logged curves, and whether the run was finished, from a file of Weights & Biases."""
    summary: dict[str, object] = {}
    curves: set[str] = set()
    finished = False
    for content in leveldb_log(path.read_bytes()[7:]):
        entry = wandb_internal_pb2.Record()
        entry.ParseFromString(content)
        for item in entry.summary.update:
            summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        curves |= {item.key or ".".join(item.nested_key) for item in entry.history.item}
        finished |= entry.WhichOneof("record_type") == "exit"
    return summary, curves, finished


def test_two_processes_of_one_run_share_its_batches(tmp_path: Path) -> None:
    both = ["dataset.subset=60", "train.epochs=4", "model.width=8"]
    command(tmp_path / "one", *both)
    command(tmp_path / "two", *both, "hardware.devices=2", "hardware.threads=3")
    [one], [two] = (list(records(tmp_path / name).values()) for name in ("one", "two"))
    assert two["status"] == "done"
    assert not list((tmp_path / "two").rglob("handed_over.json"))
    assert two["environment"]["threads"] == 3, "a flag of the command did not reach the processes"
    assert two["access"] == one["access"]
    assert two["metrics"]["original_acc_retain_test"] == pytest.approx(
        one["metrics"]["original_acc_retain_test"], abs=0.1
    )
    assert one["metrics"]["original_acc_retain_test"] > 0.5
    labels = Digits(subset=60).load(Progress(interactive=False)).test.labels
    counts = {"forget": int((labels == 0).sum()), "retain": int((labels != 0).sum())}
    for record in (one, two):
        for kind, count in counts.items():
            hits = record["metrics"][f"acc_{kind}_test"] * count
            assert hits == pytest.approx(round(hits), abs=1e-9), "a sample was left out or counted twice"
