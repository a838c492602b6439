"""Where the devices launcher puts runs, and how its workers ask for them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from unsir_bench.errors import ConfigError, NotRecordedError
from unsir_bench.runtime.cores import own_cores
from unsir_bench.sweeps import devices_launcher
from unsir_bench.sweeps.devices_launcher import DevicesLauncher, Slot, slots, visible_gpus
from unsir_bench.sweeps.isolation import Surroundings
from unsir_bench.sweeps.outcome import current_launch

LaunchOne = Callable[[object, object, Sequence[str], int], JobReturn]


@pytest.mark.parametrize(
    ("gpus", "cores", "per_device", "cores_per_run", "expected"),
    [
        ([], [0, 1], 1, None, [(None, (0,)), (None, (1,))]),
        ([], [0, 1, 2, 5, 6], 1, 2, [(None, (0, 1)), (None, (2, 5))]),
        ([], [4, 5], 2, 2, [(None, (4, 5)), (None, (4, 5))]),
        ([], [], 1, None, [(None, ())]),
        (["0", "3"], [0, 1, 2, 3], 1, None, [("0", (0, 1)), ("3", (2, 3))]),
        (["0", "3"], [0, 1, 2, 3], 1, 1, [("0", (0,)), ("3", (2,))]),
        (["GPU-7"], [0, 1, 2, 3], 2, None, [("GPU-7", (0, 1)), ("GPU-7", (2, 3))]),
    ],
)
def test_each_run_has_a_device_and_cores_of_its_own(
    gpus: list[str],
    cores: list[int],
    per_device: int,
    cores_per_run: int | None,
    expected: list[tuple[str | None, tuple[int, ...]]],
) -> None:
    assert slots(gpus, cores, per_device, cores_per_run) == [Slot(*place) for place in expected]


def test_more_cores_than_there_are_is_refused_by_key() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.cores_per_run=3: this process may use 2 core"):
        slots([], [0, 1], 1, 3)


def test_more_cores_than_the_runs_beside_gpus_can_have_is_refused_by_key() -> None:
    assert [place.cores for place in slots(["0", "1"], range(4), 1, 2)] == [(0, 1), (2, 3)]
    with pytest.raises(ConfigError, match=r"cores_per_run=3: 2 runs at a time have 4 cores in all; choose fewer"):
        slots(["0", "1"], range(4), 1, 3)


def test_a_wrong_setting_arrives_whole_from_another_process() -> None:
    sent = pickle.loads(pickle.dumps(ConfigError(["seed=x: no", "train.lr=0: must be above 0"])))
    assert sent.problems == ["seed=x: no", "train.lr=0: must be above 0"] and "2 settings are wrong" in str(sent)


@pytest.mark.parametrize(("key", "value"), [("per_device", 0), ("cores_per_run", 0), ("cores_per_run", -2)])
@pytest.mark.parametrize("gpus", [[], ["0"]])
def test_a_number_below_1_is_refused_by_key(gpus: list[str], key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.{key}={value}: must be at least 1"):
        slots(gpus, [0, 1], **{"per_device": 1, "cores_per_run": None, key: value})


def test_gpus_are_named_as_the_variable_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus("auto") == ["0", "1"] and visible_gpus("cpu") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert visible_gpus("cuda") == ["2", "5"]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[[LaunchOne], list[Any]]:
    """What four jobs return on two slots, whose workers are forked from here and do ``work`` in Hydra's place."""
    monkeypatch.setattr(devices_launcher, "process_context", lambda: multiprocessing.get_context("fork"))
    config = OmegaConf.create({"hardware": {"accelerator": "cpu"}})

    def launch(work: LaunchOne) -> list[Any]:
        monkeypatch.setattr(devices_launcher, "_launch_one", work)
        launcher = DevicesLauncher(per_device=2, cores_per_run=len(own_cores()))
        launcher.setup(hydra_context=None, task_function=None, config=config)  # type: ignore[arg-type]
        return [each._return_value for each in launcher.launch([["a"], ["b"], ["c"], ["d"]], 3)]

    return launch


def asking(_given: object, _singletons: object, overrides: Sequence[str], number: int) -> JobReturn:
    """A job that asks for a run as `cli/run.py` does, and returns what it got."""
    os.environ["OF_THE_JOB"] = str(number)
    try:
        return JobReturn(_return_value=current_launch().run(*overrides, "the command", {}, ["a module"]))
    except NotRecordedError as error:
        return JobReturn(_return_value=repr(error))


def test_runs_are_started_here_with_the_surroundings_of_the_worker_that_asks(
    launched: Callable[[LaunchOne], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(config: str, command: str, _logging: Any, modules: Any, surroundings: Surroundings) -> Any:
        return config, command, modules, os.getpid(), surroundings

    monkeypatch.setattr(devices_launcher, "run_in_own_process", started)
    returned = launched(asking)
    assert [each[:4] for each in returned] == [(x, "the command", ["a module"], os.getpid()) for x in "abcd"]
    for number, (*_, surroundings) in enumerate(returned, 3):
        assert surroundings.environment["OF_THE_JOB"] == str(number)
        assert (surroundings.folder, list(surroundings.cores)) == (str(Path.cwd()), own_cores())


def test_what_a_run_raises_reaches_the_worker_and_later_jobs_go_on(
    launched: Callable[[LaunchOne], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(config: str, *_: Any) -> Any:
        if config in "ac":
            raise NotRecordedError("the disk is full")
        return config

    monkeypatch.setattr(devices_launcher, "run_in_own_process", started)
    refused = "NotRecordedError('the disk is full')"
    assert launched(asking) == [refused, "b", refused, "d"]


def test_a_worker_that_dies_stops_the_launcher_after_the_jobs_of_the_others(
    launched: Callable[[LaunchOne], list[Any]], tmp_path: Path
) -> None:
    def work(_given: object, _singletons: object, overrides: Sequence[str], number: int) -> JobReturn:
        if overrides == ["b"]:
            os._exit(1)
        time.sleep(0.2)
        (tmp_path / overrides[0]).touch()
        return JobReturn()

    with pytest.raises(EOFError):
        launched(work)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_an_interruption_of_the_command_alone_ends_workers_and_leaves_the_rest(
    launched: Callable[[LaunchOne], list[Any]], tmp_path: Path
) -> None:
    def work(_given: object, _singletons: object, overrides: Sequence[str], number: int) -> JobReturn:
        (tmp_path / overrides[0]).touch()
        time.sleep(60)
        return JobReturn()

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            if time.monotonic() > begun + 60:
                return  # the jobs end by themselves, and the test fails
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    begun, of_others = time.monotonic(), set(multiprocessing.active_children())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            launched(work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert time.monotonic() - begun < 30 and not set(multiprocessing.active_children()) - of_others
