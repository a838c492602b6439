"""The command `unsir-bench`: Hydra composes a configuration, the runner does the rest; also `plan`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from unsir_bench.cli.install_check import BrokenInstallError, check_torch_pair
from unsir_bench.sweeps.process_server import forks_runs, warm_up

if forks_runs(sys.argv[1:]):
    warm_up()
try:
    check_torch_pair()
except BrokenInstallError as error:
    sys.exit(str(error))

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unsir_bench.cli.plugins import PluginError, import_plugins
from unsir_bench.config import Config, register, typed, validate
from unsir_bench.data import DATASETS
from unsir_bench.errors import ConfigError
from unsir_bench.models import MODELS
from unsir_bench.records import RECORD_FILE, RunRecord, finished_record
from unsir_bench.report.tables.sweep import write_sweep_table
from unsir_bench.report.tables.text import job_rows, print_rows, step_rows
from unsir_bench.runner import log_failure, run
from unsir_bench.sweeps.isolation import run_in_own_process
from unsir_bench.sweeps.outcome import LAUNCH, command_of, troubles
from unsir_bench.sweeps.sweeper import SWEEPER, register_sweeper
from unsir_bench.unlearning import unsir  # noqa: F401 - registers the method
from unsir_bench.unlearning.method import all_methods

importlib.import_module("unsir_bench.baselines").import_all()
try:
    import_plugins()
except PluginError as error:
    sys.exit(str(error))
register({"dataset": DATASETS, "model": MODELS, "method": all_methods()})
register_sweeper()


class SweepTable(Callback):
    """At the end of a sweep: the comparison table, what is not done and how to do it again, and what was written."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Stop before another sweeper would launch the runs that are only to be planned."""
        sweeper = config.hydra.sweeper._target_
        if LAUNCH.plan_only and sweeper != SWEEPER:
            sys.exit(f"hydra.sweeper: a plan is made by hydra/sweeper=resuming, not by {sweeper}; leave the choice out")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's folder; the jobs may have run in other processes."""
        if LAUNCH.plan_only:
            return
        folder = Path(config.hydra.sweep.dir)
        written = write_sweep_table(folder)
        found = list(troubles(LAUNCH, folder))
        for trouble in found:
            print(f"{trouble.status}: {trouble.run_id}: {trouble.reason}")
            print(f"        record: {trouble.record}\n" if trouble.record else "", end="")
            print(f"        again:  {trouble.again}\n" if trouble.again else "", end="")
        LAUNCH.failed += [trouble.run_id for trouble in found if trouble.status in ("failed", "lost")]
        for path in [folder / "*" / RECORD_FILE, *written]:
            print(f"written: {path}")


@hydra.main(version_base="1.3", config_path="pkg://unsir_bench.conf", config_name="config")
def job(composed: DictConfig) -> None:
    """Run one composed configuration."""
    try:
        config = typed(composed)
        _refuse_mistakes(config)
    except ConfigError as error:
        log_failure(error, "configuration")
        LAUNCH.failed.append("configuration")
        return
    record = _record_of(config)
    if record.status == "failed":
        LAUNCH.failed.append(record.run_id)
    if record.status == "done":
        print_rows(list(job_rows(record)), f"{record.run_id}: forgetting {', '.join(record.forget_names)}")
        if record.details.get("steps"):
            print_rows(list(step_rows(record)), "after each step, over all classes forgotten so far")
    print(f"record: {config.folder / RECORD_FILE}")


def _refuse_mistakes(config: Config) -> None:
    """Check a run that is alone before it has a folder and a record; in a sweep, the record tells of the mistake.

    Raises:
        ConfigError: at least one setting is wrong.
    """
    if HydraConfig.get().mode is not RunMode.MULTIRUN and finished_record(config.folder) is None:
        validate(config)


def _record_of(config: Config) -> RunRecord:
    """The run's record: done here, or, in a sweep, in a process of its own."""
    surroundings = HydraConfig.get()
    command = command_of(surroundings.overrides.task)
    if surroundings.mode is not RunMode.MULTIRUN or not config.isolate or finished_record(config.folder) is not None:
        return run(config, command)
    job_logging = OmegaConf.to_container(surroundings.job_logging, resolve=True)
    return run_in_own_process(config, command, job_logging)  # type: ignore[arg-type]


def _planning(arguments: list[str]) -> list[str]:
    """The arguments of `unsir-bench plan ...` as Hydra takes them."""
    LAUNCH.plan_only = True
    return ["--multirun", *(word for word in arguments if word not in ("-m", "--multirun"))]


def main() -> None:
    """Run the command line; exit with status 1 if any run failed."""
    if sys.argv[1:2] == ["plan"]:
        sys.argv[1:] = _planning(sys.argv[2:])
    job()
    if LAUNCH.failed or LAUNCH.stopped:
        sys.exit(1)
