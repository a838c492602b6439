"""What a launch tells of runs that were not done, whichever launcher it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus

from unsir_bench.cli.bootstrap import compose
from unsir_bench.cli.run import SweepTable
from unsir_bench.errors import ConfigError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.report.tables import sweep as table
from unsir_bench.runs.record_of_run import blank_record
from unsir_bench.sweeps.outcome import Launch, SweepJob, launching, troubles
from unsir_bench.sweeps.sweeper import ResumingSweeper


def job(outputs: Path, seed: int = 0, sweep: str = "runs") -> SweepJob:
    words = (f"seed={seed}", f"sweep={sweep}", f"outputs={outputs}", f"store.root={outputs}/store", "method=original")
    return SweepJob(words, compose(list(words)))


def recorded(each: SweepJob, status: str) -> Path:
    """The folder of a run that left a record."""
    assert not isinstance(each.config, ConfigError)
    record = blank_record(each.config)
    record.status, record.reason = status, None if status == "done" else "it broke"
    record.write(each.config.folder)
    return each.config.folder


def test_a_configuration_that_was_refused_is_told_with_its_command(tmp_path: Path) -> None:
    """Joblib, Slurm and Ray refuse it in a process of theirs, of which nobody reads what failed."""
    refused = SweepJob(("seed=0", "train.lr=0"), ConfigError(["train.lr=0: must be above 0"]))
    [told] = troubles(Launch(jobs=[refused]), tmp_path)
    assert (told.status, told.again) == ("failed", "unsir-bench seed=0 train.lr=0")
    assert "must be above 0" in told.reason


def test_each_run_is_told_of_by_the_record_in_its_own_folder(tmp_path: Path) -> None:
    jobs = [job(tmp_path, seed, sweep) for sweep in ("a", "b") for seed in (0, 1, 2)]
    statuses = ["done", "failed", "done", "done", "diverged"]
    places = [recorded(each, status) / RECORD_FILE for each, status in zip(jobs, statuses, strict=False)]
    told = list(troubles(Launch(jobs=jobs), tmp_path / "runs"))
    assert [each.status for each in told] == ["failed", "diverged", "lost"]
    assert [each.record for each in told] == [places[1], places[4], None]


def test_a_record_of_an_earlier_attempt_is_not_what_this_sweep_made(tmp_path: Path) -> None:
    path = recorded(job(tmp_path), "failed") / RECORD_FILE
    again = SweepJob.of(job(tmp_path).overrides, job(tmp_path).config)  # type: ignore[arg-type]
    [told] = troubles(Launch(jobs=[again], stopped="the launcher stopped: it broke"), tmp_path / "runs")
    assert (told.status, told.record) == ("lost", path)
    assert told.reason == "the launcher stopped: it broke; the one in its place is of an earlier attempt"
    recorded(again, "failed")
    [told] = troubles(Launch(jobs=[again]), tmp_path / "runs")
    assert (told.status, told.reason) == ("failed", "it broke")


def test_a_job_that_raises_costs_later_batches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    batches: list[int] = []

    def launch(jobs: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        batches.append(initial_job_idx)
        broken = JobReturn(overrides=jobs[0], status=JobStatus.FAILED, _return_value=ValueError("it broke"))
        return [broken] if initial_job_idx == 0 else [JobReturn(status=JobStatus.COMPLETED)]

    sweeper = ResumingSweeper(max_batch_size=1)
    sweeper._launcher = SimpleNamespace(launch=launch)  # type: ignore[assignment]
    with launching() as now:
        assert len(sweeper._launched([["seed=0"], ["seed=1"]])) == 2
    assert batches == [0, 1] and now.stopped is None
    assert now.failed == ["unsir-bench seed=0 stopped: ValueError: it broke"] and now.failed[0] in caplog.text


def emptied(path: Path, _other: Path) -> None:
    path.write_bytes(b"")


def edited(path: Path, _other: Path) -> None:
    path.write_text(path.read_text().replace("original", "unsir"))


def another_run_s(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def without_digest(path: Path, _other: Path) -> None:
    record = RunRecord.read(path)
    record.schema_version = 1
    record.write(path.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (emptied, "Expecting value"),
        (edited, "does not match its digest"),
        (another_run_s, "it is of the run original-"),
        (without_digest, "carries no digest"),
    ],
)
def test_a_run_whose_place_holds_no_record_of_its_own_is_lost(
    change: Callable[[Path, Path], None], words: str, tmp_path: Path
) -> None:
    first, second = job(tmp_path, 0), job(tmp_path, 1)
    path, other = (recorded(each, "done") / RECORD_FILE for each in (first, second))
    assert list(troubles(Launch(jobs=[first, second]), tmp_path / "runs")) == []
    change(path, other)
    [told] = troubles(Launch(jobs=[first, second]), tmp_path / "runs")
    assert (told.run_id, told.status, told.record) == (path.parent.name, "lost", path)
    assert told.reason.startswith("left no record; what lies in its place is none: ") and words in told.reason


@pytest.mark.parametrize("error", [ValueError("no such column"), OSError("disk full"), ImportError("no pandas")])
def test_a_table_that_fails_hides_no_failed_run(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fails(_folder: Path) -> list[Path]:
        raise error

    monkeypatch.setattr(table, "write_sweep_table", fails)
    jobs = [job(tmp_path, 0), job(tmp_path, 1)]
    failed, _ = recorded(jobs[0], "failed"), recorded(jobs[1], "done")
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path / "runs"))))
    with launching() as launch:
        launch.jobs = jobs
        SweepTable().on_multirun_end(config)  # type: ignore[arg-type]
    assert launch.failed == [failed.name, "table"]
    said = capsys.readouterr().out
    assert f"failed: {failed.name}: it broke" in said
    assert "sweep's table" in said + caplog.text and str(error) in said + caplog.text
    assert ("Traceback" in caplog.text) is not isinstance(error, OSError)


def test_a_report_that_fails_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unsir_bench.cli.run.troubles", lambda launch, folder: 1 / 0)
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    with launching() as launch:
        SweepTable().on_multirun_end(config)  # type: ignore[arg-type]
    assert launch.failed == ["report"]
