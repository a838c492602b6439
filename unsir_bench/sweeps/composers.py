"""What a process has composed, kept for its next compositions as long as nothing has changed that Hydra reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.plugins.config_source import ConfigSource

from unsir_bench.sweeps.compose import JobComposer


@dataclass(frozen=True)
class _Kept:
    """A composer and what it has read: texts of files by their hash, and schemas, each as the very object."""

    config_name: str
    files: str
    schemas: list[Any]
    composer: JobComposer

    def reads(self, config_name: str, files: str, schemas: list[Any]) -> bool:
        """Whether it would read the same again."""
        alike = (self.config_name, self.files, len(self.schemas)) == (config_name, files, len(schemas))
        return alike and all(mine is other for mine, other in zip(self.schemas, schemas, strict=True))


_KEPT: list[_Kept] = []  # the last one


def composer_of(loader: ConfigLoaderImpl, config_name: str) -> JobComposer:
    """A composer for the loader: the last one if no file or schema has changed since, else a new one."""
    files = _hash_of_files(loader)
    if files is None:
        return JobComposer(loader, config_name)
    schemas = list(_leaves(ConfigStore.instance().repo))
    if not (_KEPT and _KEPT[0].reads(config_name, files, schemas)):
        _KEPT[:] = [_Kept(config_name, files, schemas, JobComposer(loader, config_name))]
    return _KEPT[0].composer


def _hash_of_files(loader: ConfigLoaderImpl) -> str | None:
    """A hash of the text of every file on the search path; None where a source is no folder that can be walked."""
    digest = hashlib.sha256()
    for source in loader.get_sources():
        if source.scheme() == "structured":
            continue
        folders = _folders(source)
        if not folders:
            return None
        digest.update(repr((source.full_path(), source.provider)).encode())
        for file in (file for folder in folders for file in sorted(folder.rglob("*.yaml"))):
            text = file.read_bytes() if file.is_file() else b""
            digest.update(repr((str(file), len(text))).encode() + text)
    return digest.hexdigest()


def _folders(source: ConfigSource) -> list[Path]:
    if source.scheme() == "file":
        places = [source.path]
    elif source.scheme() == "pkg" and (spec := find_spec(source.path)) is not None:
        places = list(spec.submodule_search_locations or ())
    else:
        places = []
    return [Path(place) for place in places if Path(place).is_dir()]


def _leaves(tree: Mapping[str, Any]) -> Iterator[Any]:
    for node in tree.values():
        yield from _leaves(node) if isinstance(node, Mapping) else (node,)
