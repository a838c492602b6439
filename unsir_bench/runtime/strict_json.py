"""JSON as the standard has it: no NaN, no infinity, and no number that libraries of reports cannot hold."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn

from unsir_bench.config_fields import WHOLE_NUMBERS


def parsed(text: bytes) -> Any:
    """The content of a JSON file; raises ``ValueError`` where it holds what no record may hold."""
    return json.loads(
        text.decode("utf-8"), parse_constant=_no_number, parse_float=_finite_number, parse_int=_whole_number
    )


def in_words(content: Any) -> Any:
    """Plain values with NaN and infinities as strings, which strict JSON cannot hold."""
    if isinstance(content, dict):
        return {key: in_words(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [in_words(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content


def plain(content: Any) -> Any:
    """Numbers and arrays of NumPy and torch, at any depth, as Python's own; paths and enums as OmegaConf reads them.

    Raises:
        TypeError: something is of no kind that JSON has.
    """
    if isinstance(content, dict):
        return {plain(key): plain(value) for key, value in content.items()}
    if isinstance(content, Enum):
        return content.name
    if isinstance(content, PurePath):
        return str(content)
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if hasattr(content, "tolist"):
        return content.tolist()
    if content is None or isinstance(content, str | int | float):
        return content
    raise TypeError(f"a value of type {type(content).__name__}, which is none of JSON")


def _no_number(word: str) -> NoReturn:
    # Python's JSON parser accepts NaN and infinities; in a record they would spoil means and intervals.
    raise ValueError(f"{word} is no number that a record may hold")


def _finite_number(word: str) -> float:
    value = float(word)
    return value if math.isfinite(value) else _no_number(word[:20])


def _whole_number(word: str) -> int:
    # Longer ones end in errors of the libraries that draw and average them.
    value = int(word) if len(word) <= 20 else WHOLE_NUMBERS
    return value if abs(value) < WHOLE_NUMBERS else _no_number(word[:20])
