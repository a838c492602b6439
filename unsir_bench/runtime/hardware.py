"""The hardware config: device, precision, memory layout, threads and determinism, through Lightning Fabric."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import torch

from unsir_bench.config_fields import choice, hashed_if_not_default, not_hashed, number
from unsir_bench.runtime.available_memory import available_memory
from unsir_bench.runtime.cores import own_cores
from unsir_bench.runtime.denormals import flush_denormals
from unsir_bench.runtime.malloc import keep_freed_memory

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true")
SHARE_FOR_DATA = 0.5
LONGEST_WAIT = timedelta(days=7)  # for the first process, which may wait for another run's training
# torch's own choice, before a run of this process changes it, and of how many cores it was made.
USUAL_THREADS, CORES_THEN = torch.get_num_threads(), len(own_cores())


def _available() -> dict[str, int]:
    """How many devices of each kind this machine has."""
    return {
        "cpu": psutil.cpu_count() or 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }


@dataclass
class HardwareConfig:
    """Where and how a run computes; `conf/hardware` comments each key."""

    name: str = not_hashed("auto")
    accelerator: str = choice("auto", ("auto", "cpu", "cuda", "mps"))
    devices: int = number(1, at_least=1)
    precision: str = choice("32-true", PRECISIONS)
    channels_last: bool | None = None
    compile: bool = False
    tf32: bool = False
    deterministic: bool = True
    flush_denormal: bool = hashed_if_not_default(False)
    threads: int | None = not_hashed(number(None, at_least=1))
    data_on: str = not_hashed(choice("auto", ("auto", "device", "stream")))
    time_limit: float | None = not_hashed(number(None, above=0))
    silence_limit: float | None = not_hashed(number(10.0, above=0))

    def check(self, key: str) -> Iterator[str]:
        """Yield what this machine does not have."""
        available = _available()
        chosen = self.resolved_accelerator()
        if self.absent:
            here = ", ".join(name for name, count in available.items() if count)
            yield f"{key}.accelerator={self.accelerator}: this machine has none; it has {here} (or: hardware=auto)"
        elif self.precision == "16-mixed" and chosen == "cpu":
            yield f"{key}.precision=16-mixed: needs a GPU; a CPU offers bf16-mixed, and 32-true is faster on most"
        elif self.devices > available.get(chosen, self.devices):
            yield f"{key}.devices={self.devices}: this machine has {available[chosen]} of kind {chosen}"

    @property
    def absent(self) -> bool:
        """Whether this machine has no such accelerator, as a cluster's login node may have none."""
        return _available().get(self.resolved_accelerator(), 1) == 0

    @property
    def limits(self) -> list[str]:
        """Which limits of a run's own process were set, as ``hardware.time_limit=5``."""
        usual, names = HardwareConfig(), ("time_limit", "silence_limit")
        found = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)}
        return [f"hardware.{name}={value:g}" for name, value in found.items() if value is not None]

    def resolved_accelerator(self) -> str:
        """The accelerator that ``auto`` means here: CUDA if there is a GPU, else Apple's MPS, else the CPU."""
        if self.accelerator != "auto":
            return self.accelerator
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def numerics(self, channels_last: bool) -> dict[str, object]:
        """The settings that change numbers, for run ids and store keys."""
        accelerator = self.resolved_accelerator()
        flushed = {"flush_denormal": True} if self.flush_denormal and accelerator == "cpu" else {}
        return flushed | {
            "accelerator": accelerator,
            "devices": self.devices,
            "precision": self.precision,
            "channels_last": channels_last,
            "compile": self.compile,
            "tf32": self.tf32,
            "deterministic": self.deterministic,
        }

    def start(self, model_threads: int | None = None) -> Fabric:
        """Fabric for one run; also sets this process's flags, which an earlier run of a sweep may have changed.

        Args:
            model_threads: CPU threads that suit the model, used where ``threads`` is null.
        """
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy

        self.set_flags(model_threads)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning_fabric")
            return Fabric(
                accelerator=self.resolved_accelerator(),
                devices=self.devices,
                strategy=DDPStrategy(start_method="spawn", timeout=LONGEST_WAIT) if self.devices > 1 else "auto",
                precision=self.precision,  # type: ignore[arg-type]
            )

    def set_flags(self, model_threads: int | None = None) -> None:
        """Set the flags of this process; with several processes per run, each must call it.

        Args:
            model_threads: see ``start``. If both are null, several processes share the cores.

        Raises:
            ConfigError: see ``flush_denormals``.
        """
        keep_freed_memory()
        if threads := self.threads or model_threads or (usual_threads() if self.devices == 1 else None):
            torch.set_num_threads(threads)
        flush_denormals(self.flush_denormal)
        torch.backends.cudnn.benchmark = not self.deterministic
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
        torch.use_deterministic_algorithms(self.deterministic, warn_only=True)

    def keep_on_device(self, size_bytes: int, device: torch.device) -> bool:
        """Whether to hold images of ``size_bytes`` on the device (``auto``: if they need under half of free memory)."""
        if self.data_on != "auto":
            return self.data_on == "device"
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
        return size_bytes < SHARE_FOR_DATA * free


def usual_threads() -> int:
    """As many threads as torch chose; at most one a core if this process was pinned since, as one of a sweep is."""
    cores = len(own_cores())
    return min(USUAL_THREADS, cores) if cores < CORES_THEN else USUAL_THREADS


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work, so that a clock read now is correct."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
