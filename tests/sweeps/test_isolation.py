"""A run's own process: what it takes over from the one that started it."""

import json
import math
import multiprocessing
import os
from pathlib import Path

import pytest

from unsir_bench import runner
from unsir_bench.cli.bootstrap import compose
from unsir_bench.runtime import hardware
from unsir_bench.runtime.cores import own_cores
from unsir_bench.runtime.hardware import usual_threads
from unsir_bench.sweeps import isolation
from unsir_bench.sweeps.isolation import Surroundings, _job, _started, forks_runs


@pytest.mark.parametrize(
    ("words", "forked"),
    [
        (["-m", "seed=0,1"], True),
        (["method=unsir,retrain", "--multirun"], True),
        (["-m", "hydra/launcher=basic"], True),
        (["-m", "hydra/launcher=devices"], True),
        (["-m", "hydra/launcher=ray_local"], False),
        (["seed=0"], False),
    ],
)
def test_the_server_is_started_early_for_sweeps_that_fork_from_it_alone(words: list[str], forked: bool) -> None:
    assert forks_runs(words) is forked


def test_a_run_has_the_surroundings_of_its_job_not_of_the_server_that_it_is_forked_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, folder = tmp_path / "seen.json", tmp_path / "folder"
    folder.mkdir()

    def look(*_: object) -> None:
        seen.write_text(json.dumps([dict(os.environ), str(Path.cwd()), own_cores()]))

    monkeypatch.setattr(runner, "run", look)
    monkeypatch.setenv("OF_THE_SERVER", "1")
    given = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "3"}
    core = own_cores()[:1]
    _, sign = multiprocessing.Pipe(duplex=False)
    arguments = (None, "", {"version": 1}, Surroundings(given, str(folder), tuple(core)), [], sign)
    process = multiprocessing.get_context("fork").Process(target=_job, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert json.loads(seen.read_text()) == [given, str(folder), core]


def test_a_process_pinned_after_its_imports_has_no_more_threads_than_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores, limits = [0, 1], []

    def keep_to(chosen: tuple[int, ...]) -> None:
        cores[:] = chosen

    for module in (isolation, hardware):
        monkeypatch.setattr(module, "own_cores", lambda: cores)
    monkeypatch.setattr(isolation, "keep_to", keep_to)
    monkeypatch.setattr("threadpoolctl.threadpool_limits", limits.append)
    monkeypatch.setattr(hardware, "USUAL_THREADS", 2)
    monkeypatch.setattr(hardware, "CORES_THEN", 2)
    monkeypatch.chdir(tmp_path)
    Surroundings(dict(os.environ), str(tmp_path), (0, 1)).enter()
    assert (usual_threads(), limits) == (2, [])
    Surroundings(dict(os.environ), str(tmp_path), (1,)).enter()
    assert (usual_threads(), limits) == (1, [1])
    monkeypatch.setattr(hardware, "CORES_THEN", 1)  # pinned before torch was imported, with OMP_NUM_THREADS=2
    assert usual_threads() == 2


def test_a_run_starts_without_the_server_whose_socket_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable(multiprocessing.context.ForkProcess):
        """As where the folder of the server's socket was removed."""

        def start(self) -> None:
            raise FileNotFoundError("the socket")

    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(context, "Process", Unreachable)
    monkeypatch.setattr(isolation, "process_context", lambda modules: context)
    monkeypatch.setattr(isolation, "_job", math.sqrt)  # a function that another process can import
    process = _started([], (4.0,))
    process.join()
    assert process.exitcode == 0


def test_a_run_whose_process_cannot_be_started_is_recorded_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(isolation, "_started", refused)
    config = compose([f"outputs={tmp_path}", f"store.root={tmp_path}/store", "tracker=none"])
    record = isolation.run_in_own_process(config, "", {"version": 1}, [])
    assert "no process could be started for the run: [Errno 11]" in (record.reason or "")
    assert (config.folder / "record.json").exists()
