"""The memory that a process may take, from made control groups of both versions."""

from pathlib import Path

import psutil
import pytest
import torch

from unsir_bench.errors import NotApplicable, NotEnoughMemoryError
from unsir_bench.runtime import available_memory as module
from unsir_bench.runtime.available_memory import FILES, available_memory, require_memory
from unsir_bench.runtime.hardware import HardwareConfig

GB = 10**9
MACHINE = 256 * GB


def group(folder: Path, version: int, limit: int | str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = FILES[version]
    for name, value in zip(names[:2], (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon {used - cached}\n{names[2]} {cached}\n")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """256 GB free, and no control groups yet."""
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": MACHINE, "total": 2 * MACHINE})
    )
    monkeypatch.setattr(module, "GROUPS_OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(module, "GROUPS", tmp_path / "groups")
    return tmp_path


def test_without_control_groups_it_is_the_machine_s(machine: Path) -> None:
    assert available_memory() == MACHINE


@pytest.mark.parametrize(
    ("version", "line", "root"), [(2, "0::/job/step", ""), (1, "9:cpu,memory:/job/step", "memory")]
)
def test_it_is_what_the_tightest_group_leaves_beside_cached_files(
    version: int, line: str, root: str, machine: Path
) -> None:
    """The job may have 16 GB and uses 7, 3 of them cached files: 12 are left. The step itself has no limit."""
    (machine / "self").write_text(f"1:name=systemd:/x\n{line}\n")
    none: int | str = "max" if version == 2 else 2**63 - 4096
    group(machine / "groups" / root / "job" / "step", version, none, 7 * GB, 3 * GB)
    group(machine / "groups" / root / "job", version, 16 * GB, 7 * GB, 3 * GB)
    assert available_memory() == 12 * GB


def test_a_path_of_the_host_falls_back_to_the_root_of_the_container(machine: Path) -> None:
    (machine / "self").write_text("0::/of/the/host\n")
    group(machine / "groups", 2, 4 * GB, 1 * GB, 0)
    assert available_memory() == 3 * GB


def test_what_does_not_fit_is_refused_for_now_and_what_never_can_for_good(machine: Path) -> None:
    """The machine has 512 GB of which 256 are free, and the job may have 300 of them."""
    (machine / "self").write_text("0::/job\n")
    group(machine / "groups" / "job", 2, 300 * GB, 0, 0)
    require_memory(MACHINE, "x", "y")
    with pytest.raises(NotEnoughMemoryError, match=r"^x would need 242 GiB, and 238 GiB are free; y$"):
        require_memory(260 * GB, "x", "y")
    with pytest.raises(NotApplicable, match=r"^x would need 280 GiB, and there are 279 GiB in all; y$"):
        require_memory(301 * GB, "x", "y")


def test_images_are_streamed_where_the_job_has_too_little_memory_for_them(machine: Path) -> None:
    """CIFAR-100 at 224 pixels is 9 GB: more than half of what a job of 16 GB may take."""
    size, cpu = 60_000 * 3 * 224**2, torch.device("cpu")
    assert HardwareConfig().keep_on_device(size, cpu)
    (machine / "self").write_text("0::/job\n")
    group(machine / "groups" / "job", 2, 16 * GB, 1 * GB, 0)
    assert not HardwareConfig().keep_on_device(size, cpu)
