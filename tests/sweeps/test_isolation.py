"""A run's own process: what it takes over from the one that started it."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from unsir_bench import runner
from unsir_bench.sweeps.isolation import _job, forks_runs


@pytest.mark.parametrize(
    ("words", "forked"),
    [
        (["-m", "seed=0,1"], True),
        (["method=unsir,retrain", "--multirun"], True),
        (["-m", "hydra/launcher=basic"], True),
        (["-m", "hydra/launcher=ray_local"], False),
        (["seed=0"], False),
    ],
)
def test_the_server_is_started_early_for_sweeps_that_fork_from_it_alone(words: list[str], forked: bool) -> None:
    assert forks_runs(words) is forked


def test_a_run_has_the_environment_of_its_job_not_of_the_server_that_it_is_forked_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "environment.json"
    monkeypatch.setattr(runner, "run", lambda *_: seen.write_text(json.dumps(dict(os.environ))))
    monkeypatch.setenv("OF_THE_SERVER", "1")
    given = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "3"}
    _, sign = multiprocessing.Pipe(duplex=False)
    arguments = (None, "", {"version": 1}, given, [], sign)
    process = multiprocessing.get_context("fork").Process(target=_job, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert json.loads(seen.read_text()) == given
