from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unsir_bench.config_fields import problems
from unsir_bench.errors import ConfigError
from unsir_bench.runtime import denormals, malloc
from unsir_bench.runtime.hardware import HardwareConfig
from unsir_bench.runtime.malloc import keep_freed_memory
from unsir_bench.runtime.peak_memory import PeakMemory

MEGABYTE = 2**20
CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine without a GPU, to which tests add."""
    here = SimpleNamespace(gpus=0, mps=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: here.gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: here.gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: here.mps)
    return here


@pytest.mark.parametrize(
    ("gpus", "mps", "asked", "expected"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, True, "auto", "cuda"),
        (2, False, "cpu", "cpu"),
        (0, False, "cuda", "cuda"),
    ],
)
def test_auto_is_the_best_device_here_and_a_wish_is_kept(
    machine: SimpleNamespace, gpus: int, mps: bool, asked: str, expected: str
) -> None:
    machine.gpus, machine.mps = gpus, mps
    config = HardwareConfig(accelerator=asked)
    assert config.resolved_accelerator() == expected
    assert config.numerics(channels_last=False)["accelerator"] == expected


@pytest.mark.parametrize("accelerator", ["cuda", "mps"])
@pytest.mark.usefixtures("machine")
def test_a_device_that_is_not_here_is_named_with_what_is(accelerator: str) -> None:
    [problem] = problems(HardwareConfig(accelerator=accelerator), "hardware")
    assert problem.startswith(f"hardware.accelerator={accelerator}: this machine has none")
    assert "it has cpu" in problem
    assert "hardware=auto" in problem


def test_more_gpus_than_there_are_is_named(machine: SimpleNamespace) -> None:
    machine.gpus = 2
    assert not list(problems(HardwareConfig(accelerator="cuda", devices=2), "hardware"))
    [problem] = problems(HardwareConfig(accelerator="cuda", devices=3), "hardware")
    assert "hardware.devices=3" in problem
    assert "has 2" in problem


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (HardwareConfig(accelerator="tpu"), "hardware.accelerator=tpu"),
        (HardwareConfig(precision="8-bit"), "hardware.precision=8-bit"),
        (HardwareConfig(devices=0), "hardware.devices=0"),
        (HardwareConfig(threads=0), "hardware.threads=0"),
        (HardwareConfig(data_on="disk"), "hardware.data_on=disk"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_a_value_out_of_range_is_named(config: HardwareConfig, key: str) -> None:
    assert any(problem.startswith(key) for problem in problems(config, "hardware"))


def test_thread_counts_and_the_place_of_the_data_do_not_count_as_numerics() -> None:
    plain = HardwareConfig().numerics(channels_last=False)
    assert HardwareConfig(threads=3, data_on="stream", name="mine").numerics(channels_last=False) == plain
    assert HardwareConfig(precision="bf16-mixed").numerics(channels_last=False) != plain
    assert HardwareConfig().numerics(channels_last=True) != plain


@pytest.fixture
def flags() -> Iterator[None]:
    """Put torch's process-wide flags back."""
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.usefixtures("flags")
def test_each_start_sets_every_flag_whatever_the_run_before_had() -> None:
    def observed() -> tuple[bool, bool, bool]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.allow_tf32,
        )

    HardwareConfig(accelerator="cpu", deterministic=False, tf32=True, threads=1).start()
    assert observed() == (False, True, True)
    HardwareConfig(accelerator="cpu", threads=1).start()
    assert observed() == (True, False, False)


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_asked_number_of_threads_is_used(threads: int) -> None:
    HardwareConfig(accelerator="cpu", threads=threads).start()
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("flags")
def test_the_precision_reaches_fabric() -> None:
    fabric = HardwareConfig(accelerator="cpu", precision="bf16-mixed", threads=1).start()
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("data_on", "size", "kept"),
    [
        ("auto", 499, True),
        ("auto", 500, False),
        ("device", 10_000, True),
        ("stream", 1, False),
    ],
)
def test_data_stay_on_the_device_below_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, data_on: str, size: int, kept: bool
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    assert HardwareConfig(data_on=data_on).keep_on_device(size, CPU) is kept


def test_on_a_gpu_its_own_free_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000, 4000))
    assert HardwareConfig().keep_on_device(499, torch.device("cuda"))
    assert not HardwareConfig().keep_on_device(501, torch.device("cuda"))


PAGES_OF_LARGE_TENSORS = """
import resource, sys, torch
from unsir_bench.runtime.hardware import keep_freed_memory
keep_freed_memory(sys.argv[1] == "keep")
for step in range(20):
    if step == 10:  # by then the aligned blocks have found their places
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(25 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_a_large_tensor_freed_serves_the_next_without_new_pages() -> None:
    def pages(how: str) -> int:
        command = [sys.executable, "-c", PAGES_OF_LARGE_TENSORS, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert pages("keep") < pages("return") / 10


@pytest.fixture
def settings_of_the_allocator() -> Iterator[None]:
    yield
    keep_freed_memory()  # as every run has it


@pytest.mark.usefixtures("settings_of_the_allocator")
def test_where_memory_comes_from_changes_no_bit() -> None:
    draws = torch.Generator().manual_seed(0)
    images, weights = torch.randn((64, 8, 128, 128), generator=draws), torch.randn((8, 8, 3, 3), generator=draws)

    def gradients() -> list[torch.Tensor]:
        leaves = [images.clone().requires_grad_(), weights.clone().requires_grad_()]
        torch.nn.functional.conv2d(*leaves, padding=1).relu().square().mean().backward()
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    keep_freed_memory(False)
    returned = gradients()
    keep_freed_memory()
    assert len(returned) == 2
    assert all(torch.equal(one, other) for _ in range(2) for one, other in zip(gradients(), returned, strict=True))


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(malloc, "_glibc", lambda: None)
    keep_freed_memory()
    PeakMemory(CPU).reset()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lowers the high-water mark")
def test_peak_memory_sees_a_freed_allocation_until_it_is_reset() -> None:
    keep_freed_memory()
    memory = PeakMemory(CPU)
    memory.reset()
    before = memory.read()
    block = np.ones(200 * MEGABYTE, dtype=np.uint8)
    del block
    peak = memory.read()
    memory.reset()
    assert 190 * MEGABYTE < peak - before < 260 * MEGABYTE
    assert memory.read() < peak - 150 * MEGABYTE


def test_half_precision_with_a_scaler_is_refused_on_a_cpu() -> None:
    [line] = HardwareConfig(accelerator="cpu", precision="16-mixed").check("hardware")
    assert line.startswith("hardware.precision=16-mixed: needs a GPU")


def test_denormal_numbers_are_flushed_where_asked_and_only_then_change_the_key() -> None:
    tiny = torch.full((8,), 1e-40)
    try:
        HardwareConfig(accelerator="cpu", flush_denormal=True).set_flags()
        assert (tiny * 0.5).count_nonzero() == 0
        HardwareConfig(accelerator="cpu").set_flags()  # a run of the same process that does not ask for it
        assert (tiny * 0.5).count_nonzero() == 8
    finally:
        torch.set_flush_denormal(False)
    usual, flushed = (HardwareConfig(accelerator="cpu", flush_denormal=flag).numerics(False) for flag in (False, True))
    assert "flush_denormal" not in usual and flushed == usual | {"flush_denormal": True}


FLUSHED_IN_TURN = """
import torch
from unsir_bench.runtime.hardware import HardwareConfig
tiny = torch.ones(1_000_000, dtype=torch.int32).view(torch.float32)  # the smallest denormal number
for flag, threads in ((False, 2), (True, 2), (False, 2), (True, 1), (True, 2), (False, 1), (False, 2)):
    HardwareConfig(accelerator="cpu", threads=threads, flush_denormal=flag).set_flags()
    print(int(((tiny * 0.5 + tiny).view(torch.int32) == 0).sum()))
"""


def test_every_thread_flushes_denormal_numbers_as_the_last_run_of_the_process_asked() -> None:
    command = [sys.executable, "-c", FLUSHED_IN_TURN]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == ["0", "1000000", "0", "1000000", "1000000", "0", "0"]


def test_threads_that_cannot_be_ended_are_an_error_that_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denormals, "_everywhere", lambda _flag: False)
    monkeypatch.setattr("unsir_bench.runtime.denormals.ctypes.CDLL", lambda _name: SimpleNamespace())
    with pytest.raises(ConfigError, match=r"hardware\.flush_denormal=false: .* new process"):
        HardwareConfig(accelerator="cpu", threads=1).set_flags()
