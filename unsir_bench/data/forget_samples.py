"""Samples to forget that are no whole class: drawn at random, or listed in a file that anyone can share.

A file names the data set it belongs to by its fingerprint (every pixel and label), so that its indices never meet
another one. JSON: ``{"data": "<fingerprint>", "train": [3, 17], "test": []}``. CSV: the columns ``data,split,index``,
one row a sample. NPY: an integer array of training indices, which can hold no fingerprint.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unsir_bench.errors import ConfigError
from unsir_bench.runtime.files import sha256, write_atomic
from unsir_bench.runtime.seeding import generator, role_in_step

KEY = "forget.file"
KINDS = (".json", ".csv", ".npy")


@dataclass(frozen=True)
class IndexFile:
    """The content of a file of indices.

    Attributes:
        data: fingerprint of the data set they belong to; None where the file cannot say.
        train, test: indices of the samples to forget, ascending.
    """

    data: str | None
    train: tuple[int, ...]
    test: tuple[int, ...] = ()

    @classmethod
    def read(cls, path: Path) -> IndexFile:
        """Read a file; its suffix says how.

        Raises:
            ConfigError: it is absent or no such file, an index is there twice or negative, or none is of a training
                sample.
        """
        if path.suffix not in _READERS:
            raise ConfigError([f"{KEY}={path}: must end in {', '.join(KINDS)}"])
        try:
            found = _READERS[path.suffix](path.read_bytes())
        except OSError as error:
            raise ConfigError([f"{KEY}={path}: cannot be read ({error.strerror})"]) from error
        except (ValueError, TypeError, LookupError, RecursionError, csv.Error) as error:
            raise ConfigError([f"{KEY}={path}: holds no list of indices ({error})"]) from error
        if complaints := list(found._complaints(path)):
            raise ConfigError(complaints)
        return cls(found.data, tuple(sorted(found.train)), tuple(sorted(found.test)))

    def _complaints(self, path: Path) -> Iterator[str]:
        if not self.train:
            yield f"{KEY}={path}: names no training sample"
        for name, indices in (("train", self.train), ("test", self.test)):
            twice = sorted(index for index, count in Counter(indices).items() if count > 1)
            if twice:
                yield f"{KEY}={path}: {name} index {twice[0]} is there twice ({len(twice)} such indices)"
            if min(indices, default=0) < 0:
                yield f"{KEY}={path}: {name} index {min(indices)} is negative"

    def problems(self, path: str, fingerprint: str, counts: dict[str, int]) -> Iterator[str]:
        """Yield why these samples cannot be forgotten in a data set of this fingerprint and numbers of samples."""
        if self.data is not None and self.data != fingerprint:
            yield (
                f"{KEY}={path}: belongs to the data set {self.data}, not to this one ({fingerprint}); "
                "make one for it by `unsir-bench split`"
            )
            return
        for name, indices in (("train", self.train), ("test", self.test)):
            if max(indices, default=-1) >= counts[name]:
                yield f"{KEY}={path}: {name} index {max(indices)} is out of range; there are {counts[name]} samples"

    def write(self, path: Path) -> None:
        """Write a file that ``read`` reads; whole or not at all.

        Raises:
            ConfigError: the suffix is none of those, or an NPY file would lose test samples.
        """
        refuse_suffix(path)
        if path.suffix == ".npy" and self.test:
            raise ConfigError([f"--output {path}: an NPY file holds training samples alone; end it in .json or .csv"])
        write_atomic(path, _WRITERS[path.suffix](self))

    @property
    def content(self) -> str:
        """A hash of what the file says, however it is written."""
        return sha256(json.dumps([self.data, self.train, self.test]).encode())[:16]


def refuse_suffix(path: Path) -> None:
    """Raise ConfigError where ``IndexFile.write`` knows no such kind of file."""
    if path.suffix not in _WRITERS:
        raise ConfigError([f"--output {path}: must end in {', '.join(KINDS)}"])


def _of_json(content: bytes) -> IndexFile:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise TypeError("an object with the names data, train and test is needed")
    return IndexFile(found.get("data"), _integers(found["train"]), _integers(found.get("test", [])))


def _of_csv(content: bytes) -> IndexFile:
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))  # a spreadsheet writes its mark
    by_split = {name: _integers([int(row["index"]) for row in rows if row["split"] == name]) for name in SPLITS}
    strangers = {row["split"] for row in rows} - set(SPLITS)
    named = {row.get("data") or None for row in rows}
    if strangers or len(named) > 1:
        raise ValueError("rows of one data set are needed, each with split train or test")
    return IndexFile(next(iter(named), None), **by_split)


def _of_npy(content: bytes) -> IndexFile:
    found = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)  # np.load would take an archive, too
    return IndexFile(None, _integers(found.tolist()))


def _integers(found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or any(type(entry) is not int for entry in found):
        raise TypeError("a list of whole numbers is needed")
    return tuple(found)


def _to_json(file: IndexFile) -> bytes:
    return json.dumps({"data": file.data, "train": file.train, "test": file.test}).encode()


def _to_csv(file: IndexFile) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("data", "split", "index"))
    writer.writerows((file.data, name, index) for name in SPLITS for index in getattr(file, name))
    return text.getvalue().encode()


def _to_npy(file: IndexFile) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array(file.train, dtype=np.int64))
    return content.getvalue()


SPLITS = ("train", "test")
_READERS = {".json": _of_json, ".csv": _of_csv, ".npy": _of_npy}
_WRITERS = {".json": _to_json, ".csv": _to_csv, ".npy": _to_npy}


def drawn(count: int | None, share: float | None, samples: int, seed: int, step: int = 0) -> Tensor:
    """Indices of training samples drawn without replacement with the run's seed, ascending int64.

    Args:
        count: how many; None: ``share`` of all, rounded, at least one.
        share: in (0, 1); not used beside ``count``.
        samples: of the training split.
        seed: of the run.
        step: of a sequence of requests, from 0; each draws for itself.

    Raises:
        ConfigError: none would be left to retain.
    """
    wanted = count if count is not None else max(1, round((share or 0) * samples))
    if wanted >= samples:
        given = f"forget.count={count}" if count is not None else f"forget.share={share}"
        raise ConfigError([f"{given}: leaves none of the {samples} training samples to retain"])
    draws = generator(seed, *role_in_step(("forget samples",), step))
    return torch.randperm(samples, generator=draws)[:wanted].sort().values
