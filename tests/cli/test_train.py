"""`unsir-bench train`: both reference models of a run, side by side where neither slows the other down."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from unsir_bench.cli import train
from unsir_bench.cli.main import _status
from unsir_bench.cli.train import obstacle_side_by_side, places_of_their_own
from unsir_bench.records import RunRecord
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.sweeps.isolation import Surroundings

WORDS = ["dataset=digits", "dataset.subset=20", "train.epochs=1", "metrics=fast", "tracker=none", "hardware=cpu"]


def line(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "unsir_bench", *words, f"outputs={folder}", f"store.root={folder}/store"]


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line(folder, *words), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("cores", "devices", "threads", "of_model", "words"),
    [
        (2, 1, 1, None, None),  # as experiment=headline has it
        (8, 1, None, 4, None),
        (8, 2, 2, None, None),
        (2, 1, None, None, "each takes as many CPU threads as there are cores, and 2 core(s) can be used; "
         "set hardware.threads=1 here and in later runs to train them side by side"),
        (9, 1, 8, 1, "each takes 8 CPU threads, and 9 core(s) can be used; set hardware.threads=4 here"),
        (8, 2, 3, None, "each takes 6 CPU threads, and 8 core(s) can be used; set hardware.threads=2 here"),
        (1, 1, None, 1, "each takes 1 CPU threads, and 1 core(s) can be used"),
    ],
)  # fmt: skip
def test_on_a_cpu_trainings_go_side_by_side_if_their_threads_have_cores_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    devices: int,
    threads: int | None,
    of_model: int | None,
    words: str | None,
) -> None:
    monkeypatch.setattr(train, "own_cores", lambda: list(range(cores)))
    obstacle = obstacle_side_by_side(HardwareConfig(accelerator="cpu", devices=devices, threads=threads), of_model)
    assert obstacle is None if words is None else words in str(obstacle)
    assert cores > 1 or "hardware.threads" not in str(obstacle)


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7,1")


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("devices", "expected"), [(1, ["2", "5"]), (2, ["2,5", "7,1"])])
def test_each_training_sees_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch, devices: int, expected: list[str]) -> None:
    monkeypatch.setattr(train, "own_cores", lambda: [4, 5, 6])
    hardware = HardwareConfig(devices=devices)
    assert obstacle_side_by_side(hardware, None) is None
    places = places_of_their_own(hardware)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == expected
    assert [place.cores for place in places] == [(4,), (5, 6)]


@pytest.mark.usefixtures("four_gpus")
def test_too_few_gpus_are_shared_by_no_two_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    three = HardwareConfig(accelerator="cuda", devices=3)
    assert obstacle_side_by_side(three, None) == "side by side they need 6 GPUs, and 4 can be used"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert obstacle_side_by_side(HardwareConfig(), None) == "side by side they need 2 GPUs, and 1 can be used"


def test_on_a_cpu_each_training_has_cores_of_its_own_and_the_environment_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "own_cores", lambda: [0, 1])
    places = places_of_their_own(HardwareConfig(accelerator="cpu", threads=1))
    assert [place.cores for place in places] == [(0,), (1,)]
    assert [place.environment for place in places] == [Surroundings.here().environment] * 2


@pytest.mark.parametrize("at_once", [True, False])
def test_the_second_training_waits_for_the_first_where_they_would_share(
    monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    done: list[str] = []

    class Process:
        """Notes what is asked of it."""

        def __init__(self, target: object, args: object, name: str):
            self._name, self.exitcode = name, {"original": 0, "retrain": 1}[name]

        def start(self) -> None:
            done.append(f"start {self._name}")

        def join(self) -> None:
            done.append(f"join {self._name}")

    monkeypatch.setattr(
        train, "multiprocessing", SimpleNamespace(get_context=lambda _: SimpleNamespace(Process=Process))
    )
    assert train._exit_codes([], [Surroundings.here()] * 2, at_once=at_once) == [0, 1]
    assert (done.index("start retrain") < done.index("join original")) is at_once
    assert {"join original", "join retrain"} <= set(done)


def ended(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_trainings_end_with_the_command_that_was_killed(tmp_path: Path) -> None:
    words = [word for word in WORDS if not word.startswith("train.epochs")]
    started = subprocess.Popen(
        line(tmp_path, "train", *words, "train.epochs=100000"),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stderr is not None
    assert any("training the" in told for told in started.stderr)
    children = psutil.Process(started.pid).children(recursive=True)
    try:
        assert children
        started.kill()
        started.wait()
        deadline = time.monotonic() + 60
        while not all(map(ended, children)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["hardware.devices=2", "hardware.threads=1"]])
def test_both_models_are_trained_and_a_run_then_finds_them(tmp_path: Path, words: list[str]) -> None:
    trained = command(tmp_path, "train", *WORDS, *words)
    assert trained.returncode == 0, trained.stderr
    assert "training the original model" in trained.stderr and "training the retrain model" in trained.stderr
    assert not list(tmp_path.rglob("handed_over.json"))
    ran = command(tmp_path, *WORDS, *words)
    assert ran.returncode == 0 and "training the" not in ran.stdout + ran.stderr
    [record] = [RunRecord.read(path) for path in tmp_path.glob("runs/*/record.json")]
    assert record.metrics["retrain_seconds"] is not None


@pytest.mark.slow
def test_the_default_method_need_not_suit_the_forget_set(tmp_path: Path) -> None:
    """UNSIR, the default, forgets whole classes."""
    trained = command(tmp_path, "train", *WORDS, "forget=random_samples")
    assert trained.returncode == 0, trained.stderr
    diverged = command(tmp_path, "train", *WORDS, "train.lr=1e30", "train.clip_value=null", "train.clip_norm=null")
    assert diverged.returncode == 1 and "model was not trained: " in diverged.stderr
    assert "Traceback" not in diverged.stderr


def test_a_mistake_is_named_and_nothing_is_trained(tmp_path: Path) -> None:
    done = command(tmp_path, "train", "train.lr=0", "forget.classes=[11]", *WORDS)
    assert done.returncode == 1 and "train.lr=0" in done.stderr and "11 is no class" in done.stderr
    assert not (tmp_path / "store").exists()


def test_help_is_asked_for_like_that_of_any_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["train", "--help"]) == 0
    assert "train ..." in capsys.readouterr().out
