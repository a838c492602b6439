"""The offline file of Weights & Biases, read back."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

from tests.oracles.wandb_file import leveldb_log

SECRET = "secret" * 7  # an API key that must not be written anywhere


@dataclass
class WhatIsWritten:
    """The content of an offline file."""

    run: Any = None
    summary: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None

    @classmethod
    def read(cls, path: Path) -> WhatIsWritten:
        """A finished run's content; W&B's service closes the file some moments after the run has ended."""
        for _ in range(200):
            found = cls()
            for content in leveldb_log(path.read_bytes()[7:]):
                entry = wandb_internal_pb2.Record()
                entry.ParseFromString(content)
                found.take(entry)
            if found.exit_code is not None:
                return found
            time.sleep(0.05)
        raise TimeoutError(f"{path} is not finished")

    def take(self, entry: Any) -> None:
        kind = entry.WhichOneof("record_type")
        if kind == "run":
            self.run = entry.run
            merge(self.config, entry.run.config.update)
        elif kind == "config":
            merge(self.config, entry.config.update)
        elif kind == "summary":
            merge(self.summary, entry.summary.update)
        elif kind == "history":
            self.history.append(merge({}, entry.history.item))
        elif kind == "exit":
            self.exit_code = entry.exit.exit_code

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of a curve."""
        phase = name.split("/", maxsplit=1)[0]
        return [(point[f"{phase}/step"], point[name]) for point in self.history if name in point]


def merge(into: dict[str, Any], items: Any) -> dict[str, Any]:
    """Set what the items say; a nested key is a path."""
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = into
        for name in path:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)
    return into
