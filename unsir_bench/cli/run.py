"""`unsir-bench ...`: Hydra composes a configuration, or those of a sweep, and the runner does the rest."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.cli.install_check import check_torch_pair
from unsir_bench.cli.plugins import modules_of_runs
from unsir_bench.config import LONGEST_NAME, Config, finished_run, paths_of, typed, validate
from unsir_bench.errors import ConfigError
from unsir_bench.records import RECORD_FILE, RunRecord
from unsir_bench.runner import log_failure, run
from unsir_bench.sweeps.isolation import import_present, run_in_own_process
from unsir_bench.sweeps.outcome import command_of, current_launch, launching, troubles
from unsir_bench.sweeps.sweeper import SWEEPER

FLAGS = ("-m", "--multirun", "--resolve")  # Hydra's options that take no value
HYDRA_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
RECORDS_ELSEWHERE = (
    "records lie in OUTPUTS/SWEEP/RUN_ID, where the same command finds what is finished; "
    "choose the place with outputs=FOLDER and sweep=NAME instead"
)


class SweepTable(Callback):
    """At the end of a sweep: the comparison table, what is not done and how to do it again, and what was written."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Stop before another sweeper would launch the runs that are only to be planned."""
        sweeper = config.hydra.sweeper._target_
        if current_launch().plan_only and sweeper != SWEEPER:
            sys.exit(f"hydra.sweeper: a plan is made by hydra/sweeper=resuming, not by {sweeper}; leave the choice out")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's folder; the jobs may have run in other processes."""
        launch = current_launch()
        if launch.plan_only:
            return
        from unsir_bench.report.tables.sweep import write_sweep_table

        folder = Path(config.hydra.sweep.dir)
        written = write_sweep_table(folder)
        found = list(troubles(launch, folder))
        for trouble in found:
            print(f"{trouble.status}: {trouble.run_id}: {trouble.reason}")
            print(f"        record: {trouble.record}\n" if trouble.record else "", end="")
            print(f"        again:  {trouble.again}\n" if trouble.again else "", end="")
        launch.failed += [trouble.run_id for trouble in found if trouble.status in ("failed", "lost")]
        for path in [folder / "*" / RECORD_FILE, *written]:
            print(f"written: {path}")


class Job:
    """What Hydra calls with each composed configuration."""

    def __call__(self, composed: DictConfig) -> None:
        """Run one configuration."""
        launch = current_launch()
        try:
            config = typed(composed)
            _keep_the_given_folder(config)
            _refuse_mistakes(config)
        except ConfigError as error:
            log_failure(error, "configuration")
            launch.failed.append("configuration")
            return
        record = _record_of(config)
        if record.status == "failed":
            launch.failed.append(record.run_id)
        if record.status == "done":
            _print(record)
        print(f"record: {config.folder / RECORD_FILE}")

    def __reduce__(self) -> tuple[Callable[[], Job], tuple[()]]:
        """In a launcher's process, whose configuration Hydra composes there, everything must be registered first."""
        return _job_elsewhere, ()


def _job_elsewhere() -> Job:
    bootstrap()
    return Job()


def _keep_the_given_folder(config: Config) -> None:
    """Make relative paths absolute where ``hydra.job.chdir=true`` has changed the folder.

    Raises:
        ConfigError: Hydra's folder is not the one of the run.
    """
    surroundings = HydraConfig.get()
    given, hydras = Path(surroundings.runtime.cwd), Path(surroundings.runtime.output_dir)
    alone = surroundings.mode is not RunMode.MULTIRUN  # a launcher's process may begin in a folder of its own
    if alone and (given / config.folder).resolve() != hydras.resolve():
        raise ConfigError([f"hydra.run.dir={hydras}: {RECORDS_ELSEWHERE}"])
    if surroundings.job.chdir:
        for node, name in paths_of(config):
            path = getattr(node, name)
            if path and (name != "path" or (given / path).exists()):  # else a name on the Hugging Face hub
                setattr(node, name, str(given / path))


def _refuse_mistakes(config: Config) -> None:
    """Check a run that is alone before it has a folder and a record; in a sweep, the record tells of the mistake.

    Raises:
        ConfigError: at least one setting is wrong.
    """
    if finished_run(config) is None and HydraConfig.get().mode is not RunMode.MULTIRUN:
        validate(config)


def _record_of(config: Config) -> RunRecord:
    """The run's record: done here, or, in a sweep, in a process of its own."""
    surroundings = HydraConfig.get()
    command = command_of(surroundings.overrides.task)
    if finished_run(config) is not None:
        return run(config, command)
    check_torch_pair()
    if surroundings.mode is not RunMode.MULTIRUN or not config.isolate:
        import_present(modules_of_runs(tracked=False))
        return run(config, command)
    modules = modules_of_runs(tracked=config.tracker.mode != "none")
    job_logging = OmegaConf.to_container(surroundings.job_logging, resolve=True)
    return run_in_own_process(config, command, job_logging, modules)  # type: ignore[arg-type]


def _print(record: RunRecord) -> None:
    from unsir_bench.report.tables.text import job_rows, print_rows, step_rows

    print_rows(list(job_rows(record)), f"{record.run_id}: forgetting {', '.join(record.forget_names)}")
    if record.details.get("steps"):
        print_rows(list(step_rows(record)), "after each step, over all classes forgotten so far")


def run_command(words: Sequence[str], *, plan_only: bool = False) -> int:
    """Do what a command line of Hydra's says.

    Args:
        words: without the program and the verb.
        plan_only: say what would be done, and do nothing.

    Returns:
        Exit status: 0, or 1 if a run failed or was lost.
    """
    bootstrap()
    if problems := list(_unreadable(words)):
        sys.exit("\n".join(problems))
    sys.argv[1:] = words  # where Hydra reads them
    with launching(plan_only=plan_only) as launch:
        hydra.main(version_base="1.3", config_path="pkg://unsir_bench.conf", config_name="config")(Job())()
    return int(bool(launch.failed or launch.stopped))


def _unreadable(words: Sequence[str]) -> Iterator[str]:
    """A line for each override that Hydra's grammar cannot read, or that is too long for a folder's name."""
    grammar = OverridesParser.create()
    for before, word in zip(["", *words], words, strict=False):
        key, equals, value = word.partition("=")
        if not equals or word.startswith("-") or (before.startswith("-") and before not in FLAGS):
            continue
        if key.lstrip("+") in HYDRA_FOLDERS:
            yield f"{word}: {RECORDS_ELSEWHERE}"
        if key == "sweep" and len(value) > LONGEST_NAME:
            yield f"sweep={value}: has {len(value)} letters; {LONGEST_NAME} is the most"
        try:
            grammar.parse_override(word)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            yield f"{word}: cannot be read ({reason}); write {_quoted(key, value)}"


def _quoted(key: str, value: str) -> str:
    """How an override is written whose value, or each of whose listed names, Hydra's grammar has no letters for."""
    if re.search(r"[\[\]{}]", value):
        return f"""each name in quotes, and the whole in the shell's: "{key}=['a name','another']\""""
    return f"""the value in quotes, and the whole in the shell's: "{key}='{value}'\""""
