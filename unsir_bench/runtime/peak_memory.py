"""Peak memory of a piece of work."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from unsir_bench.runtime.malloc import _glibc


class PeakMemory:
    """Peak bytes in use since ``reset``: allocated on a GPU, resident in the process on a CPU."""

    def __init__(self, device: torch.device):
        self._device = device

    def reset(self) -> None:
        """Start a new measurement."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            if (libc := _glibc()) is not None:
                libc.malloc_trim(0)  # memory kept from earlier work
            reset = Path("/proc/self/clear_refs")
            if reset.exists():
                # Linux lowers the process's high-water mark to what is resident now.
                reset.write_text("5")

    def read(self) -> int:
        """Peak bytes since the last reset (since the start of the process if the system cannot reset)."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        status = Path("/proc/self/status")
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        info = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))
