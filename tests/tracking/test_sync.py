"""Uploading offline runs: which are chosen, what becomes of each, against a small server that speaks W&B's protocol."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wandb_server import FakeWandb, serving
from unsir_bench.cli.sync import sync_command
from unsir_bench.records import RunRecord
from unsir_bench.tracking.offline_runs import offline_runs
from unsir_bench.tracking.run import Tracker, start_tracker
from unsir_bench.tracking.tables import tables
from unsir_bench.tracking.tracker_config import TrackerConfig

KEY = "k" * 40
NO_KEY = {"WANDB_API_KEY": "", "NETRC": "nowhere", "WANDB_MODE": "offline"}
SYNC = "import sys; from unsir_bench.cli.sync import sync_command; sys.exit(sync_command(sys.argv[1:]))"


@pytest.fixture
def server() -> Iterator[FakeWandb]:
    with serving() as fake:
        yield fake


def a_record(run_id: str) -> RunRecord:
    details = {"relearn_curve": [[0, 0.0], [5, 0.9]], "metric_seconds": {"accuracy": 0.5}}
    config = {"dataset": {"name": "digits"}}
    return RunRecord(
        run_id, "sweep", "unsir", "digits", "allcnn", 0, config, metrics={"acc_forget_test": 0.25}, details=details
    )


@pytest.fixture
def log_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Log a run offline and write its record; returns the run's folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")

    def log(run_id: str, status: str | None = "done", mode: str = "offline") -> Path:
        folder = tmp_path / "outputs" / "sweep" / run_id
        record = a_record(run_id)
        tracker: Tracker = start_tracker(TrackerConfig(mode=mode), record, folder)
        tracker.log("impair", 1, {"loss": 0.5})
        record.status = status or "failed"
        tracker.report(record, folder)
        tracker.finish(failed=record.status == "failed")
        if status is not None:
            record.write(folder)
        return folder

    return log


@pytest.fixture
def made_run(tmp_path: Path) -> Callable[..., Path]:
    """The folder of a run as `log_run` leaves it, its name and its file alone."""
    attempts = itertools.count()

    def make(run_id: str, status: str | None = "done") -> Path:
        folder, record = tmp_path / "outputs" / "sweep" / run_id, a_record(run_id)
        attempt = folder / "wandb" / f"offline-run-20240101_{next(attempts):06}-{run_id}"
        attempt.mkdir(parents=True)
        file, now = attempt / f"run-{run_id}.wandb", time.time()
        file.touch()
        os.utime(file, (now, now))  # the system's own time of a file may be some milliseconds behind the record's
        if status is not None:
            record.status = status
            record.write(folder)
        return folder

    return make


def attempt_of(folder: Path) -> Path:
    [attempt] = folder.glob("wandb/offline-run-*")
    return attempt


def marker_of(folder: Path) -> Path:
    """As `wandb sync` names it: the test that uploads sees it appear."""
    return attempt_of(folder) / f"run-{folder.name}.wandb.synced"


def sync(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: W&B keeps the first settings that a process saw."""
    return subprocess.run(
        [sys.executable, "-c", SYNC, *map(str, [folder, *words])],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_runs_of_finished_records_are_chosen_and_no_others(made_run: Callable[..., Path], tmp_path: Path) -> None:
    waiting = [made_run("done"), made_run("diverged", "diverged"), made_run("skipped", "skipped")]
    unfinished = [made_run("failed", "failed"), made_run("killed", None)]
    uploaded = made_run("uploaded")
    marker_of(uploaded).touch()
    found = offline_runs(tmp_path / "outputs")
    assert set(found.waiting) == {attempt_of(folder) for folder in waiting}
    assert set(found.unfinished) == {attempt_of(folder) for folder in unfinished}
    assert found.uploaded == [attempt_of(uploaded)]
    assert found.superseded == []


@pytest.mark.parametrize("below", [".", "sweep", "sweep/run"])
def test_runs_are_found_below_outputs_a_sweep_or_a_run(
    below: str, made_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = made_run("run")
    assert offline_runs(tmp_path / "outputs" / below).waiting == [attempt_of(folder)]


def test_the_folder_of_a_run_may_be_the_working_directory(
    made_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run("run")
    monkeypatch.chdir(folder)
    assert offline_runs(Path()).waiting == [attempt_of(folder)]


@pytest.mark.parametrize("named_by_the_clock", ["20200101_000000", "29990101_000000"])  # which may be set back
def test_of_a_run_done_again_only_the_recorded_attempt_is_uploaded(
    made_run: Callable[..., Path], tmp_path: Path, named_by_the_clock: str
) -> None:
    folder = made_run("again", "failed")
    first = attempt_of(folder)
    earlier = first.with_name(f"offline-run-{named_by_the_clock}-{folder.name}")
    first.rename(earlier)
    made_run("again")
    found = offline_runs(tmp_path / "outputs")
    assert found.superseded == [earlier]
    assert [attempt.parent.parent for attempt in found.waiting] == [folder]


def test_the_files_of_a_failed_attempt_are_not_taken_for_a_record_made_without_tracker(
    made_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = made_run("again", "failed")
    [file] = attempt_of(folder).glob("run-*.wandb")
    os.utime(file, (0, 0))
    record = a_record("again")
    record.status = "done"
    record.write(folder)
    assert offline_runs(tmp_path / "outputs").superseded == [attempt_of(folder)]


def test_an_attempt_without_its_file_is_left(made_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = made_run("broken")
    attempt = attempt_of(folder)
    shutil.rmtree(attempt)
    attempt.mkdir()
    assert offline_runs(tmp_path / "outputs").unfinished == [attempt]


@pytest.mark.parametrize("key", ["", "short"])
def test_without_a_key_it_stops_at_once_and_says_how_to_log_in(
    key: str, made_run: Callable[..., Path], tmp_path: Path
) -> None:
    made_run("one")
    made_run("two")
    made_run("failed", "failed")
    done = sync(tmp_path / "outputs", **NO_KEY | {"WANDB_API_KEY": key})
    assert done.returncode == 2, done.stderr
    assert "2 finished to upload" in done.stdout
    assert "left: failed: it has no finished record" in done.stdout
    assert "run `wandb login` or set WANDB_API_KEY" in done.stdout
    assert not list(tmp_path.rglob("*.synced"))


def test_a_folder_that_is_not_there_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync_command([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().out


def test_uploads_hold_the_run_and_one_that_fails_stops_no_other(
    log_run: Callable[..., Path], server: FakeWandb, tmp_path: Path
) -> None:
    first, refused, last = log_run("a-first"), log_run("b-refused"), log_run("c-last")
    log_run("failed", "failed")
    server.refused = {"b-refused"}
    reached = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": KEY}
    done = sync(tmp_path / "outputs", **reached)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed: b-refused: ERROR permission denied" in done.stdout
    assert set(server.runs) == {"a-first", "c-last"}
    assert marker_of(first).exists()
    assert marker_of(last).exists()
    assert not marker_of(refused).exists()
    assert KEY not in done.stdout + done.stderr

    sent = server.runs["a-first"]
    assert (sent["groupName"], sent["jobType"], sent["project"]) == ("sweep", "unsir", "unsir-bench")
    assert set(sent["tags"]) == {"digits", "allcnn"}
    assert json.loads(sent["config"])["dataset"]["value"] == {"name": "digits"}
    summary = json.loads(next(body for path, body in server.files.items() if path.endswith("wandb-summary.json")))
    assert (summary["acc_forget_test"], summary["status"]) == (0.25, "done")
    assert [point["impair/loss"] for point in server.history["a-first"] if "impair/loss" in point] == [0.5]
    assert {name for name in server.tables if name.startswith("run-a-first-")} == {
        f"run-a-first-{name}_table" for name in tables(a_record("a-first"))
    }

    server.refused, server.runs = set(), {}
    again = sync(tmp_path / "outputs", "--project", "elsewhere", **reached)
    assert again.returncode == 0, again.stdout
    assert {name: run["project"] for name, run in server.runs.items()} == {"b-refused": "elsewhere"}
    assert "1 finished to upload, 2 uploaded before, 1 unfinished" in again.stdout


def test_a_run_done_again_online_is_the_same_run(server: FakeWandb, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from unsir_bench.records import RunRecord\n"
        "from unsir_bench.tracking.run import start_tracker\n"
        "from unsir_bench.tracking.tracker_config import TrackerConfig\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "for status in ('failed', 'done'):\n"
        "    record = RunRecord('same', 'sweep', 'unsir', 'digits', 'allcnn', 0, {}, status=status)\n"
        "    tracker = start_tracker(TrackerConfig(mode='online'), record, folder)\n"
        "    tracker.log('impair', 1, {'loss': 0.5})\n"
        "    tracker.report(record, folder)\n"
        "    tracker.finish(failed=status == 'failed')\n"
    )
    environment = {**os.environ, "WANDB_BASE_URL": server.address, "WANDB_API_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "did not start" not in done.stderr
    assert set(server.runs) == {"same"}
    summaries = [body for path, body in server.files.items() if path.endswith("wandb-summary.json")]
    assert json.loads(summaries[-1])["status"] == "done"
    assert KEY not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
