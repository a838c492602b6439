"""Artifacts of Weights & Biases that share a store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unsir_bench.errors import SharingError
from unsir_bench.records import printable
from unsir_bench.tracking.run import LOGIN_HINT, login_problem, quiet_settings
from unsir_bench.tracking.tracker_config import without_passwords

KIND = "unsir-bench-store"


def to_upload(address: str) -> list[str]:
    """Entity, project and name of an artifact that can be given a new version, as far as is known without the network.

    Raises:
        SharingError: the address is wrong, or there is no API key.
    """
    parts = _parts(address)
    if ":" in parts[-1]:
        raise SharingError(f"wandb:{address}: a push makes a new version; leave :{parts[-1].partition(':')[2]} out")
    _require_login(address)
    return parts


def upload_artifact(address: str, folder: Path) -> None:
    """Make a folder a new version of an artifact.

    Args:
        address: ``entity/project/name``.
        folder: whose files it holds.

    Raises:
        SharingError: as ``to_upload``, or the upload failed.
    """
    entity, project, name = to_upload(address)
    with _faults(address):
        import wandb

        artifact = wandb.Artifact(name, type=KIND)
        artifact.add_dir(str(folder), policy="immutable", skip_cache=True)
        with tempfile.TemporaryDirectory() as logs:
            run = wandb.init(
                entity=entity, project=project, job_type="store", dir=logs, mode="online", settings=quiet_settings()
            )
            try:
                run.log_artifact(artifact).wait()
            finally:
                run.finish()


def download_artifact(address: str, folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Put the files of an artifact into a folder; returns the names of those that were left out.

    Args:
        address: ``entity/project/name``, or with a version ``entity/project/name:v3``; else the latest.
        folder: to fill.
        wanted: says of a file's name whether to take it. Names come from whoever made the artifact, and W&B would write
            to any; references, which W&B would follow to any URL or file, are never taken.

    Raises:
        SharingError: the address is wrong, there is no API key, or the download failed.
    """
    entity, project, name = _parts(address)
    _require_login(address)
    version = name if ":" in name else f"{name}:latest"
    left: list[str] = []
    with _faults(address):
        import wandb

        artifact = wandb.Api().artifact(f"{entity}/{project}/{version}", type=KIND)
        for path, entry in artifact.manifest.entries.items():
            if entry.ref is not None or not wanted(path):
                left.append(path)
            else:
                artifact.get_entry(path).download(root=str(folder), skip_cache=True)
    return left


def _parts(address: str) -> list[str]:
    parts = address.split("/")
    if len(parts) != 3 or not all(parts):
        raise SharingError(f"wandb:{address}: write wandb:ENTITY/PROJECT/NAME")
    return parts


def _require_login(address: str) -> None:
    problem = login_problem()
    if problem is not None:
        raise SharingError(f"wandb:{address}: not logged in to Weights & Biases ({problem}): {LOGIN_HINT}")


@contextmanager
def _faults(address: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # W&B raises its own, its service's and those of requests
        raise SharingError(
            f"wandb:{address}: {type(error).__name__}: {printable(without_passwords(str(error)))}"
        ) from error
