"""Where the devices launcher puts runs."""

from __future__ import annotations

import pytest

from unsir_bench.errors import ConfigError
from unsir_bench.sweeps.devices_launcher import Slot, slots, visible_gpus


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


def test_gpus_are_named_as_the_variable_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus("auto") == ["0", "1"] and visible_gpus("cpu") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert visible_gpus("cuda") == ["2", "5"]
