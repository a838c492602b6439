"""`unsir-bench tune ...`: choose a method's numbers on held-out training images, the same budget for each method."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from unsir_bench.cli.terminal import log_to_terminal

if TYPE_CHECKING:
    from unsir_bench.unlearning.method import UnlearningMethod

DEFAULTS = ("experiment=tuning/setting",)
FORGET = ((8,), (7, 9))
WITHOUT_A_CHOICE = "none"


def tune_command(words: Sequence[str]) -> int:
    """Tune one method after another; returns the exit status: 1 if a method could not be tuned."""
    given, overrides = _parser().parse_known_args(list(words))
    log_to_terminal()
    if find_spec("optuna") is None:
        print("unsir-bench tune needs Optuna: pip install 'unsir-bench[tune]'", file=sys.stderr)
        return 1
    if ignored := [word for word in overrides if word.lstrip("+~").startswith(("forget=", "forget."))]:
        print(f"{ignored[0]}: give --forget 1,2 instead, once for each group of classes", file=sys.stderr)
        return 1
    from hydra.errors import HydraException

    from unsir_bench.cli.bootstrap import bootstrap
    from unsir_bench.errors import UnsirBenchError
    from unsir_bench.runtime.printable import printable

    bootstrap()
    status = 0
    for method in _methods(overrides):
        try:
            _tune(method, [word for word in overrides if not word.startswith("method=")], given)
        except (UnsirBenchError, HydraException) as error:
            print(printable(f"{method}: {error}"), file=sys.stderr)
            status = 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unsir-bench tune",
        description="Choose a method's numbers by Optuna: those that state a range. The score is the distance to "
        "retraining on held-out training images; no test image is read. Studies resume.",
        epilog="Further words are those of a run: method=A,B (default: every preset that is tuned), dataset=..., "
        "model=..., train=... . Default: the digits with allcnn_slim, seed 100.",
    )
    parser.add_argument("--trials", type=_positive, default=20, help="finished trials for each method (20)")
    parser.add_argument("--hours", type=float, help="stop a study after these hours, earlier sessions included")
    parser.add_argument(
        "--forget", type=_classes, action="append", metavar="CLASSES",
        help="indices of classes to forget together, as 7,9; give it several times. settings=tuned refuses to forget "
        "these (default: 8, and 7 and 9)",
    )  # fmt: skip
    parser.add_argument(
        "--replace",
        action="store_true",
        help="overwrite the best values that another study left for the same method, data set and network",
    )
    return parser


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word}: give a whole number of at least 1")
    return int(word)


def _classes(words: str) -> tuple[int, ...]:
    if not all(word.isdigit() for word in words.split(",")):
        raise argparse.ArgumentTypeError(f"{words}: give indices of classes, as 7,9")
    return tuple(sorted({int(word) for word in words.split(",")}))


def _methods(overrides: Sequence[str]) -> list[str]:
    """The presets named by ``method=``, or all whose values are tuned or set by hand."""
    chosen = [word.removeprefix("method=") for word in overrides if word.startswith("method=")]
    return [name for words in chosen for name in words.split(",")] if chosen else list(_with_a_choice())


def _with_a_choice() -> dict[str, UnlearningMethod]:
    """The preset of each method's own name that has something to choose.

    The authors' values stay theirs, and another preset of a method would be tuned to the same.
    """
    from unsir_bench.cli.bootstrap import compose
    from unsir_bench.cli.plugins import option_files
    from unsir_bench.config_fields import search_ranges

    presets = {name: compose([f"method={name}"]).method for name in option_files("method")}
    own = {name: method for name, method in presets.items() if type(method).name == name}
    chosen = {name: method for name, method in own.items() if method.settings != WITHOUT_A_CHOICE}
    return {name: method for name, method in chosen.items() if next(iter(search_ranges(method, "method")), None)}


def _tune(method: str, overrides: Sequence[str], given: argparse.Namespace) -> None:
    from unsir_bench.cli.bootstrap import compose, refuse_limits
    from unsir_bench.config import validate
    from unsir_bench.report.tables.text import markdown, plain_rows, print_rows
    from unsir_bench.runtime.files import write_atomic
    from unsir_bench.sweeps.tuning import Study, trial_rows, tune

    words = [*DEFAULTS, *overrides, f"method={method}"]
    forget = tuple(given.forget or FORGET)
    for group in forget:
        validate(compose([*words, f"forget.classes={list(group)}"]))
    study = Study(compose([*words, f"forget.classes={list(forget[0])}"]), forget)
    refuse_limits(study.config, "tune")
    try:
        winner = tune(study, given.trials, given.hours, replace_other=given.replace)
    finally:
        if study.journal.is_file():
            rows = trial_rows(study)
            print_rows(rows, f"{study.name}: held-out training images, forgetting {' and '.join(map(str, forget))}")
            write_atomic(study.folder / f"{study.name}.md", markdown(plain_rows(rows)))
    values = " ".join(f"{key}={value:g}" for key, value in winner.values.items())
    print(f"best of {winner.trials} trials in {winner.seconds:.0f} s: {values}")
