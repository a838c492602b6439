"""What is found wrong with the runs of a sweep before it starts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from unsir_bench.cli.bootstrap import compose
from unsir_bench.errors import ConfigError
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.sweeps import mistakes as module
from unsir_bench.sweeps.mistakes import mistakes, told
from unsir_bench.sweeps.outcome import SweepJob


def jobs(*overrides: Sequence[str]) -> list[SweepJob]:
    return [SweepJob(tuple(words), compose(list(words))) for words in overrides]


def test_each_problem_is_told_once_with_the_first_run_that_has_it() -> None:
    refused = SweepJob(("model=x",), ConfigError(["model=x: there is none"]))
    found = mistakes([*jobs(["seed=0"], ["seed=-1", "method=unsir"], ["seed=-1", "unlearn_seed=-2"]), refused], "basic")
    assert found == {
        "seed=-1: must be at least 0": ["seed=-1 method=unsir", "seed=-1 unlearn_seed=-2"],
        "unlearn_seed=-2: must be at least 0, or null: the training seed": ["seed=-1 unlearn_seed=-2"],
        "model=x: there is none": ["model=x"],
    }
    assert next(told(found)) == "cannot run: 2 runs, the first: seed=-1 method=unsir: seed=-1: must be at least 0"
    assert list(told(found))[2] == "cannot run: model=x: model=x: there is none"


@pytest.mark.parametrize(("launcher", "wrong"), [("basic", True), ("devices", True), ("slurm", False)])
def test_an_accelerator_that_is_not_here_is_wrong_where_the_runs_are_here(launcher: str, wrong: bool) -> None:
    absent = next(name for name in ("cuda", "mps") if HardwareConfig(accelerator=name).absent)
    found = mistakes(jobs([f"hardware.accelerator={absent}"]), launcher)
    assert any(problem.startswith(f"hardware.accelerator={absent}: ") for problem in found) is wrong
    assert bool(found) is wrong


def test_a_check_that_breaks_stops_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_config: object) -> None:
        raise ZeroDivisionError("of a plug-in")

    monkeypatch.setattr(module, "validate", broken)
    assert mistakes(jobs(["seed=0"]), "basic") == {"ZeroDivisionError: of a plug-in": ["seed=0"]}
