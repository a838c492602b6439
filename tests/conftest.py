"""Shared fixtures. One thread per test process: the networks are tiny, and threads would only wait for each other."""

import gc
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from lightning_fabric import Fabric

from tests.fake_time import FakeTime, TickingTime
from unsir_bench.cli.bootstrap import bootstrap
from unsir_bench.data.device_data import DeviceData
from unsir_bench.data.digits import Digits
from unsir_bench.models.allcnn import AllCNNConfig
from unsir_bench.models.model import ModelConfig
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.progress import Progress
from unsir_bench.runtime.stops import note_stops
from unsir_bench.training.context import RunContext

torch.set_num_threads(1)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Register everything before tests are collected, where they are: some are made for every registered method."""
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        bootstrap()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: a file is one worker's, and a long one begun last keeps the others idle."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Leave what the imports made to no later collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """What the clock of all timings reads."""
    fake = FakeTime()
    monkeypatch.setattr("unsir_bench.runtime.clock.time", fake)
    return fake


@pytest.fixture
def ticking_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass at every reading of the clock of all timings."""
    monkeypatch.setattr("unsir_bench.runtime.clock.time", TickingTime())


@pytest.fixture
def noted() -> Iterator[None]:
    """Stops of this process are counted."""
    before = signal.getsignal(signal.SIGCONT)
    note_stops()
    yield
    signal.signal(signal.SIGCONT, before)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Leave files to the system's own time, which no test but those of syncing, with calls of their own, can tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


@pytest.fixture(scope="session")
def fabric() -> Fabric:
    """A CPU Fabric."""
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="session")
def digits_config() -> Digits:
    """The digits, at most 20 a class."""
    return Digits(subset=20, mean=[0.305], std=[0.376], batch_size=32)


@pytest.fixture(scope="session")
def digits(digits_config: Digits) -> DeviceData:
    """The small digits on the CPU."""
    data = digits_config.load(Progress(interactive=False))
    return DeviceData(data, digits_config, HardwareConfig(accelerator="cpu"), torch.device("cpu"), channels_last=False)


@pytest.fixture
def make_context(fabric: Fabric, digits: DeviceData) -> Callable[..., RunContext]:
    """Build a context for the small digits, its fields replaced by keywords; curve points land in ``log.points``."""

    def build(architecture: ModelConfig | None = None, **changes: object) -> RunContext:
        def log(phase: str, step: int, values: dict[str, float]) -> None:
            log.points.append((phase, step, values))  # type: ignore[attr-defined]

        log.points = []  # type: ignore[attr-defined]
        fields: dict[str, object] = {
            "fabric": fabric,
            "seed": 0,
            "architecture": architecture or AllCNNConfig(width=4),
            "image_shape": digits.image_shape,
            "num_classes": digits.num_classes,
            "forget_classes": (0,),
            "progress": Progress(interactive=False),
            "log": log,
        }
        return RunContext(**{**fields, **changes})  # type: ignore[arg-type]

    return build
