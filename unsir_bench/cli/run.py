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

from unsir_bench.cli.bootstrap import bootstrap, with_published
from unsir_bench.cli.install_check import check_torch_pair
from unsir_bench.cli.plugins import modules_of_runs
from unsir_bench.config import (
    LONGEST_NAME,
    Config,
    at_home,
    note_content,
    note_overrides,
    paths_of,
    sweep_problems,
    typed,
    validate,
)
from unsir_bench.errors import ConfigError, NotRecordedError
from unsir_bench.records import RECORD_FILE, RunRecord, printable
from unsir_bench.references.store import ENTRIES
from unsir_bench.runner import log_failure, run
from unsir_bench.runs.finished_runs import finished_run
from unsir_bench.runtime.extras import absent_launcher
from unsir_bench.runtime.files import unwritable
from unsir_bench.sweeps.isolation import import_present
from unsir_bench.sweeps.outcome import Launch, SweepJob, command_of, current_launch, launching, troubles
from unsir_bench.sweeps.sweeper import SWEEPER
from unsir_bench.tracking.tracker_config import IN_EACH_RECORD, NAMES_OF_SECRETS, holds_password, without_passwords

LONGEST_BELOW = 2 * LONGEST_NAME  # letters of a path below a sweep's folder or the store's
FLAGS = ("-m", "--multirun", "--resolve")  # Hydra's options that take no value
HYDRA_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
RECORDS_ELSEWHERE = (
    "records lie in OUTPUTS/SWEEP/RUN_ID, where the same command finds what is finished; "
    "choose the place with outputs=FOLDER and sweep=NAME instead"
)


class SweepTable(Callback):
    """At the end of a sweep: the comparison table, what is not done and how to do it again, and what was written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Stop before Hydra makes the run's folder where there should be none, or where it cannot."""
        _refuse_places(config, Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Likewise; and stop before another sweeper would launch runs that this command does not do."""
        if current_launch().instead is None:
            _refuse_places(config, Path(config.hydra.sweep.dir))
        sweeper = config.hydra.sweeper._target_
        if current_launch().instead is not None and sweeper != SWEEPER:
            sys.exit(f"hydra.sweeper: this command needs hydra/sweeper=resuming, not {sweeper}; leave the choice out")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on the sweep's folder; the jobs may have run in other processes."""
        launch, folder = current_launch(), Path(config.hydra.sweep.dir)
        if launch.instead is not None:
            return
        try:
            _report(launch, folder)
        except Exception as error:  # Hydra would make a warning of it, and the exit status would be 0
            log_failure(error, f"{folder}: the sweep's report")
            launch.failed.append("report")


def _report(launch: Launch, folder: Path) -> None:
    found = list(troubles(launch, folder))
    launch.failed += [trouble.run_id for trouble in found if trouble.status in ("failed", "lost")]
    written = _table(launch, folder)
    for trouble in found:
        print(printable(f"{trouble.status}: {trouble.run_id}: {trouble.reason}"))
        print(f"        record: {trouble.record}\n" if trouble.record else "", end="")
        print(f"        again:  {trouble.again}\n" if trouble.again else "", end="")
    for path in [folder / "*" / RECORD_FILE, *written]:
        print(f"written: {path}")


def _table(launch: Launch, folder: Path) -> list[Path]:
    """The files of the sweep's table; none where it fails, which costs the report on the runs nothing."""
    try:
        from unsir_bench.report.tables.sweep import write_sweep_table

        return write_sweep_table(folder)
    except OSError as error:
        print(f"{folder}: the sweep's table cannot be written: {error}")
    except Exception as error:  # whatever it is, the runs are told of
        log_failure(error, f"{folder}: the sweep's table")
    launch.failed.append("table")
    return []


class Job:
    """What Hydra calls with each composed configuration."""

    def __call__(self, composed: DictConfig) -> None:
        """Run one configuration."""
        launch = current_launch()
        try:
            config = typed(composed)
            _keep_the_given_folder(config)
            note_overrides(config, HydraConfig.get().overrides.task)
            _refuse_mistakes(config)
            record = _record_of(config)
        except (ConfigError, NotRecordedError) as error:
            log_failure(error, "configuration" if isinstance(error, ConfigError) else "record")
            launch.failed.append("configuration")
            return
        if record.status == "failed":
            launch.failed.append(record.run_id)
        if record.status == "done":
            _print(record)
        print(f"record: {config.folder.with_name(record.run_id) / RECORD_FILE}")

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
    if surroundings.job.chdir:
        for node, name in paths_of(config):
            path = getattr(node, name)
            if path and (name != "path" or (given / path).exists()):  # else a name on the Hugging Face hub
                setattr(node, name, str(given / path))
        config.forget.change_files(lambda path: str(given / path))
        note_content(config)
    alone = surroundings.mode is not RunMode.MULTIRUN  # a launcher's process may begin in a folder of its own
    if alone and (given / config.folder).resolve() != hydras.resolve():
        raise ConfigError([f"hydra.run.dir={hydras}: {RECORDS_ELSEWHERE}"])


def _refuse_mistakes(config: Config) -> None:
    """Check a run that is alone before it has a folder and a record; in a sweep, the record tells of the mistake.

    Raises:
        ConfigError: at least one setting is wrong.
    """
    if wrong := [*sweep_problems(config.sweep), *config.tracker.password_problems()]:  # nothing may be recorded
        raise ConfigError(wrong)
    if finished_run(config) is None and HydraConfig.get().mode is not RunMode.MULTIRUN:
        validate(config)


def _refuse_places(config: DictConfig, folder: Path) -> None:
    """End the command where records have no place, or would show a password; before anything is made.

    Args:
        config: composed; that of a sweep lacks what its runs choose.
        folder: of the run or the sweep.
    """
    wrong = list(sweep_problems(str(config.sweep)))
    if holds_password(str(OmegaConf.select(config, "tracker.uri") or "")):  # before Hydra keeps the configuration
        wrong.append(f"tracker.uri: {IN_EACH_RECORD}")
    wrong += _secrets(OmegaConf.to_container(OmegaConf.select(config, "hydra.job.env_set") or OmegaConf.create()))
    for key, place in (("outputs", folder), ("store.root", Path(at_home(str(config.store.root))) / ENTRIES)):
        if not wrong and (reason := unwritable(place, LONGEST_BELOW)):
            wrong.append(f"{key}={OmegaConf.select(config, key)}: {reason}; choose another folder, or make room")
    if wrong:
        sys.exit("\n".join(wrong))


def _secrets(variables: Any) -> list[str]:
    """A line for each variable of a job whose value Hydra's files would show; one that is looked up is not shown."""
    return [
        f"hydra.job.env_set.{name}: Hydra's files would show its value; leave it out and export {name} instead"
        for name, value in variables.items()
        if "${" not in str(value) and (NAMES_OF_SECRETS.search(str(name)) or holds_password(str(value)))
    ]


def _record_of(config: Config) -> RunRecord:
    """The run's record: done here, or, in a sweep, in a process of its own."""
    surroundings = HydraConfig.get()
    command = command_of(surroundings.overrides.task)
    if finished_run(config) is not None:
        return run(config, command)
    check_torch_pair()
    apart = surroundings.mode is RunMode.MULTIRUN or config.hardware.limits
    if not (apart and config.isolate):
        import_present(modules_of_runs(tracked=False))
        return run(config, command)
    modules = modules_of_runs(tracked=config.tracker.uses_wandb)
    job_logging = OmegaConf.to_container(surroundings.job_logging, resolve=True)
    return current_launch().run(config, command, job_logging, modules)


def _print(record: RunRecord) -> None:
    from unsir_bench.report.forget_words import forgotten_words
    from unsir_bench.report.tables.text import job_rows, print_rows, step_rows

    print_rows(list(job_rows(record)), f"{record.run_id}: forgetting {forgotten_words(record)}")
    if record.details.get("steps"):
        print_rows(list(step_rows(record)), "after each step, over all that was forgotten so far")


def run_command(words: Sequence[str]) -> int:
    """Do what a command line of Hydra's says.

    Args:
        words: without the program and the verb.

    Returns:
        Exit status: 0, or 1 if a run failed or was lost.
    """
    return _given_to_hydra(words, None)


def sweep_command(words: Sequence[str], instead: Callable[[Sequence[SweepJob]], None]) -> int:
    """Compose the runs of a sweep, with or without ``-m``, and do something else than launch them.

    Args:
        words: as for ``run_command``.
        instead: takes the runs; it may add to the ``failed`` of ``current_launch``.

    Returns:
        Exit status: 0, or 1 if anything failed.
    """
    return _given_to_hydra(["--multirun", *(word for word in words if word not in ("-m", "--multirun"))], instead)


def _given_to_hydra(words: Sequence[str], instead: Callable[[Sequence[SweepJob]], None] | None) -> int:
    bootstrap()
    if problems := [*_unreadable(words), *_absent_launchers(words)]:
        sys.exit("\n".join(problems))
    sys.argv[1:] = list(with_published(words))  # where Hydra reads them
    with launching(instead) as launch:
        try:
            hydra.main(version_base="1.3", config_path="pkg://unsir_bench.conf", config_name="config")(Job())()
        except SystemExit as end:
            print(_advice(end.__context__, words), end="", file=sys.stderr)
            raise
    return int(bool(launch.failed or launch.stopped))


def _advice(reported: BaseException | None, words: Sequence[str]) -> str:
    """What to do where Hydra has just reported a key of a group of which an experiment names no option yet."""
    told = f"{reported}\n{reported.__cause__}" if reported else ""
    found = re.search(
        r"Missing mandatory value: (\w+)|full_key: (\w+)\.\w+\s+reference_type=(\w+)\s+object_type=\3$", told, re.M
    )
    group = next(filter(None, found.groups()), "") if found else ""
    keys = " ".join(word for word in words if word.startswith(f"{group}."))
    named = {word.partition("=")[0] for word in words}
    if not keys or group in named or "experiment" not in named:
        return ""
    return f"Where an experiment chooses {group} for each run, name the option too: {group}=OPTION {keys}\n"


def _absent_launchers(words: Sequence[str]) -> Iterator[str]:
    """What is wrong with a launcher whose extra is not installed; Hydra would only list what it knows."""
    for word in words:
        group, _, name = word.partition("=")
        if group == "hydra/launcher" and (absent := absent_launcher(name)) is not None:
            yield absent


def _unreadable(words: Sequence[str]) -> Iterator[str]:
    """A line for each override that Hydra's grammar cannot read."""
    grammar = OverridesParser.create()
    for before, word in zip(["", *words], words, strict=False):
        key, equals, value = word.partition("=")
        if not equals or word.startswith("-") or (before.startswith("-") and before not in FLAGS):
            continue
        if key.lstrip("+") in HYDRA_FOLDERS:
            yield f"{word}: {RECORDS_ELSEWHERE}"
        if key.lstrip("+") in ("tracker", "tracker.uri") and without_passwords(value) != value:
            yield f"tracker.uri: {IN_EACH_RECORD}"  # before Hydra writes the words to its own files
            continue
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
