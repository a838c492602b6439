"""The command `unsir-bench`: Hydra composes a configuration, the runner does the rest."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsir_bench.install_check import BrokenInstallError, check_torch_pair

try:
    check_torch_pair()
except BrokenInstallError as error:
    sys.exit(str(error))

import hydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

import baselines
from unsir_bench.config import register, typed
from unsir_bench.data import DATASETS
from unsir_bench.errors import ConfigError
from unsir_bench.models import MODELS
from unsir_bench.records import RECORD_FILE, RunRecord, records_below
from unsir_bench.report.sweep import write_sweep_table
from unsir_bench.report.table import job_rows, print_rows, step_rows
from unsir_bench.runner import log_failure, run
from unsir_bench.unlearning import unsir  # noqa: F401 - registers the method
from unsir_bench.unlearning.method import all_methods

LOG = logging.getLogger("unsir_bench")

baselines.import_all()
register({"dataset": DATASETS, "model": MODELS, "method": all_methods()})


@dataclass
class Launch:
    """What this process has launched: whether anything failed decides its exit status."""

    started: float = field(default_factory=time.time)
    failed: list[str] = field(default_factory=list)


LAUNCH = Launch()


class SweepTable(Callback):
    """At the end of a sweep: the comparison table, what failed, and what was written."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's folder; the jobs may have run in other processes."""
        folder = Path(config.hydra.sweep.dir)
        written = write_sweep_table(folder)
        failed = [(path, record) for path, record in records_below(folder) if _failed_now(path, record)]
        for path, record in failed:
            print(f"failed: {record.run_id}: {(record.reason or '').splitlines()[0]}\n        {path}")
        LAUNCH.failed += [record.run_id for _, record in failed]
        for path in [folder / "*" / RECORD_FILE, *written]:
            print(f"written: {path}")


def _failed_now(path: Path, record: RunRecord) -> bool:
    return record.status == "failed" and path.stat().st_mtime >= LAUNCH.started


@hydra.main(version_base="1.3", config_path="pkg://unsir_bench.conf", config_name="config")
def job(composed: DictConfig) -> None:
    """Run one composed configuration."""
    try:
        config = typed(composed)
    except ConfigError as error:
        log_failure(error, "configuration")
        LAUNCH.failed.append("configuration")
        return
    record = run(config)
    if record.status == "failed":
        LAUNCH.failed.append(record.run_id)
    if record.status == "done":
        print_rows(list(job_rows(record)), f"{record.run_id}: forgetting {', '.join(record.forget_names)}")
        if record.details.get("steps"):
            print_rows(list(step_rows(record)), "after each step, over all classes forgotten so far")
    print(f"record: {config.folder / RECORD_FILE}")


def main() -> None:
    """Run the command line; exit with status 1 if any run failed."""
    job()
    if LAUNCH.failed:
        sys.exit(1)
