"""The command `unsir-bench`: finds the verb; what is slow is imported by the verb that needs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from unsir_bench.cli.terminal import print_any_letter, read_names_as_utf8
from unsir_bench.errors import UnsirBenchError
from unsir_bench.runtime.closed_pipe import ends_with_its_reader
from unsir_bench.runtime.printable import printable

# Each in the module of its name: verbs with options of their own, and verbs that take the words of a run.
OPTION_VERBS = ("evaluate", "list", "reproduce", "split", "store", "sync", "tune", "verify")
RUN_VERBS = ("plan", "prepare", "train")
WITHOUT_WANDB = {"tracker=none", "tracker=mlflow", "tracker=tensorboard"}


def main() -> None:
    """Run the command line; exit with status 1 if it is wrong, or if any run failed."""
    read_names_as_utf8()
    print_any_letter()
    try:
        with ends_with_its_reader():
            sys.exit(_status(sys.argv[1:]))
    except UnsirBenchError as error:  # of the installation or a plug-in
        sys.exit(printable(str(error)))


def _status(words: Sequence[str]) -> int:
    verb = words[0] if words else ""
    if {"-h", "--help"} & set(words) and verb not in OPTION_VERBS:
        from unsir_bench.cli.help import help_page

        print(help_page())
        return 0
    if verb in (*OPTION_VERBS, *RUN_VERBS):
        module = importlib.import_module(f"unsir_bench.cli.{verb}")
        return int(getattr(module, f"{verb}_command")(words[1:]))
    return _run(words)


def _run(words: Sequence[str]) -> int:
    from unsir_bench.cli.plugins import modules_of_runs
    from unsir_bench.sweeps.isolation import forks_runs, warm_up

    if forks_runs(words):
        warm_up(modules_of_runs(tracked=not WITHOUT_WANDB & set(words)))
    try:
        from unsir_bench.cli.run import run_command
    except (ImportError, OSError):
        from unsir_bench.cli.install_check import check_torch_pair

        check_torch_pair()
        raise
    return run_command(words)
