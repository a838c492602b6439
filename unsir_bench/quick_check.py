"""A look at the command line before torch is imported: mistakes and help take a second, not ten.

Hydra composes the configuration with the schemas of the last start (`schema_cache`). What it says of a mistake is then
what the full start would say, and is said at once. Where that is not certain, nothing is: the full start is the judge,
and a command line that seems right goes there in any case.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging.config
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, NoReturn

from hydra._internal.hydra import Hydra
from hydra._internal.utils import (
    _run_hydra,
    create_automatic_config_search_path,
    get_args_parser,
    is_under_debugger,
    run_and_report,
)
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unsir_bench import schema_cache
from unsir_bench.errors import ConfigError
from unsir_bench.field_checks import problems
from unsir_bench.plugins import plugin_names
from unsir_bench.sweep_jobs import JobComposer, grid

# As `unsir_bench.cli.job` gives them to Hydra.
CONFIG_PATH, CONFIG_NAME, TASK_MODULE = "pkg://unsir_bench.conf", "config", "unsir_bench.cli"
# What tells nothing of plug-ins, the sweeper among them, which are registered by the full start alone.
QUICK_INFO = ("config", "defaults", "defaults-tree", "searchpath")
# Jobs of a sweep that are composed in full, at a tenth of a second each, because they look wrong.
SUSPECTS = 4


def quick_check(arguments: Sequence[str]) -> None:
    """Print what is wrong, or the help that is asked for, and exit; return where that is for the full start to say.

    Args:
        arguments: the command line, without the program.
    """
    words = ["--multirun", *arguments[1:]] if arguments[:1] == ["plan"] else list(arguments)
    if os.environ.get("HYDRA_FULL_ERROR") == "1" or is_under_debugger() or plugin_names():
        return
    given = get_args_parser().parse_args(words)
    if given.experimental_rerun or given.config_path or given.config_name or given.config_dir:
        return
    schemas = schema_cache.recall()
    if schemas is None:
        return
    for schema in schemas:  # the full start registers all of them anew
        schema.register()
    schema_cache.share_store()
    Plugins.instance()  # what it says of broken plug-ins of Hydra, it says once
    if _is_question(given):
        _answer(given)
    else:
        _refuse_mistakes(given)


def _is_question(given: argparse.Namespace) -> bool:
    quick_info = given.info in QUICK_INFO
    return bool(given.help or given.hydra_help or given.cfg or given.shell_completion or quick_info)


def _answer(given: argparse.Namespace) -> None:
    """Print help, the configuration or completions, as Hydra does, and exit, if Hydra can without the project."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(record=True) as warned:
        try:
            _run_hydra(given, get_args_parser(), _task, CONFIG_PATH, CONFIG_NAME)
            status: Any = 0
        except SystemExit as exit_:
            status = exit_.code
        except Exception:  # the full start meets it again, and shows its traceback
            status = None
    if status == 0 and not warned:
        sys.stdout.write(out.getvalue())
        sys.stderr.write(err.getvalue())
        sys.exit(0)
    if given.cfg and not given.help and not given.hydra_help:
        _refuse_mistakes(given)


def _task(config: DictConfig) -> None:
    """Stands for ``unsir_bench.cli.job``: Hydra asks for its module only."""


_task.__module__ = TASK_MODULE


def _refuse_mistakes(given: argparse.Namespace) -> None:
    """Print Hydra's message about the first mistake, and exit with its status; return if there is none."""
    mistake: CompactHydraException | None = None
    with _hydra() as hydra, warnings.catch_warnings(record=True) as warned:
        try:
            composed = _compose(hydra, given)
        except CompactHydraException as error:
            if warned or _might_be_a_sweep(hydra, given):
                return
            mistake = error
        except Exception:  # it would be shown with the traceback of the full start
            return
    if mistake is not None:
        _report(mistake)
    elif composed.hydra.mode is None and not (given.multirun or given.cfg):
        _refuse_values(composed)


def _report(mistake: Exception) -> NoReturn:
    def again() -> NoReturn:
        raise mistake

    run_and_report(again)
    raise AssertionError("Hydra exits when it has reported a mistake")


def _refuse_values(composed: DictConfig) -> None:
    """Log what is outside a range or a choice that stands beside its field, and exit; return if nothing is.

    Checks that a schema makes by a method are not known here: they are the full start's.
    """
    job_logging = OmegaConf.to_container(composed.hydra.job_logging)
    with open_dict(composed):
        composed.pop("hydra")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException:
        return
    sections = [field.name for field in dataclasses.fields(config) if dataclasses.is_dataclass(field.type)]  # type: ignore[arg-type]
    found = [line for name in sections for line in problems(getattr(config, name), name)]
    if found and isinstance(job_logging, dict) and job_logging.get("root"):
        _log(ConfigError(found), job_logging)
        sys.exit(1)


def _log(error: ConfigError, job_logging: dict[Any, Any]) -> None:
    """Log as a job would, but to no file: the run has no folder."""
    handlers = {name: handler for name, handler in job_logging["handlers"].items() if "filename" not in handler}
    root = {**job_logging["root"], "handlers": [name for name in job_logging["root"]["handlers"] if name in handlers]}
    logging.config.dictConfig({**job_logging, "handlers": handlers, "root": root})
    logging.getLogger("unsir_bench").error("configuration: %s", error)


def _might_be_a_sweep(hydra: Hydra, given: argparse.Namespace) -> bool:
    """Whether a preset makes a sweep of it without -m: several values are then no mistake."""
    if given.multirun or given.cfg:
        return False
    try:
        parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(given.overrides)
    except HydraException:
        return False
    sweeps = any(entry.is_sweep_override() for entry in parsed)
    return sweeps and hydra.get_mode(CONFIG_NAME, given.overrides) is not None


@contextmanager
def _hydra() -> Iterator[Hydra]:
    search_path = create_automatic_config_search_path(None, TASK_MODULE, CONFIG_PATH)
    try:
        yield Hydra.create_main_hydra2(TASK_MODULE.rpartition(".")[2], search_path)
    finally:
        GlobalHydra.instance().clear()


def _compose(hydra: Hydra, given: argparse.Namespace) -> DictConfig:
    """Compose the run, or the sweep and those of its jobs that tell something new.

    Raises:
        hydra.errors.CompactHydraException: of a mistake.
    """
    composed = hydra.compose_config(CONFIG_NAME, given.overrides, RunMode.MULTIRUN if given.multirun else RunMode.RUN)
    resuming = composed.hydra.sweeper._target_ == "hydra_plugins.unsir_bench.ResumingSweeper"
    if given.multirun and resuming and composed.hydra.mode is not RunMode.RUN:  # Hydra warns of a preset's mode
        _SweepCheck(hydra.config_loader, composed).run()
    return composed


class _SweepCheck:
    """Finds the first job of a sweep that cannot be composed, as `unsir_bench.sweeper` would, without composing all.

    A job is composed in full if it is the first, or looks wrong: it is the first to name an option that does not exist,
    or a value that the first job's configuration does not take.
    """

    def __init__(self, loader: Any, master: DictConfig):
        self._loader, self._master = loader, master
        self._composer = JobComposer(loader, master)

    def run(self) -> None:
        """Raise what is wrong, if it is found."""
        arguments = OmegaConf.to_container(self._master.hydra.overrides.task)
        jobs = grid(self._loader, self._master.hydra.sweeper.params or {}, arguments)  # type: ignore[arg-type]
        if not jobs:
            return
        sample = self._composer.compose(jobs[0])
        seen, suspects = set(jobs[0]), 0
        for job in jobs[1:]:
            fresh = [word for word in job if word not in seen]
            seen.update(fresh)
            if fresh and not all(self._seems_right(entry, sample) for entry in self._composer.parse(fresh)):
                self._composer.compose(job)
                suspects += 1
            if suspects == SUSPECTS:
                return

    def _seems_right(self, entry: Override, sample: DictConfig) -> bool:
        if self._composer.chooses(entry):
            value = entry.value()
            exists = self._loader.repository.config_exists
            return isinstance(value, str) and exists(f"{entry.key_or_group}/{value}")
        try:
            self._composer.set_values([entry], sample)
        except HydraException:
            return False
        return True
