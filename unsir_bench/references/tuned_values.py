"""Which values a study found best for a method, a data set and a network: one file for each, beside the store."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unsir_bench.errors import ConfigError
from unsir_bench.runtime.files import read_regular, write_atomic

FOLDER = "tuning"
LARGEST = 2**20  # bytes


@dataclass(frozen=True)
class TunedValues:
    """The best trial of a study, and what the study was of.

    Attributes:
        study: its name.
        values: by key, such as ``method.train.lr``.
        score: of the best trial, at most 1.
        forget: the groups of class indices that its runs forgot.
        seed: of its trainings.
        trials: finished ones.
        seconds: spent in them.
    """

    study: str
    values: dict[str, float | int]
    score: float
    forget: list[list[int]] = field(default_factory=list)
    seed: int = 0
    trials: int = 0
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        write_atomic(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path, key: str) -> TunedValues:
        """The file's content.

        Args:
            path: as ``tuned_values_path`` gives it.
            key: the setting that asks for it, for messages.

        Raises:
            ConfigError: there is no such file, or it is not what ``write`` writes.
        """
        if not path.is_file():
            raise ConfigError([f"{key}: {path} does not exist; run `unsir-bench tune` for this method, data and model"])
        try:
            found = cls(**json.loads(read_regular(path, LARGEST)))
            numbers = [*found.values.values(), found.score, found.seed]
            if not all(isinstance(value, int | float) for value in numbers) or not isinstance(found.study, str):
                raise TypeError("its values are no numbers")
            if not all(key.startswith("method.") for key in found.values):
                raise ValueError("it sets more than the method")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError([f"{key}: {path} holds no tuned values ({error}); remove it and tune again"]) from error
        return found


def tuned_values_path(store_root: str, method: str, dataset: str, model: str) -> Path:
    """Where the best values for a method, a data set and a network are kept, all three by name."""
    return Path(store_root).parent / FOLDER / f"{file_name(method, dataset, model)}.json"


def file_name(*words: str) -> str:
    """Words of a configuration joined by hyphens, without what no file's name may hold."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)


def value_at(node: Any, key: str) -> Any:
    """The field at ``a.b.c`` of nested dataclasses, seen from ``node``; raises AttributeError if there is none."""
    for name in key.split("."):
        node = getattr(node, name)
    return node


def set_values(node: Any, values: dict[str, float | int]) -> None:
    """Set fields of nested dataclasses by key, in place; whole numbers stay whole.

    Raises:
        AttributeError: there is no such field.
    """
    for key, value in values.items():
        above, _, name = key.rpartition(".")
        owner = value_at(node, above) if above else node
        setattr(owner, name, type(getattr(owner, name))(value))
