"""Changes to a finished entry of the store that leave it valid, as another machine could have written it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from unsir_bench.runtime.files import read_manifest, sha256_of_file, write_manifest


def with_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """``change`` the manifest of an entry in place."""
    content = read_manifest(folder)
    change(content["manifest"])
    write_manifest(folder, content)


def with_weights(folder: Path, change: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]) -> None:
    """Replace the weights of an entry."""
    path, content = folder / "weights.safetensors", read_manifest(folder)
    save_file(change(load_file(path)), path)
    content["files"]["weights"] = sha256_of_file(path)
    write_manifest(folder, content)
