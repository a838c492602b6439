"""The environment of a result: commit, packages, hardware, threads, flags; no user names or paths."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from unsir_bench import versions

PACKAGES = (
    "torch", "torchvision", "timm", "lightning-fabric", "hydra-core", "omegaconf", "wandb", "pandas",
    "numpy", "scikit-learn", "safetensors", "pillow",
)  # fmt: skip
# What a training's weights depend on beside its configuration.
DECISIVE = (
    "commit", "dirty", "lock_hash", "platform", "cpu", "cpu_capability", "device", "threads", "deterministic",
    "versions",
)  # fmt: skip
PROJECT = Path(__file__).resolve().parents[2]
CODE = ("unsir_bench", "baselines", "conf")  # folders whose files a run uses though they are not added to git yet


def environment(device: torch.device) -> dict[str, Any]:
    """The environment of a run on ``device``, as plain values."""
    return {
        **_fixed(),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "peak_memory_kind": "allocated on the GPU" if device.type == "cuda" else "resident in the process",
    }


def provenance(device: torch.device) -> dict[str, Any]:
    """The part of the environment that decides a training's weights, to be kept beside them."""
    here = environment(device)
    return {**{name: here[name] for name in DECISIVE}, "torch": here["packages"]["torch"]}


@lru_cache(maxsize=1)
def _fixed() -> dict[str, Any]:
    commit, dirty = GIT_STATE
    lock = PROJECT / "requirements.lock"
    return {
        "commit": commit,
        "dirty": dirty,
        "lock_hash": hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.exists() else None,
        "python": sys.version.split()[0],
        "platform": platform.platform(terse=True),
        "cpu": _cpu_name(),
        "cpu_cores": psutil.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # the vector instructions that torch uses
        "packages": {name: _version(name) for name in PACKAGES},
        "versions": {name: value for name, value in vars(versions).items() if name.isupper()},
    }


def _git_state() -> tuple[str | None, bool | None]:
    """Commit and dirtiness of the checkout this code runs from; (None, None) for an installed wheel."""
    if not (PROJECT / ".git").exists():
        return None, None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        # A hook, or `git rebase --exec`, names its own repository by GIT_DIR, which goes before -C.
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=own).stdout.strip()  # noqa: S603

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD"), bool(changed or git("ls-files", "--others", "--exclude-standard", "--", *CODE))
    except (OSError, subprocess.CalledProcessError):
        return None, None


# As the code is imported, once for all runs of a sweep: a commit made meanwhile changes nothing of what they do.
GIT_STATE = _git_state()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
